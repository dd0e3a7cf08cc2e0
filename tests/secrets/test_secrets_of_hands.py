"""A hand's secret reaches its API and nothing else: not the model, the log, a receipt, a row or a file."""

from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from gateway.errors import Refused, Unavailable
from gateway.ports import HandFailure, Target
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandError
from hand_adapters.http import HttpAdapter
from tests.canaries import Canaries, rows_of
from tests.secrets.world import HOWS, Api, World, hand, opened

BEARER = {"token": {"place": "bearer"}}


async def set_secret(world: World, name: str, value: str) -> dict[str, Any]:
    return await world.gateway.secrets.set(world.people["admin"], name, value)


async def evidence(world: World) -> bytes:
    """Everything that the API gives of the calls to whoever may ask."""
    found = []
    async with httpx2.AsyncClient(base_url=world.url, timeout=30) as http:
        entries = (await http.get("/v1/audit/entries?limit=1000", headers=world.tokens["eve"])).json()
        plans = {entry["entry"]["plan_id"] for entry in entries["entries"] if entry["entry"].get("plan_id")}
        for target in ("/v1/secrets", "/v1/hands", *(f"/v1/plans/{plan}" for plan in plans)):
            who = "admin" if "secrets" in target else "op" if "hands" in target else "bot"
            answer = await http.get(target, headers=world.tokens[who])
            assert answer.status_code == 200, answer.text
            found.append(answer.content)
        for kind in ("ndjson", "csv", "ocsf", "cloudevents"):
            answer = await http.get(f"/v1/audit/exports?format={kind}", headers=world.tokens["eve"])
            assert answer.status_code == 200, answer.text
            found.append(answer.content)
        found.append((await http.get("/metrics", headers=world.tokens["op"])).content)
    return b"\n".join([*found, orjson.dumps(entries)])


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ({"place": "bearer"}, "authorization"),
        ({"place": "header", "parameter": "X-Api-Key"}, "x-api-key"),
        ({"place": "basic", "username": "robot"}, "authorization"),
        ({"place": "query", "parameter": "key"}, ""),
    ],
)
async def test_a_secret_is_in_its_place_of_the_request_and_nowhere_else(
    tmp_path: Path, api: Api, canaries: Canaries, secret: dict[str, Any], header: str
) -> None:
    async with opened(tmp_path, api, {"token": secret}) as world:
        value = canaries.plant("awkward")
        await set_secret(world, "token", value)
        step = await world.call("none")
        assert step["status"] == "succeeded", step
        [headers] = api.headers
        if secret["place"] == "basic":
            assert httpx2.BasicAuth("robot", value)._auth_header == headers[header]
        elif header:
            assert headers[header].removeprefix("Bearer ") == value
        else:
            assert httpx2.URL(api.targets[0]).params["key"] == value
        displaced = header == "authorization"
        assert ("dpop" not in headers) == displaced, "an API with a secret of its own is sent no step credential"
        [used] = world.entries("SECUSE")
        assert used["facts"] == {"secret": "token", "store": "sealed", "target": api.url, "version": "1"}
        assert (used["step_id"], used["hand"], used["plan_id"]) == (step["id"], "crm", step["plan_id"])
        canaries.must_not_be_in("the database", rows_of(world.gateway.engine))
        canaries.must_not_be_in("an answer", await evidence(world))


async def test_an_api_that_echoes_its_secret_has_it_taken_out(tmp_path: Path, api: Api, canaries: Canaries) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        await set_secret(world, "token", canaries.plant("awkward"))
        for number, how in enumerate(HOWS, start=1):
            step = await world.call(how)
            assert step["status"] == ("failed" if how == "error" else "succeeded"), (how, step)
            assert "[secret]" in str(step["result"]) or how == "blob", (how, step)
            canaries.must_not_be_in(f"the result of {how}", orjson.dumps(step))
            assert len(world.entries("SECECH")) == number
        assert world.entries("SECECH")[-1]["facts"] == {"secret": "token", "store": "sealed", "version": "1"}
        canaries.must_not_be_in("the database", rows_of(world.gateway.engine))
        canaries.must_not_be_in("an answer", await evidence(world))


