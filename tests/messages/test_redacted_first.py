"""What policy wants out of a request to a model is taken out before it is decided on, and comes on no record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic import UnprocessableEntityError
from structlog.testing import capture_logs

from gateway.entries import EntryType
from gateway.errors import Malformed
from gateway.personal_data import scanner, taken_out
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.redacting import RULE, TOLD, rule, with_rules
from tests.messages.world import TOOLS, asking, bundle, world
from tests.until import until

TOKEN = "ghp_" + "a" * 36
WHERE = "mia@example.org"


def ruled(home: Path, *rules: str) -> Path:
    """Policies with these rules beside the shipped ones."""
    with_rules(bundle(home / "policies", {"code": sorted(TOOLS)}), *(rules or (rule(),)))
    return home


def telling(**more: Any) -> dict[str, Any]:
    """A request with a secret and an address everywhere that text can stand."""
    call = {"type": "tool_use", "id": "t", "name": "T", "input": {"to": WHERE, "deep": [{"key": TOKEN}]}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": f'{{"k": "{TOKEN}"}}'}]}
    conversation = [
        {"role": "user", "content": f"My token is {TOKEN}, I am {WHERE}."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    tools = [{"name": "T", "description": f"Uses {TOKEN}", "input_schema": {"type": "object"}}]
    return asking(messages=conversation, system=f"{WHERE} uses {TOKEN}", tools=tools, **more)


def clean(text: bytes | str) -> bool:
    raw = text.encode() if isinstance(text, str) else text
    return TOKEN.encode() not in raw and WHERE.encode() not in raw


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("beta", [{}, {"anthropic_beta": "some-beta-2026-01-01"}], ids=["plain", "beta"])
async def test_what_a_rule_wants_out_is_out_of_what_is_decided_recorded_and_sent(
    tmp_path: Path, anthropic_api: StandIn, beta: Mapping[str, str], *, stream: bool
) -> None:
    """Also where the rule about secrets denies the request for having them: it is asked again without them."""
    async with world(ruled(tmp_path), anthropic_api) as ready:
        ready.api.decide = lambda _: message("yes", tool_use("Read", {"file": "a"}))
        answer = await ready.post(telling(stream=stream), **beta)
        assert answer.status_code == 200, answer.text
        assert b'"tool_use"' in answer.content
        [request] = ready.api.asked
        assert clean(request.body)
        assert request.body.count(b"[redacted:secret]") == 5
        assert request.body.count(b"[redacted:email]") == 3
        assert list(orjson.loads(request.body)) == list(telling(stream=stream))
        [received] = [one for one in await ready.entries(EntryType.PLAN_RECEIVED) if one["facts"]["steps"] == 1][:1]
        why = await ready.json("GET", f"/v1/plans/{received['plan_id']}", "eve")
        assert clean(orjson.dumps(why))
        assert (await ready.entries(EntryType.POLICY_DENIED)) == []


async def test_a_request_with_nothing_of_it_passes_byte_for_byte(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(ruled(tmp_path), anthropic_api) as ready:
        ready.api.script(message("yes"))
        odd = b'{ "max_tokens":64,"model":"m", "messages":[{"role":"user","content":"hi"}] }'
        assert (await ready.post(odd)).status_code == 200
        assert ready.api.asked[0].body == odd


async def test_batches_and_counts_of_tokens_are_no_way_around(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(ruled(tmp_path), anthropic_api) as ready:
        batch = {"requests": [{"custom_id": name, "params": telling()} for name in "ab"]}
        assert (await ready.post(batch, path="/anthropic/v1/messages/batches")).status_code == 200
        counted = {name: value for name, value in telling().items() if name != "max_tokens"}
        assert (await ready.post(counted, path="/anthropic/v1/messages/count_tokens")).status_code == 200
        assert [clean(one.body) for one in ready.api.requests] == [True, True]


async def test_people_are_asked_about_what_is_left_and_the_same_request_passes_once(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    async with world(ruled(tmp_path, rule(effect="ask")), anthropic_api) as ready:
        first = await ready.post(telling())
        assert first.json()["stop_reason"] == "end_turn"
        ready.api.script(message("yes"))
        [waiting] = (await ready.json("GET", "/v1/approvals", "pat"))["approvals"]
        assert clean(orjson.dumps(await ready.json("GET", f"/v1/approvals/{waiting['id']}", "pat")))
        await ready.approve(first.json()["content"][-1]["text"])
        await until(lambda: ready.entries(EntryType.STEP_EXECUTED))
        again = await ready.post(telling())
        assert again.json()["content"][-1]["text"] == "yes"
        assert len(ready.api.asked) == 1


async def test_what_several_rules_want_out_is_out_and_a_question_of_another_one_is_about_what_is_left(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    asking_too = RULE.format(obligations="{}", condition=TOLD, effect="ask")
    async with world(ruled(tmp_path, rule('["secret"]'), rule('["email"]'), asking_too), anthropic_api) as ready:
        held = await ready.post(telling())
        assert "Handrail held" in held.text
        ready.api.script(message("yes"))
        await ready.approve(held.json()["content"][-1]["text"])
        await until(lambda: ready.entries(EntryType.STEP_EXECUTED))
        assert clean(ready.api.asked[0].body)


async def test_a_secret_that_is_spelled_with_escapes_is_out_too(tmp_path: Path, anthropic_api: StandIn) -> None:
    spelled = "".join(f"\\u{ord(character):04x}" for character in TOKEN)
    body = f'{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"{spelled}"}}]}}'.encode()
    assert TOKEN.encode() not in body
    async with world(ruled(tmp_path), anthropic_api) as ready:
        ready.api.script(message("yes"))
        assert (await ready.post(body)).status_code == 200
        assert orjson.loads(ready.api.asked[0].body)["messages"][0]["content"] == "[redacted:secret]"


async def test_what_the_provider_signed_stays_as_it_is(tmp_path: Path, anthropic_api: StandIn) -> None:
    signed = {"type": "thinking", "thinking": f"I know {TOKEN}.", "signature": "c2lnbmVk"}
    conversation = [
        {"role": "user", "content": f"I am {WHERE}."},
        {"role": "assistant", "content": [signed, {"type": "text", "text": WHERE}]},
        {"role": "user", "content": "go on"},
    ]
    async with world(ruled(tmp_path, rule('["email"]')), anthropic_api) as ready:
        ready.api.script(message("yes"))
        answer = await ready.post(asking(messages=[*conversation[:1], {"role": "assistant", "content": WHERE}]))
        assert answer.status_code == 200
        assert clean(ready.api.asked[0].body)
        assert "secrets.found" in (await ready.post(asking(messages=conversation))).text


async def test_a_request_that_is_too_much_to_look_through_is_denied(
    tmp_path: Path, anthropic_api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "CANDIDATES_MAX", 8)
    many = " ".join(f"mia{number}@example.org" for number in range(100))
    async with world(ruled(tmp_path), anthropic_api) as ready:
        refused = await ready.post(asking(many))
        assert "policy.obligation" in refused.text
        assert ready.api.requests == []


@pytest.mark.parametrize(
    ("kinds", "condition", "why"),
    [
        ('["secrets", "email"]', TOLD, "redact_request: nobody here knows the kind secrets."),
        ('["secret"]', "true", "redact_request: the step asks no model."),
    ],
    ids=["a kind that nobody knows", "of what is no request to a model"],
)
async def test_what_cannot_be_taken_out_is_denied_and_says_what_it_was(
    tmp_path: Path, anthropic_api: StandIn, kinds: str, condition: str, why: str
) -> None:
    async with world(ruled(tmp_path, rule(kinds, condition)), anthropic_api) as ready:
        ready.api.script(message("yes", tool_use("Read", {"file": "a"})))
        with capture_logs() as logged:
            assert f"policy.obligation: {why}" in (await ready.post(asking())).text
        assert [one["why"] for one in logged if one["event"] == "policy cannot be enforced"] == [[why]]
        assert len(ready.api.asked) == (condition != TOLD)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_what_no_gateway_can_keep_is_asked_about_once_by_the_sdk(
    tmp_path: Path, anthropic_api: StandIn, *, stream: bool
) -> None:
    """A 500 would be asked again and again, and judged each time."""
    async with world(ruled(tmp_path, rule('["secrets"]')), anthropic_api) as ready:
        async with ready.client() as client:
            with pytest.raises(UnprocessableEntityError) as told:
                await client.with_options(max_retries=2).messages.create(**asking(), stream=stream)
        assert told.value.type == "invalid_request_error"
        assert "policy.obligation: redact_request: nobody here knows the kind secrets." in told.value.message
        assert len(await ready.entries(EntryType.POLICY_DENIED)) == 1


async def test_a_hook_denies_what_no_gateway_can_keep(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(ruled(tmp_path, rule('["secret"]', "true")), anthropic_api) as ready:
        said = {"hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Read", "tool_input": {"file": "a"}}
        answer = (await ready.json("POST", "/v1/hooks/claude-code?hand=code", "bot", said))["hookSpecificOutput"]
        assert answer["permissionDecision"] == "deny"
        assert "policy.obligation: redact_request: the step asks no model." in answer["permissionDecisionReason"]


async def test_whoever_asks_the_model_by_a_plan_is_denied_until_it_is_out(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    """Nobody changes what somebody signed."""
    async with world(ruled(tmp_path), anthropic_api) as ready:
        ready.api.script(message("yes"))
        asked = {"id": "s", "hand": "claude", "action": "model.messages"}
        [dirty] = await ready.plan("bot", {**asked, "args": telling()})
        assert (dirty["status"], dirty["error"]["code"]) == ("denied", "policy.unredacted")
        assert {name: dirty["error"][name] for name in ("pointer", "problem", "why")} == {
            "pointer": "/messages/0/content",
            "problem": "redact_request",
            "why": "email, secret",
        }
        assert ready.api.asked == []
        [good] = await ready.plan("bot", {**asked, "args": asking()})
        assert good["status"] == "succeeded"


@pytest.mark.parametrize("setting", [{}, {"redact_secrets": True}], ids=["by a rule", "by the setting"])
async def test_a_secret_in_an_identifier_is_refused_with_its_place(
    tmp_path: Path, anthropic_api: StandIn, setting: Mapping[str, Any]
) -> None:
    call = {"type": "tool_use", "id": TOKEN, "name": "T", "input": {}}
    result = {"type": "tool_result", "tool_use_id": TOKEN, "content": "x"}
    conversation = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    async with world(ruled(tmp_path), anthropic_api, settings={"anthropic": setting}) as ready:
        refused = await ready.post(asking(messages=conversation))
        assert refused.status_code == 400
        assert 'at "/messages/1/content/0/id": expected an identifier without' in refused.json()["error"]["message"]
        assert TOKEN not in refused.text
        assert ready.api.requests == []
        assert await ready.entries(EntryType.POLICY_DENIED) == []


@pytest.mark.parametrize("kinds", ['["secret"]', '["secret", "email"]'])
async def test_escapes_in_a_text_hide_nothing_and_keep_nobody_out(
    tmp_path: Path, anthropic_api: StandIn, kinds: str
) -> None:
    spelled = "".join(f"\\u{ord(character):04x}" for character in TOKEN)
    async with world(ruled(tmp_path, rule(kinds)), anthropic_api) as ready:
        ready.api.script(message("yes"))
        tools = [{"name": "T", "description": f"Uses {spelled}.", "input_schema": {"type": "object"}}]
        answer = await ready.post(asking(f'{{"v": 1.10}}\n{{"out": "{spelled}"}}', tools=tools))
        assert answer.status_code == 200, answer.text
        told = orjson.loads(ready.api.asked[0].body)
        assert told["messages"][0]["content"] == '{"v": 1.10}\n{"out": "[redacted:secret]"}'
        assert told["tools"][0]["description"] == "Uses [redacted:secret]."


@pytest.mark.parametrize("setting", [{}, {"redact_secrets": True}], ids=["by a rule", "by the setting"])
async def test_all_of_a_batch_is_gone_through(
    tmp_path: Path, anthropic_api: StandIn, setting: Mapping[str, Any]
) -> None:
    async with world(ruled(tmp_path, rule('["secret"]')), anthropic_api, settings={"anthropic": setting}) as ready:
        batches = "/anthropic/v1/messages/batches"
        one = {"custom_id": "a", "params": asking(f"is {TOKEN}"), "note": TOKEN}
        assert (await ready.post({"requests": [one], "note": TOKEN}, path=batches)).status_code == 200
        [made] = ready.api.requests
        assert TOKEN.encode() not in made.body
        refused = await ready.post({"requests": [{**one, "custom_id": TOKEN}]}, path=batches)
        assert refused.status_code == 400
        assert 'at "/requests/0/custom_id": expected an identifier' in refused.json()["error"]["message"]
        assert len(ready.api.requests) == 1


async def test_a_kind_that_nobody_knows_is_told_in_the_log_also_beside_a_denial(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    """Else the operator would see another rule's reason alone, and not why nothing was taken out."""
    async with world(ruled(tmp_path, rule('["secrets"]')), anthropic_api) as ready:
        with capture_logs() as logged:
            assert "secrets.found" in (await ready.post(telling())).text
        told = [one["why"] for one in logged if one["event"] == "policy cannot be enforced"]
        assert told == [["redact_request: nobody here knows the kind secrets."]]


