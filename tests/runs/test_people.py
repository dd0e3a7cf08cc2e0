"""Runs and people: who may see and end them, who is asked, and what ends when somebody is stopped."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from gateway.certificates import NameKind
from gateway.errors import Refused, Unavailable
from gateway.freeze import Cause, Scope
from gateway.freezing import FreezeOrder
from gateway.model import RUNS, Principal, Role, Shown, UnverifiedPlan
from gateway.pipeline import Pipeline
from gateway.reasons import Reason
from gateway.runs.asked import Asked
from gateway.runs.parts import Parts
from gateway.runs.wish import Wish
from gateway.store.directory_links import CERTIFICATE, TOKEN, Identity
from gateway.store.tables import api_keys
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.runs.world import Desk, World, sent, world
from tests.until import until


async def waiting(here: World, **more: Any) -> tuple[str, str]:
    """A run that waits for a person: its id, and the request's."""
    here.api.script(message(tool_use("desk__keep", {"text": "note"}, "a")))
    run_id = await here.begin(**more)
    view = await here.reaches(run_id, "waiting")
    [approval] = view["approvals"]
    return run_id, approval


async def answer(here: World, approval: str, said: str, expect: int = 200) -> dict[str, Any]:
    path = f"/v1/approvals/{approval}"
    return dict(await here.json("POST", path, {"answer": said}, who="bob", expect=expect))


async def test_a_run_waits_for_a_person_and_goes_on(here: World) -> None:
    run_id, approval = await waiting(here)
    assert here.desk.calls == []
    here.api.script(message("Kept."))
    await answer(here, approval, "approve")
    view = await here.ended(run_id)
    assert (view["status"], view["text"]) == ("done", "Kept.")
    assert here.desk.calls == [("/keep", {"text": "note"})]


async def test_what_a_person_refuses_is_told_to_the_model(here: World) -> None:
    run_id, approval = await waiting(here)
    here.api.script(message("Not kept."))
    await answer(here, approval, "refuse")
    assert (await here.ended(run_id))["status"] == "done"
    [result] = sent(here.api)["messages"][-1]["content"]
    assert result["is_error"] is True
    assert result["content"][0]["text"].startswith("approval.refused: ")
    assert here.desk.calls == []


async def test_the_end_of_a_run_withdraws_what_waits(here: World) -> None:
    """By its author, or by its deadline: nobody can approve it any more, and nothing follows."""
    run_id, approval = await waiting(here)
    view = await here.json("POST", f"/v1/runs/{run_id}/cancel")
    assert (view["status"], view["error"]["code"]) == ("cancelled", Reason.RUN_CANCELLED)
    assert (await answer(here, approval, "approve", expect=409))["code"] == "approval.voided"
    again = await here.json("POST", f"/v1/runs/{run_id}/cancel")
    assert again["ended_at"] == view["ended_at"]
    run_id, approval = await waiting(here, deadline_seconds=2)
    view = await here.ended(run_id)
    assert (view["status"], view["error"]["code"]) == ("failed", Reason.RUN_DEADLINE)

    async def closed() -> bool:
        shown = await here.json("GET", f"/v1/approvals/{approval}", who="bob")
        return bool(shown["status"] == "voided")

    await until(closed)
    assert here.desk.calls == []
    assert here.count("RUNEND") == 2
    assert len(here.api.asked) == 2