async def test_an_answer_without_the_secret_is_left_as_it_is(tmp_path: Path, api: Api, canaries: Canaries) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        await set_secret(world, "token", canaries.plant())
        step = await world.call("none")
        assert step["result"]["content"] == [{"type": "text", "text": "ok"}]
        assert world.entries("SECECH") == []


async def test_a_secret_that_is_not_there_stops_the_call_before_it_is_sent(tmp_path: Path, api: Api) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        step = await world.call()
        assert (step["status"], step["error"]["code"]) == ("failed", Reason.SECRET_MISSING)
        assert api.headers == []
        assert world.entries("SECUSE") == []


async def test_nothing_is_sent_where_the_use_cannot_be_put_on_record(
    tmp_path: Path, api: Api, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, api, {"token": {"place": "bearer", "methods": ["GET"]}}) as world:
        await set_secret(world, "token", canaries.plant())

        async def full(*_: Any) -> None:
            raise Unavailable(Reason.LOG_UNAVAILABLE, "disk full")

        monkeypatch.setattr(world.gateway.secrets.broker, "record", full)
        step = await world.call()
        assert (step["status"], step["error"]["code"]) == ("failed", Reason.LOG_UNAVAILABLE)
        assert api.headers == []


async def test_a_use_that_is_sure_is_on_record_with_the_intent(tmp_path: Path, api: Api, canaries: Canaries) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        await set_secret(world, "token", canaries.plant())
        step = await world.call()
        [use], [intent] = world.entries("SECUSE"), world.entries("STPDSP")
        assert (use["plan_id"], use["step_id"]) == (step["plan_id"], step["id"])
        assert use["facts"] == {"secret": "token", "store": "sealed", "version": "1", "target": api.url}
        assert use["time"] == intent["time"], "one commit"