PLACES: Mapping[str, dict[str, Any]] = {
    "compaction": {"type": "compaction", "content": WHERE},
    "a document's base64 that is text": {
        "type": "document",
        "source": {"type": "base64", "media_type": "text/plain", "data": WHERE},
    },
    "an image's title": {
        "type": "image",
        "title": WHERE,
        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
    },
    "a listing of tools": {"type": "mcp_tool_listing", "tools": [{"name": "x", "description": WHERE}]},
    "a tool that came later": {"type": "tool_addition", "tool": {"name": "x", "description": WHERE}},
    "a result of another model": {"type": "advisor_tool_result", "content": {"type": "advisor_result", "text": WHERE}},
    "a member that is not known": {"type": "text", "text": "x", "note": {"deep": [WHERE]}},
    "a block that is not known": {"type": "of_tomorrow", "says": WHERE},
}


@pytest.mark.parametrize("kind", ["email", "secret"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_stands_in_a_block_where_it_is_not_looked_for(place: str, kind: str) -> None:
    planted = orjson.loads(orjson.dumps(PLACES[place]).replace(WHERE.encode(), f"{WHERE} {TOKEN}".encode()))
    found = taken_out(asking(messages=[{"role": "user", "content": [planted]}]), scanner.Scanner(), [kind])
    left = orjson.dumps(found).decode()
    assert (WHERE in left, TOKEN in left) == (kind == "secret", kind == "email")


NAMED: Mapping[str, dict[str, Any]] = {
    "/tools/1/name": {"tools": [{"name": "T"}, {"name": TOKEN, "description": "x", "input_schema": {}}]},
    "/tools/0/mcp_server_name": {"tools": [{"type": "mcp_toolset", "mcp_server_name": TOKEN}]},
    "/mcp_servers/0/name": {"mcp_servers": [{"type": "url", "url": "https://m.example", "name": TOKEN}]},
    "/tool_choice/name": {"tool_choice": {"type": "tool", "name": TOKEN}},
    "/messages/0/content/0/tool/name": asking(
        messages=[{"role": "user", "content": [{"type": "tool_addition", "tool": {"name": TOKEN}}]}]
    ),
    "/messages/0/content/0/tools/0/name": asking(
        messages=[{"role": "user", "content": [{"type": "mcp_tool_listing", "tools": [{"name": TOKEN}]}]}]
    ),
}


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "in a batch"])
def test_the_name_of_a_tool_is_not_rewritten_but_refused(place: str, *, batch: bool) -> None:
    """A call of another name would be one of no tool, and the same name in a choice that of no definition."""
    request = {**asking(), **NAMED[place]}
    with pytest.raises(Malformed) as refused:
        taken_out({"requests": [{"params": request}]} if batch else request, scanner.Scanner(), ["secret"])
    assert refused.value.facts["pointer"] == (f"/requests/0/params{place}" if batch else place)
    assert refused.value.facts["problem"] == "secret"


