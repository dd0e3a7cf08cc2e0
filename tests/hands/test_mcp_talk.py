"""What a server may say while a call runs, through a whole gateway: both eras on both sides; policy, pin and log are
real."""

import asyncio

import pytest
from mcp.types import ElicitCompleteNotification, EmptyResult, SetLevelRequest, SetLevelRequestParams

from tests.hands.servers.talker import ERAS, Talker, refusing
from tests.hands.talk_support import Person, client, talking, text
from tests.until import until

CLIENTS = ["legacy", "auto"]

NO_SECRETS = """package handrail

import rego.v1

# METADATA
# title: No secrets in questions and answers
decisions contains decision if {
	some step in input.steps
	walk(step.args, [_, value])
	is_string(value)
	contains(value, "hunter2")
	decision := {"step": step.id, "effect": "deny", "reasons": [{"code": "t.secret", "message": "Secret."}]}
}
"""
NAMES_HIDDEN = """package handrail

import rego.v1

# METADATA
# title: Names are taken out of answers
decisions contains decision if {
	some step in input.steps
	step.action == "elicitation/create"
	step.args.response
	decision := {
		"step": step.id, "effect": "allow", "reasons": [],
		"obligations": {"redact": ["/structured/response/content/name"]},
	}
}
"""


@pytest.fixture
def talker():
    return Talker()


@pytest.fixture(params=list(ERAS))
async def server(request, uvicorns, talker):
    """URL of a server of the era, or of both."""
    return await uvicorns(refusing(talker.server().streamable_http_app(), *ERAS[request.param]))


@pytest.fixture
async def both(uvicorns, talker):
    return await uvicorns(talker.server().streamable_http_app())


@pytest.mark.parametrize("mode", CLIENTS)
async def test_either_client_answers_either_server(server, mode, tmp_path, talker):
    person = Person()
    async with talking(server, tmp_path) as endpoint, client(endpoint, mode, person) as made:
        assert text(await made.call_tool("name", {})) == "accept Ada"
        assert text(await made.call_tool("think", {"prompt": "6 * 7?"})) == "model said 42"
        assert text(await made.call_tool("where", {})) == "file:///work"
        assert text(await made.call_tool("visit", {"url": "https://login.example.com/x"})) == "accept"
    form, sampling, roots, url = person.asked
    assert (form.message, sampling.messages[0].content.text, roots) == ("What is your name?", "6 * 7?", "roots")
    assert sampling.include_context is None, "what other servers know is not this one's"
    assert url.url == "https://login.example.com/x"


async def test_what_a_server_says_of_its_page_reaches_the_client_that_was_sent_there_and_no_word_of_another(
    both, tmp_path
):
    person, told = Person(), []
    async with talking(both, tmp_path) as endpoint, client(endpoint, "legacy", person) as made:
        await made.call_tool("visit", {"url": "https://login.example.com/x"})
        await made.call_tool("name", {})
        told = [one.params.elicitation_id for one in person.heard if isinstance(one, ElicitCompleteNotification)]
    assert told == ["e1"]


@pytest.mark.parametrize("mode", CLIENTS)
async def test_a_server_is_told_of_what_the_client_and_the_operator_both_allow(both, mode, tmp_path, talker):
    person = Person()
    declared = {"elicitation/create": {"side_effects": "none"}, "roots/list": {"side_effects": "none"}}
    async with talking(both, tmp_path, actions=declared) as endpoint:
        async with client(endpoint, mode, person, "elicit", "sample") as made:
            assert text(await made.call_tool("name", {})) == "accept Ada"
            assert (await made.call_tool("think", {"prompt": "?"})).is_error
            assert (await made.call_tool("where", {})).is_error
        async with client(endpoint, mode, person, "nothing") as made:
            assert (await made.call_tool("name", {})).is_error
    assert [set(one) - {"extensions"} for one in talker.seen] == [{"elicitation"}] * len(talker.seen[:-1]) + [set()]
    assert len(person.asked) == 1


@pytest.mark.parametrize("mode", CLIENTS)
async def test_what_policy_denies_of_a_question_no_client_sees_and_of_an_answer_no_server(both, mode, tmp_path):
    person = Person(name="hunter2", reply="hunter2")
    async with talking(both, tmp_path, NO_SECRETS) as endpoint, client(endpoint, mode, person) as made:
        assert text(await made.call_tool("name", {})) == "decline None"
        assert len(person.asked) == 1
        assert (await made.call_tool("think", {"prompt": "?"})).is_error
        assert len(person.asked) == 2
        person.name = "Ada"
        asked = await made.call_tool("name", {"message": "Is it hunter\u200b2?"})
        assert text(asked) == "accept Ada", "as the person reads it, it is another word"
        assert "\\u{200b}" in person.asked[-1].message


@pytest.mark.parametrize("mode", CLIENTS)
async def test_what_policy_takes_out_of_an_answer_the_server_does_not_get(both, mode, tmp_path):
    person = Person()
    async with talking(both, tmp_path, NAMES_HIDDEN) as endpoint, client(endpoint, mode, person) as made:
        assert text(await made.call_tool("name", {})) == "accept [redacted]"


