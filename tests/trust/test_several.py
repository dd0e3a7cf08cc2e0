"""Signatures that count and those that do not: races, people who lose their role, time, restores, and SQL."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from handrail import ApprovalMismatchError, SigningKey
from handrail.proposals import check_request, sign_act
from sqlalchemy import delete, insert, update

from gateway.dual_control import Thresholds
from gateway.errors import Overtaken
from gateway.store.directory import NewPrincipal
from gateway.store.tables import api_keys, principals, proposal_signatures, proposals
from gateway.two_person import Kind
from migrations import defences
from tests.trust.hall import Hall, hall, own_key, public_jwk

THREE: dict[str, Any] = {"proposals": {"principals_threshold": 3, "issuers_threshold": 3}}
FIVE = {"ann": "security_admin", "ben": "security_admin", "cat": "security_admin", "dan": "security_admin"}
FIVE |= {"fay": "security_admin", "oli": "operator", "eve": "auditor", "bot": "agent"}


async def test_three_of_five_and_a_person_counts_once(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "approver")
        assert made["needed"] == 3
        # A second API key of the same person is the same person.
        token, public = own_key()
        more = await town.ok("ann", "POST", "/v1/principals/ben/keys", {"api_key": public}, status=202)
        await town.agree(more, "cat", "dan")
        town.tokens["ben again"] = token
        assert (await town.sign("ben", made))["status"] == "open"
        assert (await town.not_signed("ben again", made))[2] == "proposal.signed"
        assert (await town.refused("new", "GET", "/v1/me"))[0] == 401
        listed = (await town.ok("eve", "GET", "/v1/proposals?status=open"))["proposals"]
        assert [(len(one["signatures"]), one["needed"]) for one in listed] == [(2, 3)]
        await town.agree(made, "cat")
        assert (await town.ok("new", "GET", "/v1/me"))["roles"] == ["approver"]
        assert (await town.not_signed("dan", made))[:2] == (409, "proposal.closed")
        # Four are left where one goes; with three admins, the next removal would leave fewer than have to agree.
        await town.ok("ann", "DELETE", "/v1/principals/fay")
        await town.ok("ann", "DELETE", "/v1/principals/dan")
        gone = await town.ok("ann", "DELETE", "/v1/principals/cat", status=202)
        await town.sign("ben", gone)
        await town.agree(gone, "cat")
        # Of two that are left, both.
        assert (await town.add("other", "approver"))["needed"] == 2


async def test_last_signatures_at_once_make_one_change(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "operator")
        shown = await town.ok("ann", "GET", f"/v1/proposals/{made['id']}")
        path = f"/v1/proposals/{made['id']}/sign"
        answers = await asyncio.gather(
            *(town.ask(who, "POST", path, town.signed(who, shown)) for who in ("ben", "cat", "dan", "fay"))
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 200, 409, 409], [answer.text for answer in answers]
        assert {one.json()["code"] for one in answers if one.status_code == 409} == {"proposal.closed"}
        assert len(town.entries("PRPACT")) == 1
        assert len(town.entries("PRPSGN")) == 2
        assert (await town.ok("new", "GET", "/v1/me"))["id"] == "new"


@pytest.mark.postgres
async def test_two_gateways_count_the_same_signatures(tmp_path: Path, postgres_url: str) -> None:
    keys: dict[str, Any] = {"keys": {"store": "database", "master_key_file": str(tmp_path / "first" / "master.key")}}
    keys["keys"]["root_file"] = str(tmp_path / "first" / "root.key")
    shared = {**THREE, **keys, "privacy": {"epochs": str(tmp_path / "first" / "epochs")}}
    async with (
        hall(tmp_path / "first", postgres_url, people=FIVE, **shared) as here,
        hall(tmp_path / "second", postgres_url, people={}, **shared) as there,
    ):
        there.tokens = here.tokens
        made = await here.add("new", "operator")
        await there.sign("ben", made)
        shown = await here.ok("ann", "GET", f"/v1/proposals/{made['id']}")
        path = f"/v1/proposals/{made['id']}/sign"
        answers = await asyncio.gather(
            here.ask("cat", "POST", path, here.signed("cat", shown)),
            there.ask("dan", "POST", path, here.signed("dan", shown)),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409], [one.text for one in answers]
        assert len(here.entries("PRPACT")) == 1
        # Whom one gateway revokes, the other does not count, also in what it remembers for two seconds.
        made = await here.add("next", "operator")
        await there.sign("fay", made)
        await here.ok("ann", "DELETE", "/v1/principals/fay")
        assert (await there.sign("ben", made))["status"] == "open"
        assert (await there.refused("next", "GET", "/v1/me"))[0] == 401


async def test_who_is_revoked_or_frozen_since_counts_no_more(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "operator")
        await town.sign("ben", made)
        await town.ok("dan", "DELETE", "/v1/principals/ben")
        after = await town.sign("cat", made)
        assert after["status"] == "open"
        assert [(one["counts"]) for one in after["signatures"]] == [True, False, True]
        frozen = {"scope": "principal", "subject": "cat", "cause": "access_stolen"}
        await town.ok("dan", "POST", "/v1/freezes", frozen, status=201)
        assert (await town.refused("cat", "GET", "/v1/proposals"))[1] == "freeze.active"
        assert (await town.sign("dan", made))["status"] == "open", "ann and dan are two"
        assert (await town.refused("new", "GET", "/v1/me"))[0] == 401
        await town.agree(made, "fay")


async def test_what_its_proposer_may_not_ask_any_more_is_void(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE) as town:
        made = await town.add("new", "operator")
        frozen = {"scope": "principal", "subject": "ann", "cause": "access_stolen"}
        await town.ok("ben", "POST", "/v1/freezes", frozen, status=201)
        assert (await town.not_signed("ben", made))[:2] == (409, "proposal.outdated")
        other = await town.add("other", "operator", by="cat")
        await town.ok("ben", "DELETE", "/v1/principals/cat")
        assert (await town.not_signed("ben", other))[:2] == (409, "proposal.outdated")


async def test_a_revocation_between_the_count_and_the_commit_is_seen(town: Hall, monkeypatch: Any) -> None:
    """The signature is judged anew, and the change is not made by somebody who was gone before it."""
    await town.agree(await town.add("cat", "security_admin"), "ben")
    made = await town.add("new", "operator", by="cat")
    changing, once = town.gateway.trust_changes, [True]
    change = type(changing).change

    async def slow(self: Any, *args: Any) -> Any:
        prepared = await change(self, *args)
        if once.pop() if once else False:
            await town.ok("ann", "DELETE", "/v1/principals/cat")
        return prepared

    monkeypatch.setattr(type(changing), "change", slow)
    assert (await town.not_signed("ben", made))[:2] == (409, "proposal.outdated")
    assert town.entries("PRPACT")[1:] == []
    assert (await town.refused("new", "GET", "/v1/me"))[0] == 401


async def test_the_second_admin_added_at_the_same_moment_ends_acting_alone(
    tmp_path: Path, database: str | None, monkeypatch: Any
) -> None:
    async with hall(tmp_path, database, people={"ann": "security_admin"}) as town:
        directory, once = town.gateway.directory, [True]
        administrators = type(directory).administrators

        async def slow(self: Any, tenant: str) -> Any:
            known = await administrators(self, tenant)
            if once:
                once.pop()
                await town.ok("ann", "POST", "/v1/principals", {"id": "ben", "roles": ["security_admin"]}, status=201)
            return known

        monkeypatch.setattr(type(directory), "administrators", slow)
        answer = await town.ask("ann", "POST", "/v1/principals", {"id": "oli", "roles": ["operator"]})
        assert (answer.status_code, answer.json()["pointer"]) == (400, "/api_key"), "it takes both by now"
        assert {one["id"] for one in (await town.ok("ann", "GET", "/v1/principals"))["principals"]} == {"ann", "ben"}


async def test_whoever_looks_again_and_again_is_told_so(town: Hall, monkeypatch: Any) -> None:
    made = await town.add("new", "operator")

    async def overtaken(*_: Any) -> Any:
        raise Overtaken

    monkeypatch.setattr(town.gateway.log, "append", overtaken)
    assert (await town.not_signed("ben", made))[:2] == (503, "gateway.overloaded")


async def test_a_change_is_void_where_what_it_rests_on_moved(town: Hall) -> None:
    made = await town.ok("ann", "POST", "/v1/principals/oli/keys", {"api_key": own_key()[1]}, status=202)
    linked = await town.ok("ann", "POST", "/v1/principals/bob/links", {"issuer": "company", "subject": "s"}, status=202)
    await town.ok("ben", "DELETE", "/v1/principals/oli")
    assert (await town.not_signed("ben", made))[:2] == (409, "proposal.outdated")
    await town.agree(linked, "ben")
    first, second = [{"id": "desk", "jwk": public_jwk()} for _ in range(2)]
    await town.agree(await town.ok("ann", "POST", "/v1/issuers", first, status=202), "ben")
    more = await town.ok("ann", "POST", "/v1/issuers", second, status=202)
    [issuer] = (await town.ok("ann", "GET", "/v1/issuers"))["issuers"]
    await town.ok("ben", "DELETE", f"/v1/issuers/desk/keys/{issuer['keys'][0]['kid']}")
    assert (await town.not_signed("ben", more))[:2] == (409, "proposal.outdated")


async def test_time_ends_a_change_also_before_upkeep_looks(town: Hall) -> None:
    made = await town.add("new", "operator")
    town.late[0] = town.gateway.settings.proposals.ttl_seconds + 1
    for _ in range(2):
        assert (await town.not_signed("ben", made))[:2] == (409, "proposal.expired")
        await town.gateway.proposals.expire()
    assert len(town.entries("PRPEXP")) == 1
    assert (await town.refused("new", "GET", "/v1/me"))[0] == 401


async def test_tenants_have_admins_of_their_own(town: Hall) -> None:
    [made] = await town.gateway.directory.bootstrap([NewPrincipal("ann", ["security_admin"])], "acme")
    town.tokens["ann of acme"] = str(made["api_key"]["token"])
    await town.ok("ann of acme", "POST", "/v1/principals", {"id": "oli", "roles": ["operator"]}, status=201)
    ours = await town.add("new", "operator")
    assert (await town.not_signed("ann of acme", ours))[:2] == (404, "request.not_found")
    second = {"id": "zoe", "roles": ["security_admin"]}
    await town.ok("ann of acme", "POST", "/v1/principals", second, status=201)
    theirs = await town.add("new", "operator", by="ann of acme")
    assert (await town.not_signed("ben", theirs))[:2] == (404, "request.not_found")
    assert theirs["needed"] == 2


# --- own keys --------------------------------------------------------------------------------------------------------


async def test_who_has_a_key_signs_with_it_and_a_stolen_api_key_counts_for_nobody(
    tmp_path: Path, database: str | None
) -> None:
    ann, ben = SigningKey.generate(), SigningKey.generate()
    async with hall(tmp_path, database, enrolled={"ann": ann, "ben": ben}) as town:
        made = await town.add("new", "operator")
        assert made["signatures"] == [], "a proposal without a signature is nobody's word"
        assert (await town.not_signed("ann", made))[:2] == (403, "proposal.key")
        path = f"/v1/proposals/{made['id']}/sign"
        body = town.signed("ben", made)
        assert (await town.refused("ann", "POST", path, body))[:2] == (403, "proposal.key"), "another's signature"
        binding = {name: made[name] for name in ("id", "kind", "tenant", "subject", "document_sha256")}
        for act, changed, by, where in (
            ("activate", {}, "ann", town.gateway.log.origin),
            ("sign", {"document_sha256": "0" * 64}, "ann", town.gateway.log.origin),
            ("sign", {"id": "0" * 32}, "ann", town.gateway.log.origin),
            ("sign", {}, "ben", town.gateway.log.origin),
            ("sign", {}, "ann", "another.example/log"),
        ):
            token = sign_act(act, {**binding, **changed}, key=ann, by=by, audience=where)  # type: ignore[arg-type]
            answer = await town.refused("ann", "POST", path, {**body, "act": token})
            assert answer[:2] == (409, "proposal.mismatch")
        assert (await town.sign("ann", made))["status"] == "open"
        done = await town.agree(made, "ben")
        assert [(one["by"], one["attested_by"]) for one in done["signatures"]] == [("ann", "signer"), ("ben", "signer")]


async def test_another_request_than_the_document_commits_to_is_not_signed(town: Hall) -> None:
    made = await town.add("new", "operator")
    check_request(made)
    for lie in (
        {"request": {**made["request"], "id": "eve"}},
        {"request": None},
        {"request_salt": "0" * 32},
        {"request_salt": "x"},
        {"request_salt": None},
        {"document": None},
    ):
        with pytest.raises(ApprovalMismatchError):
            check_request({**made, **lie})
    other = {"document_sha256": "0" * 64}
    answer = await town.refused("ben", "POST", f"/v1/proposals/{made['id']}/sign", other)
    assert answer[:2] == (409, "proposal.mismatch")


# --- whoever writes to the database ----------------------------------------------------------------------------------


async def test_an_admin_whose_row_is_taken_away_still_has_to_agree(town: Hall) -> None:
    """Else whoever is admin and writes to the database were alone at once."""
    ben, oli = (await town.person("ben")).pseudonym, (await town.person("oli")).pseudonym
    with town.gateway.engine.begin() as connection:
        connection.execute(delete(api_keys).where(api_keys.c.pseudonym == ben))
        connection.execute(delete(principals).where(principals.c.pseudonym == ben))
    town.gateway.directory.forget()
    made = await town.add("new", "operator")
    assert (made["needed"], made["status"]) == (2, "open")
    with town.gateway.engine.begin() as connection:
        connection.execute(update(principals).where(principals.c.pseudonym == oli).values(roles='["security_admin"]'))
    town.gateway.directory.forget()
    assert (await town.refused("oli", "GET", "/v1/me"))[0] == 401
    assert (await town.refused("new", "GET", "/v1/me"))[0] == 401


async def test_sql_signs_nothing_and_changes_no_proposal(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "operator")
        [mine] = town.stored(proposal_signatures)
        cat = (await town.person("cat")).pseudonym
        with town.gateway.engine.begin() as connection:
            connection.execute(insert(proposal_signatures).values({**mine, "number": 2, "signer": cat}))
        answer = await town.ask("ben", "POST", f"/v1/proposals/{made['id']}/sign", town.signed("ben", made))
        assert answer.status_code == 503, "its number is taken by what counts for nothing: refused, and never counted"
        document = json.loads(town.stored(proposals)[0]["document"])
        document["after"]["roles"] = ["security_admin"]
        with town.gateway.engine.begin() as connection:
            connection.execute(update(proposals).values(document=json.dumps(document)))
        assert (await town.refused("ben", "GET", f"/v1/proposals/{made['id']}"))[:2] == (500, "gateway.internal")
        assert (await town.refused("new", "GET", "/v1/me"))[0] == 401
    assert "proposal_signatures" in defences.WITHHELD


# --- restores, restarts and the console -------------------------------------------------------------------------------


async def test_a_restart_keeps_what_was_signed(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "operator")
        await town.sign("ben", made)
        tokens = town.tokens
    async with hall(tmp_path, database, people={}, **THREE) as town:
        town.tokens = tokens
        await town.agree(made, "cat")


async def test_signatures_from_before_a_restore_count_for_nothing(tmp_path: Path, database: str | None) -> None:
    """The log has another name since, and what was withdrawn after the backup would be open again."""
    async with hall(tmp_path, database, people=FIVE, **THREE) as town:
        made = await town.add("new", "operator")
        tokens = town.tokens
        town.gateway.log.origin = "restored.example/log"
        assert [
            one["counts"] for one in (await town.ok("ann", "GET", f"/v1/proposals/{made['id']}"))["signatures"]
        ] == [False]
        assert (await town.not_signed("ben", made))[:2] == (409, "proposal.outdated")
        assert tokens


async def test_the_console_adds_an_admin_where_too_few_are_left(town: Hall) -> None:
    frozen = {"scope": "principal", "subject": "ben", "cause": "access_stolen"}
    await town.ok("ann", "POST", "/v1/freezes", frozen, status=201)
    gone = await town.ok("ann", "DELETE", "/v1/principals/ben", status=202)
    assert (await town.refused("ben", "GET", "/v1/proposals"))[1] == "freeze.active", "nobody is left to agree"
    await town.ok("ann", "POST", f"/v1/proposals/{gone['id']}/withdraw")
    made = await town.gateway.directory.add_administrator("cat")
    town.tokens["cat"] = str(made["api_key"]["token"])
    [entry] = [one for one in town.entries("PRNCHG") if one["facts"].get("console")]
    assert (entry["principal"], entry["facts"]["roles"]) == ("system", "security_admin")
    await town.ok("cat", "DELETE", "/v1/principals/ben")
    assert (await town.add("dan", "security_admin"))["needed"] == 2


def test_thresholds_are_never_one() -> None:
    many = Thresholds(5, 2)
    assert [many.needed(Kind.TRUST_PRINCIPAL, admins) for admins in (0, 1, 2, 4, 5, 9)] == [2, 2, 2, 4, 5, 5]
    assert many.needed(Kind.TRUST_ISSUER, 9) == 2