def test_the_name_of_a_tool_is_no_personal_data() -> None:
    """What else its definition says is."""
    named = {"type": "tool_addition", "tool": {"name": WHERE, "description": WHERE}}
    [message] = taken_out(asking(messages=[{"role": "user", "content": [named]}]), scanner.Scanner(), ["email"])[
        "messages"
    ]
    assert message["content"] == [{**named, "tool": {"name": WHERE, "description": "[redacted:email]"}}]


@pytest.mark.parametrize("member", ["tool", "tools"])
@pytest.mark.parametrize("kind", ["text", "document", "tool_removal", "of_tomorrow"])
def test_a_block_that_defines_no_tool_has_no_names_of_tools(kind: str, member: str) -> None:
    planted = {"type": kind, member: [[{"name": WHERE, "mcp_server_name": WHERE}]]}
    said = taken_out(asking(messages=[{"role": "user", "content": [planted]}]), scanner.Scanner(), ["email"])
    assert WHERE not in str(said)


@pytest.mark.parametrize("kind", ["thinking", "web_search_tool_result", "of_tomorrow"])
def test_whatever_type_a_definition_says_it_has_its_secrets_go(kind: str) -> None:
    tools = [{"type": kind, "name": "T", "citations": TOKEN, "thinking": TOKEN, TOKEN: [{"name": TOKEN}]}]
    assert TOKEN not in str(taken_out(asking(tools=tools), scanner.Scanner(), ["secret"]))


def test_beside_the_content_of_a_message_nothing_hides_either() -> None:
    named = asking(messages=[{"role": "user", "content": "x", "name": WHERE}])
    assert WHERE not in str(taken_out(named, scanner.Scanner(), ["email"]))


@pytest.mark.parametrize("how", ["rule", "setting"])
async def test_a_request_that_says_it_is_a_batch_too_is_none(tmp_path: Path, anthropic_api: StandIn, how: str) -> None:
    """Looked through as the batch that it is not, nothing of it would be found."""
    told = {"anthropic": {"redact_personal": ["email"]}} if how == "setting" else {}
    home = ruled(tmp_path, rule('["email"]')) if how == "rule" else tmp_path
    async with world(home, anthropic_api, settings=told) as ready:
        for path in ("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"):
            body = {**asking(f"I am {WHERE}."), "requests": []}
            if path.endswith("count_tokens"):
                del body["max_tokens"]
            answer = await ready.post(body, path=path)
            assert 400 <= answer.status_code < 500, answer.text
        assert ready.api.requests == []
