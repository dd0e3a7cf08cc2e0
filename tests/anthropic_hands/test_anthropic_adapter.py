"""A model's endpoint as a hand: what it is sent and what of its answers is believed, over real sockets."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from gateway.calls import HandResult, Injections
from gateway.errors import Refused
from gateway.manifest import SideEffects
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.anthropic import AnthropicAdapter
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.schemas import Checker
from tests.anthropic_hands.endpoint import MESSAGE, Endpoint, serving
from tests.hands.hands_support import call

ACTION = "model.messages"
ARGS: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Grüße"}],
    "of_tomorrow": {"b": 1, "a": 2},
}
SECRET = {"claude-key": {"place": "header", "parameter": "x-api-key"}}


def hand(url: str = "https://api.anthropic.com", **more: Any) -> HandSettings:
    said = {"adapter": "anthropic", "base_url": url, "private_network": True, "secrets": SECRET}
    return HandSettings(**{**said, **more})


@dataclass
class Model:
    adapter: AnthropicAdapter
    endpoint: Endpoint
    digest: str
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def ask(self, args: dict[str, Any] | None = None, **changes: Any) -> HandResult:
        async def inject(*target: Any) -> Injections:
            self.asked.append(target)
            return Injections(headers={"x-api-key": "the-key"})

        said = {"inject": inject, "result_max_bytes": 100_000, **changes}
        return await self.adapter.run(call("claude", ACTION, args or ARGS, self.digest, **said))


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with serving(Endpoint()) as endpoint:
        settings = hand(f"{endpoint.url}/proxy")
        AnthropicAdapter.validate("claude", settings)
        adapter = AnthropicAdapter("claude", settings, None)  # type: ignore[arg-type]
        yield Model(adapter, endpoint, (await adapter.manifest()).digest)
        await adapter.close()


async def failing(awaitable: Any) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


async def test_the_body_is_sent_as_it_was_decided_and_the_message_comes_back_whole(model: Model) -> None:
    result = await model.ask()
    assert (result.is_error, result.structured, result.content) == (False, MESSAGE, ())
    ((method, path, headers, body),) = model.endpoint.got
    assert (method, path) == ("POST", "/proxy/v1/messages")
    assert body == json.dumps(ARGS, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert headers["x-api-key"] == "the-key"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", headers["anthropic-version"])
    assert model.asked[0][0::3] == ("http", "POST")
    assert model.asked[0][4] == "/proxy/v1/messages"


async def test_a_call_that_wants_a_stream_is_asked_for_all_at_once(model: Model) -> None:
    assert (await model.ask({**ARGS, "stream": True})).structured == MESSAGE
    assert "stream" not in json.loads(model.endpoint.got[0][3])


async def test_nothing_of_this_process_leaves(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would take keys, headers, an address and a proxy from the environment."""
    for name, value in {
        "ANTHROPIC_API_KEY": "sk-of-the-operator",
        "ANTHROPIC_AUTH_TOKEN": "token-of-the-operator",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Of-The-Operator: 1\nanthropic-beta: x",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    await model.ask()
    headers = model.endpoint.got[0][2]
    assert "of-the-operator" not in json.dumps(headers).lower()
    assert not {"authorization", "dpop"} & headers.keys()
    assert not [name for name in headers if name.startswith("x-stainless")]
    assert headers["user-agent"] == "handrail"


@pytest.mark.parametrize(
    ("status", "later"), [(429, 7.0), (503, 7.0), (529, 7.0), (400, None), (401, None), (500, None)]
)
async def test_an_error_is_a_result_that_says_whether_to_ask_again(
    model: Model, status: int, later: float | None
) -> None:
    error = {"type": "error", "error": {"type": "some_error", "message": "No."}}
    headers = {"retry-after": "7", "request-id": "req_1"}
    model.endpoint.answer = lambda: web.json_response(error, status=status, headers=headers)
    result = await model.ask()
    assert result.is_error
    assert result.structured == {"status": status, "type": "some_error", "message": "No.", "request_id": "req_1"}
    assert result.content == ({"type": "text", "text": "some_error: No."},)
    assert result.retry_after_seconds == later
    assert len(model.endpoint.got) == 1


async def test_a_redirect_is_not_followed(model: Model) -> None:
    model.endpoint.answer = lambda: web.Response(status=307, headers={"location": f"{model.endpoint.url}/elsewhere"})
    result = await model.ask()
    assert (result.is_error, result.structured) == (True, {"status": 307})
    assert len(model.endpoint.got) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"type":"message","type":"message"}', b'{"n":NaN}'])
async def test_an_answer_that_is_no_strict_json_object_is_unusable(model: Model, body: bytes) -> None:
    model.endpoint.answer = lambda: web.Response(body=body, content_type="application/json")
    assert await failing(model.ask()) == (Reason.HAND_PROTOCOL, HandFailure.EXECUTED)


async def test_an_error_in_another_form_says_its_status(model: Model) -> None:
    model.endpoint.answer = lambda: web.Response(text="<html>nginx</html>", status=500)
    assert (await model.ask()).structured == {"status": 500}


