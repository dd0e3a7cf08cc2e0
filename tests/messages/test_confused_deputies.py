"""Who would have the Messages ingress act for somebody, or on something, that it should not."""

import itertools
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from gateway.entries import EntryType
from gateway.ingress.anthropic.request import read, rewritten
from gateway.personal_data import SECRET_KIND, Scanner, taken_out
from gateway.settings import Settings
from gateway.tool_names import tool_name
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import KEY, StandIn
from tests.messages.world import TOOLS, World, asking, world

BATCHES = "/anthropic/v1/messages/batches"
OWN = "sk-ant-api03-of-the-client-itself"
TOKEN = "ghp_" + "a" * 36
WHERE = "mia@example.org"


def redacted(body: dict[str, Any], *, kinds: tuple[str, ...] = ("email",)) -> Any:
    request = read(orjson.dumps(body), {}, (), beta=False)
    found = taken_out(request.body, Scanner(), [*kinds, SECRET_KIND])
    return request if found is request.body else rewritten(request, found)


async def test_a_step_that_is_called_like_a_batch_makes_nobody_its_owner(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    async with world(tmp_path, anthropic_api) as ready:
        made = await ready.post({"requests": [{"custom_id": "a", "params": asking()}]}, path=BATCHES)
        batch_id = made.json()["id"]
        # Here a model names the step so; whoever signs plans could as well.
        ready.api.script(message(tool_use("Read", {"file": "a"}, batch_id)))
        assert (await ready.post(asking(), "rival")).json()["stop_reason"] == "tool_use"
        asked = len(ready.api.requests)
        answer = await ready.http.get(f"{BATCHES}/{batch_id}", headers={"x-api-key": ready.keys["rival"]})
        assert answer.status_code == 404
        assert len(ready.api.requests) == asked
        listed = await ready.http.get(BATCHES, headers={"x-api-key": ready.keys["rival"]})
        assert listed.json()["data"] == []
        own = await ready.http.get(f"{BATCHES}/{batch_id}", headers={"x-api-key": ready.keys["bot"]})
        assert own.json()["id"] == batch_id


@pytest.mark.parametrize(
    "action", ["batches.list", "batches.get", "batches.results", "batches.cancel", "batches.delete"]
)
async def test_no_other_way_in_reaches_a_batch(tmp_path: Path, anthropic_api: StandIn, action: str) -> None:
    async with world(tmp_path, anthropic_api, granted={"claude": ["batches.cancel", "batches.delete"]}) as ready:
        made = await ready.post({"requests": [{"custom_id": "a", "params": asking()}]}, path=BATCHES)
        args = {} if action == "batches.list" else {"id": made.json()["id"]}
        asked = len(ready.api.requests)
        headers = {"authorization": f"Bearer {ready.keys['rival']}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"{ready.url}/mcp", http_client=http)) as client,
        ):
            offered = [tool.name for tool in (await client.list_tools()).tools]
            assert any(name.startswith("claude") for name in offered), "the control"
            assert not any("batches" in name for name in offered)
            with pytest.raises(MCPError):
                await client.call_tool(tool_name("claude", action), args)
        # Who signs plans themselves, as every other way in does for its callers.
        action_of_plan = {"id": "s", "hand": "claude", "action": action, "args": args}
        [step] = await ready.plan("rival", action_of_plan)
        assert step["error"]["code"] == "schema.unknown_action", step
        assert len(ready.api.requests) == asked


async def test_a_tool_of_two_hands_is_nobodys_even_where_a_hand_is_called_client(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    more = {"client": {"adapter": "client", "actions": {"Read": dict(TOOLS["Read"])}}}
    async with world(tmp_path, anthropic_api, more=more) as ready:
        await pin(ready, "client")
        ready.api.script(message(tool_use("Read", {"file": "a"}, "toolu_1")))
        shown = (await ready.post(asking())).json()
        assert [block["type"] for block in shown["content"]] == ["text"]
        assert await ready.entries(EntryType.STEP_RELEASED) == []


async def pin(ready: World, hand: str) -> None:
    offered = await ready.json("GET", f"/v1/hands/{hand}", "op")
    await ready.json("POST", f"/v1/hands/{hand}/pin", "op", {"digest": offered["offered_digest"]})


async def test_a_clients_credential_stays_here_where_the_hand_has_one(tmp_path: Path, anthropic_api: StandIn) -> None:
    settings = {"anthropic": {"pass_credentials": True}}
    async with world(tmp_path, anthropic_api, settings=settings) as ready:
        ready.api.script(message("yes"))
        answer = await ready.post(
            asking(), x_handrail_key=ready.keys["bot"], x_api_key=OWN, authorization=f"Bearer {OWN}"
        )
        assert answer.status_code == 200, answer.text
        assert OWN not in str(ready.api.asked[-1].headers)
        assert ready.api.asked[-1].headers["x-api-key"] == KEY


async def test_a_key_of_handrail_is_no_credential_of_the_clients_own(tmp_path: Path, anthropic_api: StandIn) -> None:
    settings = {"anthropic": {"pass_credentials": True}}
    async with world(tmp_path, anthropic_api, settings=settings, model={"secrets": {}}) as ready:
        key = ready.keys["bot"]
        for own in ({"x_api_key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key}"}):
            assert (await ready.post(asking(), x_handrail_key=key, **{"x_api_key": OWN, **own})).status_code == 401
        assert len(ready.api.asked) == 3
        assert key not in str([request.headers for request in ready.api.asked])


async def test_what_a_client_reports_is_on_record_without_its_secrets_too(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    settings = {"anthropic": {"redact_secrets": True}}
    async with world(tmp_path, anthropic_api, settings=settings) as ready:
        ready.api.script(message(tool_use("Read", {"file": "a"}, "toolu_1")), message("yes"))
        await ready.post(asking())
        [entry] = await ready.entries(EntryType.STEP_RELEASED)
        conversation = [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": f"k={TOKEN}"}]},
        ]
        assert (await ready.post(asking(messages=conversation))).status_code == 200
        plan = await ready.json("GET", f"/v1/plans/{entry['plan_id']}", "bot")
        assert plan["steps"][0]["reported"]["content"] == [{"type": "text", "text": "k=[redacted:secret]"}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "{}", "role": "user"},
        {"type": "text", "text": "{}", "data": ""},
        {"type": "text", "text": "{}", "encrypted_content": ""},
        {"type": "search_result", "title": "t", "source": "{}", "content": []},
        {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {"a": ["{}"]}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": [{"type": "text", "text": "{}"}]},
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "m",
            "content": {"type": "bash_code_execution_result", "stdout": "{}", "stderr": "", "return_code": 0},
        },
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "m",
            "content": {
                "type": "web_fetch_result",
                "url": "https://example.org",
                "content": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}},
            },
        },
    ],
    ids=lambda block: block["type"],
)
@pytest.mark.parametrize("what", [TOKEN, WHERE])
def test_nothing_beside_a_text_hides_it(block: dict[str, Any], what: str) -> None:
    written = orjson.loads(orjson.dumps(block).decode().replace("{}", what))
    message_ = {"role": "user", "content": [written], "type": "thinking"}
    changed = redacted(asking(messages=[message_]))
    assert what.encode() not in changed.raw
    assert list(changed.body["messages"][0]["content"][0]) == list(block)