@pytest.mark.parametrize("mode", CLIENTS)
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/x",
        "http://login.example.com/x",
        "https://login.example.com@evil.example.com/",
        "https://login.example.com:8443/",
        "https://login.example.com\\@evil.example.com/",
        "https://login.example.com.evil.example.com/",
        "https://LOGIN.example.com%2eevil.example.com/",
        "javascript:alert(1)",
        "https://login.example.com/\u202e",
        "https://login.example.com:x/",
    ],
)
async def test_a_person_is_sent_nowhere_that_the_operator_did_not_name(both, mode, url, tmp_path):
    person = Person()
    async with talking(both, tmp_path) as endpoint, client(endpoint, mode, person) as made:
        result = await made.call_tool("visit", {"url": url})
        assert result.is_error or text(result) == "decline"
    assert person.asked == []


@pytest.mark.parametrize("mode", CLIENTS)
async def test_terminal_escapes_and_invisible_characters_are_spelled_out(both, mode, tmp_path):
    person = Person()
    async with talking(both, tmp_path) as endpoint, client(endpoint, mode, person) as made:
        await made.call_tool("think", {"prompt": "a\x1b[2Jb\u202ec\U000e0041\nd\te"})
    assert person.asked[0].messages[0].content.text == "a\\u{1b}[2Jb\\u{202e}c\\u{e0041}\nd\te"


@pytest.mark.parametrize("mode", CLIENTS)
async def test_progress_goes_to_who_asked_for_it_and_grows(server, mode, tmp_path):
    person = Person()
    async with talking(server, tmp_path) as endpoint, client(endpoint, mode, person) as made:
        arguments = {"reports": [0, 50, 50, 20, 100], "message": "half\x1b[1m"}
        result = await made.call_tool("steps", arguments, progress_callback=person.report)
        assert text(result) == "done"
        assert person.progress == [(at, 100, "half\\u{1b}[1m") for at in (0, 50, 100)]
        assert text(await made.call_tool("steps", arguments)) == "done"
    assert len(person.progress) == 3


@pytest.mark.parametrize("mode", CLIENTS)
async def test_log_messages_are_cleaned_and_of_the_level_that_the_client_wants(server, mode, tmp_path):
    person = Person()
    arguments = {"levels": ["debug", "info", "error"], "data": {"a\x1b": ["b\u202e", 1]}}
    level = {} if mode == "legacy" else {"log_level": "info"}
    async with talking(server, tmp_path) as endpoint, client(endpoint, mode, person, **level) as made:
        assert text(await made.call_tool("speak", arguments)) == "said"
        cleaned = {"a\\u{1b}": ["b\\u{202e}", 1]}
        assert [(one.level, one.data) for one in person.logged] == [("info", cleaned), ("error", cleaned)]
        if mode == "legacy":
            await made.session.send_request(*_set_level("error"))
            await made.call_tool("speak", arguments)
            assert [one.level for one in person.logged] == ["info", "error", "error"]


async def test_a_stateless_client_that_wants_no_log_messages_gets_none(both, tmp_path):
    person = Person()
    async with talking(both, tmp_path) as endpoint, client(endpoint, "auto", person) as made:
        assert text(await made.call_tool("speak", {"levels": ["error"]})) == "said"
    assert person.logged == []


@pytest.mark.parametrize("mode", CLIENTS)
async def test_what_the_operator_did_not_declare_is_not_passed_on_and_not_offered(both, mode, tmp_path):
    person = Person()
    level = {} if mode == "legacy" else {"log_level": "debug"}
    async with talking(both, tmp_path, mcp={}, actions={}) as endpoint, client(endpoint, mode, person, **level) as made:
        assert made.server_capabilities.logging is None
        await made.call_tool("steps", {"reports": [1, 2]}, progress_callback=person.report)
        await made.call_tool("speak", {"levels": ["error"]})
        assert (await made.call_tool("name", {})).is_error
    assert (person.progress, person.logged, person.asked) == ([], [], [])


@pytest.mark.parametrize("mode", CLIENTS)
async def test_a_flood_of_progress_and_log_messages_is_cut_off_and_the_answer_comes(both, mode, tmp_path):
    person = Person()
    level = {} if mode == "legacy" else {"log_level": "debug"}
    async with talking(both, tmp_path) as endpoint, client(endpoint, mode, person, **level) as made:
        result = await made.call_tool("steps", {"reports": list(range(400))}, progress_callback=person.report)
        assert text(result) == "done"
        assert len(person.progress) <= 256
        await made.call_tool("speak", {"levels": ["info"] * 400, "data": "x"})
        assert len(person.logged) <= 256


async def test_a_client_that_takes_its_call_back_is_heard_by_the_server(both, tmp_path, talker):
    person = Person()
    async with talking(both, tmp_path) as endpoint, client(endpoint, "legacy", person) as made:
        call = asyncio.create_task(made.call_tool("wait", {}))
        await until(lambda: talker.waiting)
        call.cancel()
        await until(lambda: talker.cancelled)
        assert text(await made.call_tool("name", {})) == "accept Ada"


async def test_somebody_elses_request_is_not_cancelled(both, tmp_path, talker):
    """Ids of requests are a client's own: the same id in another session names another request."""
    person = Person()
    async with talking(both, tmp_path) as endpoint, client(endpoint, "legacy", person) as made:
        call = asyncio.create_task(made.call_tool("wait", {}))
        await until(lambda: talker.waiting)
        async with client(endpoint, "legacy", person) as other:
            for request_id in range(20):
                await other.session._dispatcher.notify("notifications/cancelled", {"requestId": request_id})
            await other.list_tools()
        talker.release.set()
        assert text(await call) == "waited"
    assert talker.cancelled == 0


def _set_level(level):
    return SetLevelRequest(params=SetLevelRequestParams(level=level)), EmptyResult