async def test_no_more_is_read_than_the_call_allows(model: Model) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    model.endpoint.answer = lambda: web.Response(body=endless(), content_type="application/json")
    assert await failing(model.ask()) == (Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED)
    assert sent < 100_000_000


async def test_silence_is_a_timeout_and_nobody_knows(model: Model) -> None:
    model.endpoint.silent = True
    assert await failing(model.ask(deadline_seconds=0.2)) == (Reason.HAND_TIMEOUT, HandFailure.UNKNOWN)


async def test_a_proxy_that_does_not_know_leaves_nobody_knowing(model: Model) -> None:
    model.endpoint.answer = lambda: web.Response(status=502)
    assert await failing(model.ask()) == (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)


async def test_nobody_there_means_that_nothing_was_sent() -> None:
    async with serving(Endpoint()) as endpoint:
        settings = hand(endpoint.url)
    adapter = AnthropicAdapter("claude", settings, None)  # type: ignore[arg-type]
    model = Model(adapter, endpoint, (await adapter.manifest()).digest)
    assert await failing(model.ask()) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
    await adapter.close()


async def test_an_address_that_may_not_be_dialled_is_not(model: Model) -> None:
    """Of a name, as DNS answers for it: the SDK's client has no way around the dialer."""
    port = model.endpoint.url.rpartition(":")[2]
    adapter = AnthropicAdapter("claude", hand(f"https://localhost:{port}", private_network=False), None)  # type: ignore[arg-type]
    other = Model(adapter, model.endpoint, (await adapter.manifest()).digest)
    assert await failing(other.ask()) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
    assert model.endpoint.got == []
    await adapter.close()


async def test_what_was_not_pinned_is_not_asked(model: Model) -> None:
    with pytest.raises(HandDrifted):
        await model.ask(manifest_digest="0" * 64)
    assert model.endpoint.got == []


def test_a_request_changes_nothing_unless_the_operator_says_so() -> None:
    quiet = hand(actions={ACTION: {"deadline_seconds": 5}})
    loud = hand(actions={ACTION: {"side_effects": "external", "idempotent": False}})
    for settings, effects, repeats in ((quiet, SideEffects.NONE, True), (loud, SideEffects.EXTERNAL, False)):
        action = AnthropicAdapter("claude", settings, None)._manifest.actions[ACTION]  # type: ignore[arg-type]
        assert (action.side_effects, action.idempotent) == (effects, repeats)


@pytest.mark.parametrize(
    "said",
    [
        {"base_url": "http://api.example.com", "private_network": False},
        {"base_url": "https://user:pw@api.example.com"},
        {"base_url": None},
        {"actions": {"model.other": {}}},
        {"actions": {ACTION: {"args_schema": {"type": "object"}}}},
        {"secrets": {"s": {"place": "query", "parameter": "key"}}},
        {"secrets": {"s": {"place": "bearer", "targets": ["https://elsewhere.example"]}}},
    ],
)
def test_a_declaration_that_would_leak_or_mislead_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        AnthropicAdapter.validate("claude", hand(**{"base_url": "https://api.example.com", **said}))


FILE = {"type": "file", "file_id": "file_1"}


def _with(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("more", "setting", "pointer"),
    [
        ({"tools": [{"type": "web_fetch_20260318", "name": "web_fetch"}]}, "server_tools", "/tools/0"),
        ({"tools": [{"name": "x"}, {"type": "of_tomorrow"}]}, "server_tools", "/tools/1"),
        ({"tools": [{"type": ["custom"]}]}, "server_tools", "/tools/0"),
        ({"mcp_servers": [{"type": "url", "url": "https://mcp.example"}]}, "mcp_servers", "/mcp_servers/0"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}
                ]
            },
            "url_sources",
            "/messages/0/content/0/source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [{"type": "document", "source": {"type": "url", "url": "https://x"}}],
                            }
                        ],
                    }
                ]
            },
            "url_sources",
            "/messages/0/content/0/content/0/source",
        ),
        (_with({"type": "document", "source": FILE}), "files", "/messages/0/content/0/source"),
        (_with({"type": "container_upload", "file_id": "file_1"}), "files", "/messages/0/content/0"),
        (
            _with({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": FILE}]}),
            "files",
            "/messages/0/content/0/content/0/source",
        ),
        (
            {"messages": [{"role": "user", "type": "tool_use", "content": [{"type": "document", "source": FILE}]}]},
            "files",
            "/messages/0/content/0/source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "type": "server_tool_use",
                        "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}],
                    }
                ]
            },
            "url_sources",
            "/messages/0/content/0/source",
        ),
        (
            _with({"type": "tool_use", "id": "t", "name": "n", "input": {}, "content": [FILE]}),
            "files",
            "/messages/0/content/0/content/0",
        ),
        (_with({"type": "text", "text": "x", "input": FILE}), "files", "/messages/0/content/0/input"),
        (_with({"type": "x_output", "file_id": "file_1"}), "files", "/messages/0/content/0"),
        (_with({"type": "x_location", "file_id": "file_1"}), "files", "/messages/0/content/0"),
        (_with({"type": ["tool_use"], "input": FILE}), "files", "/messages/0/content/0/input"),
        (_with({"type": ["page_location"], "file_id": "file_1"}), "files", "/messages/0/content/0"),
        ({"system": [{"type": "document", "source": FILE}]}, "files", "/system/0/source"),
        ({"container": "container_1"}, "containers", "/container"),
        ({"container": {"id": "container_1"}}, "containers", "/container"),
        ({"container": ["container_1"]}, "containers", "/container"),
        ({"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}}, "skills", "/container/skills/0"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "threads", "/thread"),
        ({"thread": {"type": "create"}}, "threads", "/thread"),
    ],
)
def test_what_the_provider_would_do_itself_is_refused_unless_it_is_listed(
    more: dict[str, Any], setting: str, pointer: str
) -> None:
    adapter = AnthropicAdapter("claude", hand(), None)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        adapter.analyse(ACTION, {**ARGS, **more})
    assert caught.value.reason is Reason.SCHEMA_ANALYSIS
    assert caught.value.facts["pointer"] == pointer
    assert setting in str(caught.value.facts["why"])