@pytest.mark.parametrize(
    "rest",
    [
        {"tools": [{"name": "t", "description": f"uses {TOKEN}", "input_schema": {"default": TOKEN}}]},
        {"metadata": {"user_id": TOKEN}},
        {"stop_sequences": [TOKEN]},
        {"mcp_servers": [{"type": "url", "name": "m", "url": "https://user:password@mcp.example/"}]},
    ],
    ids=lambda rest: next(iter(rest)),
)
def test_a_secret_is_taken_out_wherever_it_stands(rest: dict[str, Any]) -> None:
    changed = redacted(asking(**rest), kinds=())
    assert TOKEN.encode() not in changed.raw
    assert b"password" not in changed.raw


def test_a_session_stays_the_same_without_the_personal_data_of_its_name() -> None:
    changed = redacted(asking(metadata={"user_id": WHERE}))
    assert WHERE.encode() not in changed.raw
    assert changed.session == WHERE


@pytest.mark.parametrize("hostile", ["-eyJ", "eyJaaaaaaaa.", "eyJ-", "-----BEGIN ", "://a:", "hf_"])
def test_looking_for_secrets_is_no_work_for_hours(hostile: str) -> None:
    # The square of this many beginnings would be: the test ends, or the time of every test does.
    said = hostile * (4_000_000 // len(hostile))
    assert orjson.loads(redacted(asking(said), kinds=()).raw)["messages"]


def test_a_kind_of_personal_data_that_there_is_not_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no kind emial"):
        Settings(home=tmp_path, anthropic={"redact_personal": ["emial"]})


async def test_what_is_no_list_is_refused_and_not_stumbled_over(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(tmp_path, anthropic_api) as ready:
        wrongs: list[Any] = [5, {"a": {"b": OWN}}, ["a"], "a"]
        for member, wrong in itertools.product(("tools", "mcp_servers"), wrongs):
            body = asking() | {member: wrong}
            batch = {"requests": [{"custom_id": "a", "params": body}]}
            for path, sent in (("", body), ("/count_tokens", body), ("/batches", batch)):
                answer = await ready.post(sent, path=f"/anthropic/v1/messages{path}")
                assert answer.status_code == 400, (path, member, wrong)
        assert ready.api.requests == []
