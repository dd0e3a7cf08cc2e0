"""The OPA engine against a real server, and against servers that are not what they should be."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.policy.engine import can_hold_candidate, make_candidate_backend
from gateway.policy.faults import BundleError, EngineUnavailable
from gateway.policy.opa import Holder, OpaEngine
from gateway.policy.opa_client import read_token
from gateway.policy.private_opa import private_opa
from gateway.settings import PolicySettings, SettingsError
from tests.policy.support import OPEN, SHIPPED, ask, inspected, record, rego, said, step, write

pytestmark = pytest.mark.opa


@asynccontextmanager
async def engine_at(url: str, token: str | None = None, **changes: Any) -> AsyncIterator[OpaEngine]:
    engine = OpaEngine(url, token, **{"deadline_seconds": 2.0, "input_max_bytes": 1_048_576, **changes})
    try:
        yield engine
    finally:
        await engine.close()


async def effect_of(engine: OpaEngine, *steps: dict[str, Any]) -> tuple[str, list[str]]:
    decisions = await engine.decide(ask(*(steps or (step(),))))
    return said(next(iter(decisions.values())))


async def put(url: str, name: str, text: str) -> None:
    async with aiohttp.ClientSession() as session, session.put(f"{url}/v1/policies/{name}", data=text) as answer:
        assert answer.status == 200


async def test_the_shipped_policies_decide(opa_url: str) -> None:
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(SHIPPED), record)
        await engine.ready()
        steps = step("a", "git", "git_status", repo_path="/repo"), step("b", "git", "git_status", repo_path="/etc")
        decisions = await engine.decide(ask(*steps))
        assert said(decisions["a"]) == ("allow", ["grants.reader"])
        assert said(decisions["b"]) == ("deny", ["paths.outside"])
        assert {decision.policy_digest for decision in decisions.values()} == {engine.digest}


async def test_modules_that_call_each_other_go_up_in_any_order(opa_url: str, tmp_path: Path) -> None:
    chain = {f"m{n}.rego": f"package handrail.m{n}\n\nf(x) := data.handrail.m{n + 1}.f(x)\n" for n in range(4)}
    write(tmp_path, {**chain, "m4.rego": "package handrail.m4\n\nf(x) := x\n", "z.rego": OPEN.replace("EFFECT", "ask")})
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path), record)
        assert await effect_of(engine) == ("ask", [])


async def test_modules_that_call_each_other_are_taken_out_in_any_order(opa_url: str, tmp_path: Path) -> None:
    """OPA refuses to delete what another module calls, and lists modules in an order that it draws anew each time."""
    chain = {f"m{n}.rego": f"package handrail.m{n}\n\nf(x) := data.handrail.m{n + 1}.f(x)\n" for n in range(6)}
    last = "package handrail.m6\n\nf(x) := x\n"
    write(tmp_path / "old", {**chain, "m6.rego": last, "z.rego": OPEN.replace("EFFECT", "ask")})
    write(tmp_path / "new", {"z.rego": OPEN.replace("EFFECT", "allow")})
    async with engine_at(opa_url) as engine:
        for _ in range(3):
            await engine.activate(await inspected(tmp_path / "old"), record)
            assert await effect_of(engine) == ("ask", [])
            await engine.activate(await inspected(tmp_path / "new"), record)
            assert await effect_of(engine) == ("allow", [])


async def test_a_failing_builtin_is_an_error_and_not_undefined(opa_url: str, tmp_path: Path) -> None:
    rule = OPEN.replace("EFFECT", "allow") + "\ndecisions contains x if {\n\tx := to_number(input.environment)\n}\n"
    write(tmp_path, {"a.rego": rule.replace("to_number(input.environment)", "to_number(input.steps[0].args.n)")})
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path), record)
        assert await effect_of(engine) == ("allow", [])
        assert await effect_of(engine, step(n="x")) == ("deny", ["policy.error"])


async def test_what_opa_refuses_is_named_and_the_old_bundle_stays(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path / "good", {"a.rego": OPEN.replace("EFFECT", "allow")})
    write(tmp_path / "bad", {"a.rego": rego("x := concat(1, 2)")})
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path / "good"), record)
        before = engine.digest
        with pytest.raises(BundleError) as caught:
            await engine.activate(await inspected(tmp_path / "bad"), record)
        assert [(problem.file, problem.line) for problem in caught.value.problems] == [("a.rego", 7)]
        assert engine.digest == before
        assert await effect_of(engine) == ("allow", [])


async def test_an_activation_that_cannot_be_recorded_does_not_happen(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path / "old", {"a.rego": OPEN.replace("EFFECT", "ask")})
    write(tmp_path / "new", {"a.rego": OPEN.replace("EFFECT", "allow")})

    async def log_is_full() -> None:
        raise EngineUnavailable("no space")

    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path / "old"), record)
        with pytest.raises(EngineUnavailable):
            await engine.activate(await inspected(tmp_path / "new"), log_is_full)
        assert await effect_of(engine) == ("ask", [])


async def test_plans_during_a_change_over_are_decided_by_one_bundle_or_the_other(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path / "old", {"a.rego": OPEN.replace("EFFECT", "ask")})
    write(tmp_path / "new", {"a.rego": OPEN.replace("EFFECT", "allow")})
    old, new = await inspected(tmp_path / "old"), await inspected(tmp_path / "new")
    async with engine_at(opa_url, deadline_seconds=20.0) as engine:
        await engine.activate(old, record)
        change = asyncio.create_task(engine.activate(new, record))
        seen = set()
        while not change.done():
            decision = (await engine.decide(ask(step())))["s1"]
            seen.add((str(decision.effect), decision.policy_digest))
        await change
        decision = (await engine.decide(ask(step())))["s1"]
        seen.add((str(decision.effect), decision.policy_digest))
        assert seen <= {("ask", old.digest), ("allow", new.digest)}
        assert ("allow", new.digest) in seen


async def test_a_bundle_replaced_behind_our_back_denies_until_it_is_put_back(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", {"a.rego": OPEN.replace("EFFECT", "ask")})
    write(tmp_path / "b", {"a.rego": OPEN.replace("EFFECT", "allow")})
    async with engine_at(opa_url) as ours, engine_at(opa_url) as theirs:
        await ours.activate(await inspected(tmp_path / "a"), record)
        await theirs.activate(await inspected(tmp_path / "b"), record)
        assert await effect_of(ours) == ("deny", ["policy.unavailable"])
        with pytest.raises(EngineUnavailable):
            await ours.ready()
        await ours.maintain()
        assert await effect_of(ours) == ("ask", [])
        await ours.ready()


async def test_one_changed_module_in_the_server_is_noticed_and_put_back(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path), record)
        await put(opa_url, "handrail/a.rego", OPEN.replace("EFFECT", "allow"))
        await engine.maintain()
        assert await effect_of(engine) == ("ask", [])


async def test_a_foreign_policy_that_adds_to_the_bundle_denies_everything(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(tmp_path), record)
        await put(opa_url, "evil", OPEN.replace("EFFECT", "allow"))
        await engine.maintain()
        assert await effect_of(engine) == ("deny", ["policy.unavailable"])
        with pytest.raises(EngineUnavailable):
            await engine.ready()
    async with engine_at(opa_url) as late:
        with pytest.raises(EngineUnavailable, match="policies of others"):
            await late.activate(await inspected(tmp_path), record)


async def put_data(url: str, path: str, value: Any) -> int:
    async with aiohttp.ClientSession() as session, session.put(f"{url}/v1/data/{path}", json=value) as answer:
        return answer.status


GRANT_ALL = {"readers": ["agent"], "table": [{"roles": ["agent"], "hand": "git", "actions": ["git_push"]}]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("handrail/grants/table", GRANT_ALL["table"]),
        ("handrail/grants/table/0", GRANT_ALL["table"]),
        ("handrail/grants", GRANT_ALL),
        ("handrail", {"grants": GRANT_ALL, "side_effects": {"ask": {}}}),
        ("", {"handrail": {"grants": GRANT_ALL}}),
        ("handrail/limits/steps", 10**6),
    ],
)
async def test_data_changed_in_the_server_is_never_believed(opa_url: str, path: str, value: Any) -> None:
    steps = (
        step("add", "git", "git_add", repo_path="/repo", files=["a"]),
        step("push", "git", "git_push", repo_path="/repo"),
        *(step(f"n{number}", "time", "get_current_time") for number in range(99)),
    )
    async with engine_at(opa_url) as engine:
        await engine.activate(await inspected(SHIPPED), record)
        before = await engine.decide(ask(*steps))
        assert said(before["push"])[0] == "deny"
        assert await put_data(opa_url, path, value) >= 400
        assert await engine.decide(ask(*steps)) == before
        await engine.maintain()
        assert await engine.decide(ask(*steps)) == before


async def test_data_that_the_bundle_lacks_is_taken_out_of_the_server(opa_url: str, tmp_path: Path) -> None:
    rule = OPEN.replace('"EFFECT"', "data.handrail.switch.effect")
    write(tmp_path, {"a.rego": rule})
    async with engine_at(opa_url) as engine:
        await put_data(opa_url, "handrail/switch", {"effect": "allow"})
        await engine.activate(await inspected(tmp_path), record)
        assert await effect_of(engine) == ("deny", ["policy.undecided"])
        assert await put_data(opa_url, "handrail/switch", {"effect": "allow"}) < 400
        await engine.maintain()
        assert await effect_of(engine) == ("deny", ["policy.undecided"])
        await engine.ready()


async def test_a_server_whose_data_cannot_be_looked_at_is_not_maintained(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    async with engine_at(opa_url) as engine, impostor(b'{"result": []}', "403 Forbidden") as guarded:
        await engine.activate(await inspected(tmp_path), record)
        engine._client.root_url = f"{guarded}/v1"
        with pytest.raises(EngineUnavailable):
            await engine.maintain()


async def test_opa_that_goes_away_denies(opa_program: Path, tmp_path: Path) -> None:
    from gateway.policy.private_opa import private_opa

    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    async with engine_at("http://127.0.0.1:1") as nowhere:
        assert await effect_of(nowhere) == ("deny", ["policy.unavailable"])
        with pytest.raises(EngineUnavailable):
            await nowhere.activate(await inspected(tmp_path), record)
    async with private_opa(opa_program) as url:
        engine = OpaEngine(url, None, deadline_seconds=2.0, input_max_bytes=10_000)
        await engine.activate(await inspected(tmp_path), record)
        assert await effect_of(engine) == ("allow", [])
    assert await effect_of(engine) == ("deny", ["policy.unavailable"])
    with pytest.raises(EngineUnavailable):
        await engine.ready()
    with pytest.raises(EngineUnavailable):
        await engine.maintain()
    await engine.close()


# --- servers that only look like OPA ---------------------------------------------------------------------------------

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def impostor(body: bytes | None, status: str = "200 OK", headers: str = "") -> AsyncIterator[str]:
    """An HTTP server that answers every request alike; with no body, never."""
    hanging = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if body is None:
                await hanging.wait()
                return
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        hanging.set()
        server.close()
        await server.wait_closed()


async def decided_by(url: str, real: str, tmp_path: Path, **changes: Any) -> tuple[str, list[str]]:
    """What an engine decides that was filled at the real server and then asks the impostor."""
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    async with engine_at(real, **changes) as engine:
        await engine.activate(await inspected(tmp_path), record)
        engine._client.root_url = f"{url}/v1"
        return await effect_of(engine)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", "200 OK", "policy.unavailable"),
        (b"garbage", "200 OK", "policy.unavailable"),
        (b"[]", "200 OK", "policy.unavailable"),
        (b"{}", "200 OK", "policy.unavailable"),
        (b'{"result": {"decisions": [{"step": "s1", "effect": "allow"}]}}', "200 OK", "policy.unavailable"),
        (
            b'{"result": {"digest": "x", "decisions": [{"step": "s1", "effect": "allow"}]}}',
            "200 OK",
            "policy.unavailable",
        ),
        (b'{"result": [{"step": "s1", "effect": "allow"}]}', "200 OK", "policy.unavailable"),
        (b"\xff\xfe", "200 OK", "policy.unavailable"),
        (b"{}", "401 Unauthorized", "policy.unavailable"),
        (b"{}", "500 Internal Server Error", "policy.error"),
        (b"{}", "503 Service Unavailable", "policy.unavailable"),
    ],
)
async def test_an_answer_that_is_not_the_bundles_denies(
    opa_url: str, tmp_path: Path, body: bytes, status: str, code: str
) -> None:
    async with impostor(body, status) as url:
        assert await decided_by(url, opa_url, tmp_path) == ("deny", [code])


async def test_a_redirect_is_not_followed(opa_url: str, tmp_path: Path) -> None:
    location = f"location: {opa_url}/v1/data/handrail_bundle\r\n"
    async with impostor(b"{}", "307 Temporary Redirect", location) as url:
        assert await decided_by(url, opa_url, tmp_path) == ("deny", ["policy.unavailable"])


async def test_a_server_that_hangs_denies_at_the_deadline(opa_url: str, tmp_path: Path) -> None:
    async with impostor(None) as url:
        assert await decided_by(url, opa_url, tmp_path, deadline_seconds=0.5) == ("deny", ["policy.timeout"])


async def test_the_right_digest_with_a_wrong_shape_denies(opa_url: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "allow")})
    digest = (await inspected(tmp_path)).digest
    body = json.dumps({"result": {"digest": digest, "decisions": {"s1": "allow"}}}).encode()
    async with impostor(body) as url:
        assert await decided_by(url, opa_url, tmp_path) == ("deny", ["policy.error"])


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://u:p@x", "http://x/prefix", "http://x?y", "x:8181", "http://x#y"]
)
def test_an_address_that_says_more_than_where_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        OpaEngine(url, None, deadline_seconds=1.0, input_max_bytes=1000)


async def test_the_token_comes_from_its_file(opa_program: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-token\n")
    assert read_token(file) == "secret-token"
    assert OpaEngine("https://x", read_token(file), deadline_seconds=1, input_max_bytes=1)._client.headers == {
        "Authorization": "Bearer secret-token"
    }
    for text in ("", "two words", "é"):
        file.write_text(text)
        with pytest.raises(SettingsError):
            read_token(file)
    with pytest.raises(SettingsError):
        read_token(tmp_path / "missing")


async def test_a_candidate_in_a_server_of_its_own_leaves_the_active_bundle_alone(
    opa_program: Path, opa_url: str, tmp_path: Path
) -> None:
    allow = await inspected(write(tmp_path / "1", {"a.rego": OPEN.replace("EFFECT", "allow")}))
    deny = await inspected(write(tmp_path / "2", {"a.rego": OPEN.replace("EFFECT", "deny")}))
    async with (
        private_opa(opa_program) as other_url,
        engine_at(opa_url) as active,
        engine_at(other_url, holder=Holder.CANDIDATE) as candidate,
    ):
        await active.activate(allow, record)
        await candidate.activate(deny, record)
        await active.maintain()
        await candidate.maintain()
        assert (await effect_of(active), await effect_of(candidate)) == (("allow", []), ("deny", []))
        assert active.digest != candidate.digest
        await candidate.activate(allow, record)


async def test_a_candidate_is_not_put_into_the_server_of_the_active_bundle(opa_url: str, tmp_path: Path) -> None:
    """Two addresses of one server: the second bundle would take the first one's place."""
    allow = await inspected(write(tmp_path / "1", {"a.rego": OPEN.replace("EFFECT", "allow")}))
    deny = await inspected(write(tmp_path / "2", {"a.rego": OPEN.replace("EFFECT", "deny")}))
    async with engine_at(opa_url) as active, engine_at(opa_url, holder=Holder.CANDIDATE) as candidate:
        await active.activate(allow, record)
        with pytest.raises(EngineUnavailable, match="active bundle"):
            await candidate.activate(deny, record)
        assert await effect_of(active) == ("allow", [])


def test_settings_with_one_server_for_both_bundles_are_refused() -> None:
    with pytest.raises(ValueError, match="one server holds one bundle"):
        PolicySettings(engine="opa", opa_url="http://127.0.0.1:8181", opa_candidate_url="http://127.0.0.1:8181/")
    assert not can_hold_candidate(PolicySettings(engine="opa"))
    with pytest.raises(EngineUnavailable):
        make_candidate_backend(PolicySettings(engine="opa"))