def test_what_is_listed_is_shown_to_policies() -> None:
    model = {"server_tools": ["web_search_20260318"], "mcp_servers": ["https://mcp.example"], "url_sources": True}
    adapter = AnthropicAdapter("claude", hand(model=model), None)  # type: ignore[arg-type]
    found = adapter.analyse(
        ACTION,
        {
            **ARGS,
            "tools": [
                {"name": "b"},
                {"type": "custom", "name": "a"},
                {"type": "bash_20250124", "name": "bash"},
                {"type": "web_search_20260318", "name": "web_search"},
            ],
            "mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "m"}],
            "system": [{"type": "image", "source": {"type": "url", "url": "https://x"}}],
        },
    )
    assert found == {
        "kind": "message",
        "model": "claude-test",
        "max_tokens": 100,
        "tools": ["a", "b", "bash"],
        "server_tools": ["web_search_20260318"],
        "mcp_servers": ["https://mcp.example"],
        "url_sources": 1,
        "kept": [],
        "betas": [],
        "fields": ["max_tokens", "mcp_servers", "messages", "model", "of_tomorrow", "system", "tools"],
    }


@pytest.mark.parametrize(
    "said",
    [
        {"container": None, "thread": None},
        {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}},
        _with({"type": "tool_use", "id": "t", "name": "n", "input": {"file_id": "mine"}}),
        _with({"type": "mcp_tool_use", "id": "t", "name": "n", "input": {"file_id": "mine"}}),
        _with({"type": "text", "text": "x", "citations": [{"type": "page_location", "file_id": "file_1"}]}),
        _with({"type": "code_execution_tool_result", "content": {"type": "code_execution_output", "file_id": "f"}}),
    ],
)
def test_what_names_nothing_that_is_kept_passes(said: dict[str, Any]) -> None:
    adapter = AnthropicAdapter("claude", hand(), None)  # type: ignore[arg-type]
    assert adapter.analyse(ACTION, {**ARGS, **said})["kept"] == []


def test_what_is_kept_passes_where_the_operator_lists_it_and_is_shown_to_policies() -> None:
    adapter = AnthropicAdapter("claude", hand(model={"kept": ["files", "threads"]}), None)  # type: ignore[arg-type]
    asked = {**ARGS, **_with({"type": "document", "source": FILE}), "thread": {"type": "create"}}
    assert adapter.analyse(ACTION, asked)["kept"] == ["files", "threads"]
    with pytest.raises(Refused):
        adapter.analyse(ACTION, {**asked, "container": "container_1"})


def test_what_the_provider_may_do_is_part_of_the_pin() -> None:
    digests = {
        AnthropicAdapter("claude", hand(model=model), None)._manifest.digest  # type: ignore[arg-type]
        for model in (
            {},
            {"server_tools": ["x"]},
            {"mcp_servers": ["https://x"]},
            {"url_sources": True},
            {"kept": ["files"]},
        )
    }
    assert len(digests) == 5


def test_blocks_and_tools_may_have_members_that_nobody_here_knows() -> None:
    adapter = AnthropicAdapter("claude", hand(), None)  # type: ignore[arg-type]
    block = {"type": "of_tomorrow", "member": {"a": [1]}}
    body = {
        **ARGS,
        "messages": [{"role": "user", "content": [block], "of_tomorrow": 1}],
        "system": [block],
        "tools": [{"name": "a", "input_schema": {"type": "object"}}],
        "mcp_servers": [{"type": "url", "url": "https://x"}],
    }
    checker = Checker(adapter._manifest.actions[ACTION].args_schema)
    assert not checker.problems(body)
    assert checker.problems({**body, "tools": ["a"]})