async def test_a_run_has_ended_also_where_what_waits_cannot_be_withdrawn_at_once(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its author hears that it is over, and the request is withdrawn as soon as it can be."""
    withdraw, failures = Parts.withdraw, [Refused(Reason.REQUEST_CONFLICT), Refused(Reason.INTERNAL)]

    async def failing(parts: Parts, plan_id: str, reason: Reason) -> None:
        if failures:
            raise failures.pop()
        await withdraw(parts, plan_id, reason)

    run_id, approval = await waiting(here)
    monkeypatch.setattr(Parts, "withdraw", failing)
    view = await here.json("POST", f"/v1/runs/{run_id}/cancel")
    assert view["status"] == "cancelled"

    async def closed() -> bool:
        shown = await here.json("GET", f"/v1/approvals/{approval}", who="bob")
        return bool(shown["status"] == "voided")

    await until(closed)
    assert not failures
    assert here.desk.calls == []


async def test_a_run_that_is_cancelled_while_a_tool_runs_is_seen_through_and_ends(here: World) -> None:
    here.api.script(message(tool_use("desk__slow", {"text": "x"})))
    run_id = await here.begin()
    await here.desk.reached.wait()
    view = await here.json("POST", f"/v1/runs/{run_id}/cancel")
    assert view["status"] == "cancelled"
    here.desk.hold.set()
    plan = view["turns"][1]["plan_id"]

    async def over() -> bool:
        return bool((await here.json("GET", f"/v1/plans/{plan}"))["status"] == "done")

    await until(over)
    await until(lambda: not here.gateway.runs._driving)
    assert len(here.api.asked) == 1


async def test_a_run_is_its_authors_alone(here: World) -> None:
    here.api.script(message("Mine."))
    view = await here.run()
    run_id = view["run_id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        await here.json(method, f"/v1/runs/{run_id}{path}", who="rival", expect=404)
        await here.json(method, f"/v1/runs/run_{'0' * 32}{path}", expect=404)
    assert (await here.json("GET", f"/v1/runs/{run_id}", who="op"))["text"] == "Mine."
    await here.json("POST", f"/v1/runs/{run_id}/cancel", who="op", expect=403)
    assert (await here.json("GET", "/v1/runs", who="rival"))["runs"] == []
    [mine] = (await here.json("GET", "/v1/runs"))["runs"]
    [seen] = (await here.json("GET", "/v1/runs", who="op"))["runs"]
    assert mine == seen
    assert (mine["run_id"], mine["status"], mine["principal"]) == (run_id, "done", "bot")
    foreign = await here.person("op")
    page = await here.gateway.runs.page(replace(foreign, tenant="other"), after=None, limit=5)
    assert page == {"runs": [], "next": None}


async def test_lists_have_pages(here: World) -> None:
    here.api.decide = lambda _body: message("Done.")
    made = [(await here.run(f"Number {number}"))["run_id"] for number in range(3)]
    first = await here.json("GET", "/v1/runs?limit=2")
    second = await here.json("GET", f"/v1/runs?limit=2&after={first['next']}")
    assert [one["run_id"] for one in (*first["runs"], *second["runs"])] == made[::-1]
    assert second["next"] is None


async def test_the_prompt_counts_as_the_users_words_and_nobody_else_has_runs(here: World) -> None:
    here.api.script(message("Done."))
    view = await here.run("Write to ann@example.org.")
    plan = await here.gateway.pipeline.load(view["turns"][0]["plan_id"])
    assert plan.plan.request == "Write to ann@example.org."
    assert await here.gateway.directory.attests_request("default", RUNS)
    assert not await here.gateway.directory.attests_request("default", "connector:mcp")


async def test_the_prompt_lies_nowhere_in_clear_and_leaves_with_its_erasure(
    tmp_path: Path, api: StandIn, at: Desk
) -> None:
    async with world(tmp_path, api, at) as here:
        api.script(message(tool_use("desk__keep", {"text": "a"})))
        run_id = await here.begin("The patient is called Wilhelmina.")
        await here.reaches(run_id, "waiting")
    assert b"Wilhelmina" not in b"".join(file.read_bytes() for file in tmp_path.glob("handrail.db*"))
    async with world(tmp_path, api, at) as here:
        await here.reaches(run_id, "waiting")
    with closing(sqlite3.connect(tmp_path / "handrail.db")) as connection, connection:
        connection.execute("DELETE FROM payloads")
    async with world(tmp_path, api, at) as here:
        view = await here.ended(run_id)
        assert (view["status"], view["error"]["code"]) == ("failed", Reason.RUN_ERASED)
        assert "text" not in view


async def test_a_revoked_author_gets_no_further_turn(here: World) -> None:
    run_id, _ = await waiting(here)
    await here.gateway.directory.revoke_principal(await here.person("root"), "bot")
    view = await until(lambda: here.count("RUNEND") and here.recorded("RUNEND")[0])
    assert view["reasons"] == [str(Reason.AUTH_FORBIDDEN)]
    assert view["facts"]["problem"] == "principal"
    assert here.desk.calls == []
    assert len(here.api.asked) == 1
    assert run_id in json.dumps(view)


@pytest.mark.parametrize(("end", "code"), [("gone", "auth.invalid"), ("over", "auth.expired")])
async def test_a_run_ends_with_the_key_that_began_it(
    tmp_path: Path, api: StandIn, at: Desk, end: str, code: str
) -> None:
    """Its author has another key, and goes on with that: whoever had the old one has nothing left of it."""
    days = 86_400
    async with world(tmp_path, api, at, runs={"deadline_max_seconds": 7 * days}) as here:
        made = (await here.gateway.directory.issue_api_key(await here.person("root"), "bot", ttl_days=1))["token"]
        here.keys["old"] = str(made)
        run_id, approval = await waiting(here, who="old", deadline_seconds=7 * days)
        if end == "gone":
            with here.gateway.engine.begin() as connection:
                connection.execute(delete(api_keys).where(api_keys.c.key_id == here.shown("old").key_id))
        else:
            here.gateway.runs.parts.clock = lambda: time.time() + 2 * days
        view = await here.ended(run_id)
        assert (view["status"], view["error"]["code"], view["error"]["problem"]) == ("failed", code, "credential")
        assert (await answer(here, approval, "approve", expect=409))["code"] == "approval.voided"
        assert at.calls == []
        assert len(api.asked) == 1
        assert here.recorded("RUNEND")[0]["facts"]["problem"] == "credential"


async def test_what_was_shown_holds_as_long_as_its_link_does(here: World) -> None:
    """Of tokens and certificates the link counts: they themselves are over sooner than what they began."""
    directory, root = here.gateway.directory, await here.person("root")
    card = await directory.link(root, "bot", Identity(CERTIFICATE, "default", NameKind.EMAIL, "bot@example.com"))
    token = await directory.link(root, "bot", Identity(TOKEN, "default", "https://nobody.example", "bot"))
    held, unknown = Shown(links=(card["id"],)), Shown(links=(token["id"],))
    await directory.check_shown(held, time.time())
    with pytest.raises(Refused, match=r"auth\.invalid"):
        await directory.check_shown(unknown, time.time())  # of an issuer that is not believed
    await directory.unlink(root, "bot", card["id"])
    for none in (held, Shown(), Shown(links=("link-nobody",)), Shown(key_id="0" * 16)):
        with pytest.raises(Refused, match=r"auth\.invalid"):
            await directory.check_shown(none, time.time())


async def test_a_run_for_which_nothing_was_shown_asks_nobody(here: World) -> None:
    await here.gateway.runs.begin(await here.person("bot"), Shown(), Asked("p"), Wish())
    view = await until(lambda: here.count("RUNEND") and here.recorded("RUNEND")[0])
    assert view["reasons"] == [str(Reason.AUTH_INVALID)]
    assert here.api.asked == []


async def test_a_freeze_ends_a_run_and_lets_none_begin(here: World) -> None:
    run_id, _ = await waiting(here)
    op = await here.person("op")
    await here.gateway.freezing.set(op, FreezeOrder(Scope.PRINCIPAL, "bot", Cause.AGENT_RUNAWAY, "It asks oddly."))
    ended = await until(lambda: here.count("RUNEND") and here.recorded("RUNEND")[0])
    assert ended["reasons"] == [str(Reason.FREEZE_ACTIVE)]
    assert ended["facts"]["run"] == run_id
    refused = await here.json("POST", "/v1/runs", {"prompt": "p"}, expect=403)
    assert refused["code"] == Reason.FREEZE_ACTIVE


async def test_a_principal_has_so_many_runs_at_once(tmp_path: Path, api: StandIn, at: Desk) -> None:
    async with world(tmp_path, api, at, runs={"max_concurrent_per_principal": 2}) as here:
        api.decide = lambda _body: message(tool_use("desk__slow", {"text": "x"}))
        for _ in range(2):
            await here.begin(budget={"steps": 2})
        refused = await here.json("POST", "/v1/runs", {"prompt": "p"}, expect=429)
        assert refused["code"] == Reason.LIMIT_RUNS
        await here.json("POST", "/v1/runs", {"prompt": "p"}, who="rival", expect=202)
        at.hold.set()


async def test_a_run_has_no_more_rights_than_the_login_that_began_it(here: World) -> None:
    here.api.script(message("Done."))
    narrow = replace(await here.person("bot"), hands=frozenset({"claude"}))
    await here.gateway.runs.begin(narrow, here.shown(), Asked("p"), Wish())
    await until(lambda: here.count("RUNEND"))
    assert "tools" not in sent(here.api)


async def test_whom_a_result_concerns_is_erased_from_the_conversation_too(
    tmp_path: Path, api: StandIn, at: Desk
) -> None:
    """What a tool said of a customer is said again in every later question: it lies under the customer's key there."""
    customers = at.hand()
    customers["actions"]["look"] |= {"data_subjects": ["/structured/customer"], "results": {"personal_data": "redact"}}
    at.says = {"customer": "Ann@Example.com", "note": "owes us Wilhelmina"}
    async with world(tmp_path, api, at, hands={"desk": customers}) as here:
        api.script(message(tool_use("desk__look", {"text": "a"})))
        api.script(message(tool_use("desk__look", {"text": "b"})))
        api.script(message("She owes us Wilhelmina."))
        view = await here.run("Look at the desk.")
        assert "Wilhelmina" in json.dumps(sent(api))
        assert "ann@example.com" not in json.dumps(sent(api)).lower()
        plans = [await here.gateway.pipeline.load(one["plan_id"]) for one in view["turns"]]
        questions = [next(iter(one)) for one, turn in zip(plans, view["turns"], strict=True) if turn["kind"] == "model"]
        assert [one.step.data_subjects for one in questions] == [(), ("ann@example.com",), ("ann@example.com",)]
        author = f"default/bot/{view['run_id']}"
        for number, state in enumerate(questions):
            for name in ("args", "result"):
                owners = await here.gateway.log.owners([state.commitments[name]])
                assert owners == ({author, "@person/ann@example.com"} if number else {author})


async def test_who_may_not_submit_plans_any_more_gets_no_further_turn(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that was taken away ends a run like a revocation, whatever else its author may still do."""
    await waiting(here)
    bot = await here.person("bot")
    directory = here.gateway.directory
    before = directory.person

    async def demoted(tenant: str, pseudonym: str) -> Principal:
        found = await before(tenant, pseudonym)
        return replace(found, roles=frozenset({Role.AUDITOR})) if found.pseudonym == bot.pseudonym else found

    monkeypatch.setattr(directory, "person", demoted)
    view = await until(lambda: here.count("RUNEND") and here.recorded("RUNEND")[0])
    assert view["reasons"] == [str(Reason.AUTH_FORBIDDEN)]
    assert here.desk.calls == []


async def test_a_turn_that_was_put_off_is_asked_for_whoever_its_author_is_then(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing could be taken for a while. Meanwhile the author is revoked: no plan of theirs comes in afterwards."""
    submit, put_off = here.gateway.pipeline.submit, asyncio.Event()

    async def later(_: Pipeline, unverified: UnverifiedPlan, **more: Any) -> dict[str, Any]:
        if put_off.is_set():
            return await submit(unverified, **more)
        await here.gateway.directory.revoke_principal(await here.person("root"), "bot")
        put_off.set()
        raise Unavailable(Reason.OVERLOADED)

    monkeypatch.setattr(Pipeline, "submit", later)
    await here.gateway.runs.begin(await here.person("bot"), here.shown(), Asked("p"), Wish())
    view = await until(lambda: here.count("RUNEND") and here.recorded("RUNEND")[0])
    assert view["reasons"] == [str(Reason.AUTH_FORBIDDEN)]
    assert here.api.asked == []
    assert here.count("PLNRCV") == 0