async def test_where_the_intent_cannot_be_recorded_neither_is_its_use_and_nothing_is_sent(
    tmp_path: Path, api: Api, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        await set_secret(world, "token", canaries.plant())

        async def full(*_: Any) -> None:
            raise Unavailable(Reason.LOG_UNAVAILABLE, "disk full")

        monkeypatch.setattr(world.gateway.log, "append", full)
        with pytest.raises(Unavailable):
            await world.call()
        assert (api.headers, world.entries("SECUSE")) == ([], [])


async def test_no_store_is_asked_for_a_step_that_is_denied(
    tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        asked: list[str] = []

        async def read(_tenant: str, name: str) -> Any:
            asked.append(name)
            raise Unavailable(Reason.SECRET_UNAVAILABLE, "away")

        monkeypatch.setattr(world.gateway.secrets.sealed, "read", read)
        step = await world.call(unknown="an argument off the schema")
        assert (step["status"], asked) == ("denied", [])
        assert (await world.call())["error"]["code"] == Reason.SECRET_UNAVAILABLE
        assert asked == ["token", "token"], "for the intent, and for the request"


async def test_a_call_that_was_withheld_after_its_intent_has_the_use_on_record_and_sends_nothing(
    tmp_path: Path, api: Api, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        await set_secret(world, "token", canaries.plant())

        async def busy(*_: Any, **__: Any) -> Any:
            raise HandError(Reason.HAND_BUSY, HandFailure.NOT_EXECUTED)

        monkeypatch.setattr(world.gateway.hands.guards["crm"], "run", busy)
        step = await world.call()
        assert (step["status"], step["error"]["code"]) == ("failed", Reason.HAND_BUSY)
        assert (len(world.entries("SECUSE")), api.headers) == (1, [])


async def test_an_argument_cannot_take_the_place_of_a_secret(tmp_path: Path, api: Api, canaries: Canaries) -> None:
    async with opened(tmp_path, api, {"token": {"place": "query", "parameter": "how"}}) as world:
        await set_secret(world, "token", canaries.plant())
        step = await world.call("none")
        assert (step["status"], step["error"]["code"]) == ("failed", Reason.SCHEMA_ARGS)
        assert api.headers == []


async def test_a_proxy_is_given_nothing_for_a_step_that_does_not_run_or_another_target(
    tmp_path: Path, api: Api, canaries: Canaries
) -> None:
    async with opened(tmp_path, api, BEARER) as world:
        value = canaries.plant()
        await set_secret(world, "token", value)
        broker, seen = world.gateway.secrets.broker, []
        target = Target("http", "127.0.0.1", int(api.url.rpartition(":")[2]))

        async def asked(hand_id: str, where: Target) -> Any:
            """As the step's own jail would have its proxy ask, while the step runs."""
            [(plan_id, step_id)] = broker._steps
            try:
                given = await broker.inject(hand_id, plan_id, step_id, where)
            except Refused as refused:
                return refused.reason
            return dict(given.headers)

        async def meanwhile() -> None:
            seen.append(await asked("crm", target))
            others = [
                Target("http", "127.0.0.1", target.port + 1),
                Target("https", "127.0.0.1", target.port),
                Target("http", "127.0.0.1.evil.example", target.port),
                Target("http", "localhost", target.port),
            ]
            seen.extend([await asked("crm", other) for other in others])
            seen.append(await asked("other", target))

        api.meanwhile = meanwhile
        step = await world.call()
        assert step["status"] == "succeeded", step
        assert seen == [{"Authorization": f"Bearer {value}"}, {}, {}, {}, {}, Reason.SECRET_MISSING]
        assert len(world.entries("SECUSE")) == 1
        with pytest.raises(Refused, match="no such step"):
            await broker.inject("crm", step["plan_id"], step["id"], target)


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({"token": {"targets": ["https://other.example"]}}, "base_url is not among them"),
        ({"a": {}, "b": {"place": "basic", "username": "u"}}, "same place"),
        ({"a": {}, "b": {"place": "header", "parameter": "AUTHORIZATION"}}, "same place"),
        ({"a": {"place": "query", "parameter": "k"}, "b": {"place": "query", "parameter": "k"}}, "same place"),
    ],
)
def test_a_declaration_that_could_not_be_kept_stops_the_start(secrets: dict[str, Any], words: str) -> None:
    declared = HandSettings(**hand(Api("https://api.example"), secrets))
    with pytest.raises(SettingsError) as caught:
        HttpAdapter.validate("crm", declared)
    assert words in caught.value.detail


@pytest.mark.parametrize(
    "secret",
    [
        {"place": "path"},
        {"place": "header"},
        {"place": "bearer", "parameter": "x"},
        {"place": "basic"},
        {"place": "basic", "username": "a:b"},
        {"place": "header", "parameter": "Host"},
        {"place": "header", "parameter": "Content-Length"},
        {"place": "header", "parameter": "X\r\nY"},
        {"targets": ["https://user:pw@api.example"]},
        {"targets": ["ftp://api.example"]},
        {"targets": ["https://api.example/path"]},
    ],
)
def test_a_place_that_is_none_is_refused(secret: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="secrets"):
        HandSettings(**hand(Api("https://api.example"), {"token": secret}))


def test_a_secret_does_not_travel_in_clear_to_the_internet() -> None:
    declared = HandSettings(
        **{**hand(Api("https://api.example"), {"t": {"targets": ["http://api.example", "https://api.example"]}}),
           "private_network": False}
    )  # fmt: skip
    with pytest.raises(SettingsError, match="plain http"):
        HttpAdapter.validate("crm", declared)


def test_a_server_in_a_jail_names_no_secret() -> None:
    with pytest.raises(ValueError, match="no secret enters the jail"):
        HandSettings(adapter="mcp", command=("server",), secrets={"token": {}})


async def test_what_a_hand_names_is_pinned(api: Api) -> None:
    digests = set()
    for secrets in (
        {},
        {"token": {}},
        {"other": {}},
        {"token": {"place": "header", "parameter": "X-Key"}},
        {"token": {"store": "vault"}},
        {"token": {"targets": [api.url, "https://second.example"]}},
    ):
        adapter = HttpAdapter("crm", HandSettings(**hand(api, secrets)), None)  # type: ignore[arg-type]
        manifest = await adapter.manifest()
        digests.add(manifest.digest)
        assert type(manifest).from_document(manifest.document()) == manifest
    assert len(digests) == 6
