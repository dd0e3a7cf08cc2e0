"""Resources that clients watch, and lists that change, through a whole gateway."""

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from mcp import MCPError
from mcp.types import (
    EmptyResult,
    ResourceUpdatedNotification,
    SubscribeRequest,
    SubscribeRequestParams,
    ToolListChangedNotification,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from gateway.errors import Refused, Unavailable
from gateway.freeze import Cause, Freeze, FreezeState, Scope
from gateway.ingress.mcp.calls import Calls
from gateway.ingress.mcp.listeners import Session, Stream, Subscriber
from gateway.ingress.mcp.subscriptions import WATCHED_MAX
from gateway.model import Principal, Role
from gateway.reasons import Reason
from tests.hands.servers.talker import ERAS, Talker, refusing
from tests.hands.talk_support import Person, client, talking, text
from tests.until import until

NO_WATCHING = """package handrail

# METADATA
# title: Nobody watches
decisions contains decision if {
	some step in input.steps
	step.action == "resources/subscribe"
	decision := {"step": step.id, "effect": "deny", "reasons": [{"code": "t.no", "message": "No."}]}
}
"""
NO_TOUCHING = """package handrail

decisions contains decision if {
	some id in hidden
	decision := {"step": id, "effect": "deny", "reasons": [{"code": "t.no", "message": "No."}]}
}

hidden contains step.id if {
	some step in input.steps
	step.action == "touch"
}
"""
ONE = "note://one"


@pytest.fixture
async def server(uvicorns):
    return await uvicorns(Talker().server().streamable_http_app())


async def subscribe(made, uri=ONE):
    request = SubscribeRequest(params=SubscribeRequestParams(uri=uri))
    return await made.session.send_request(request, EmptyResult)


async def unsubscribe(made, uri=ONE):
    request = UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri))
    return await made.session.send_request(request, EmptyResult)


def updates(person):
    return [str(one.params.uri) for one in person.heard if isinstance(one, ResourceUpdatedNotification)]


async def test_a_session_is_told_of_what_it_watches_and_of_nothing_else(server, tmp_path):
    person, other = Person(), Person()
    async with (
        talking(server, tmp_path) as endpoint,
        client(endpoint, "legacy", person) as made,
        client(endpoint, "legacy", other) as second,
    ):
        assert made.server_capabilities.resources.subscribe is True
        await subscribe(made)
        await subscribe(made)
        await second.call_tool("touch", {"uri": "note://two"})
        await second.call_tool("touch", {"uri": ONE})
        await until(lambda: updates(person))
        await unsubscribe(made)
        await second.call_tool("touch", {"uri": ONE})
        await second.list_tools()
    assert updates(person) == [ONE]
    assert updates(other) == []


async def test_a_stream_is_told_of_what_it_watches(server, tmp_path):
    async with talking(server, tmp_path) as endpoint, client(endpoint, "auto", Person()) as made:
        assert made.server_capabilities.resources.subscribe is True
        async with made.listen(resource_subscriptions=[ONE, "note://two"]) as watched:
            assert list(watched.honored.resource_subscriptions) == [ONE, "note://two"]
            await made.call_tool("touch", {"uri": "note://three"})
            await made.call_tool("touch", {"uri": "note://two"})
            async with asyncio.timeout(20):
                assert (await anext(watched)).uri == "note://two"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_policy_denies_nobody_watches(server, mode, tmp_path):
    person = Person()
    async with talking(server, tmp_path, NO_WATCHING) as endpoint, client(endpoint, mode, person) as made:
        if mode == "legacy":
            with pytest.raises(MCPError, match=r"t\.no: No\."):
                await subscribe(made)
        else:
            async with made.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as watched:
                assert not watched.honored.resource_subscriptions
                assert watched.honored.tools_list_changed
        await made.call_tool("touch", {"uri": ONE})
    assert updates(person) == []


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_what_the_operator_did_not_declare_cannot_be_watched(server, mode, tmp_path):
    declared = {"resources/list": {"side_effects": "none"}, "resources/read": {"side_effects": "none"}}
    async with talking(server, tmp_path, actions=declared) as endpoint, client(endpoint, mode, Person()) as made:
        assert made.server_capabilities.resources.subscribe is False
        if mode == "legacy":
            with pytest.raises(MCPError) as refused:
                await subscribe(made)
            assert refused.value.code == -32601
        else:
            async with made.listen(resource_subscriptions=[ONE]) as watched:
                assert not watched.honored.resource_subscriptions


async def test_a_server_that_cannot_be_heard_outside_of_calls_is_not_watched(uvicorns, tmp_path):
    url = await uvicorns(refusing(Talker().server().streamable_http_app(), *ERAS["handshake"]))
    async with talking(url, tmp_path) as endpoint, client(endpoint, "legacy", Person()) as made:
        with pytest.raises(MCPError):
            await subscribe(made)


async def test_a_session_and_a_principal_watch_only_so_much(server, tmp_path):
    async with talking(server, tmp_path) as endpoint:
        async with client(endpoint, "legacy", Person()) as made:
            for number in range(WATCHED_MAX):
                await subscribe(made, f"note://{number}")
            with pytest.raises(MCPError, match="Too many subscriptions"):
                await subscribe(made, "note://more")
        async with client(endpoint, "auto", Person()) as made:
            with pytest.raises(MCPError, match="Subscription limit"):
                async with made.listen(resource_subscriptions=[f"note://{one}" for one in range(WATCHED_MAX + 1)]):
                    pass


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_tool_that_policy_denies_in_any_case_is_not_listed_and_its_call_is_judged(server, mode, tmp_path):
    """And who was given the list is told when it is another one."""
    person = Person()
    async with talking(server, tmp_path, NO_TOUCHING) as endpoint, client(endpoint, mode, person) as made:
        assert made.server_capabilities.tools.list_changed is True
        listed = [tool.name for tool in (await made.list_tools()).tools]
        assert listed
        assert "touch" not in listed
        called = await made.call_tool("touch", {"uri": ONE})
        assert called.is_error
        assert "t.no: No." in text(called)
        async with contextlib.AsyncExitStack() as streams:
            if mode == "auto":
                changes = await streams.enter_async_context(made.listen(tools_list_changed=True))
            (tmp_path / "policy" / "handrail" / "questions.rego").write_text("package handrail.nothing\n")
            if mode == "auto":
                async with asyncio.timeout(20):
                    await anext(changes)
            else:
                await until(lambda: any(isinstance(one, ToolListChangedNotification) for one in person.heard))
        assert "touch" in [tool.name for tool in (await made.list_tools()).tools]
        assert not (await made.call_tool("touch", {"uri": ONE})).is_error


async def test_who_may_not_be_told_any_more_is_not():
    """Revoked, say, or frozen, since the watch began."""
    told, stands = [], {"u": True, "v": True, "w": True}

    class Told:
        async def send_resource_updated(self, uri):
            told.append(uri)

        async def send_notification(self, notification, related_request_id):
            told.append(notification.params.uri)

    async def may_hear(uri):
        if stands[uri] is None:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return stands[uri]

    session, bells = Session(SimpleNamespace(session=Told())), (asyncio.Event(), asyncio.Event())
    stream = Stream(SimpleNamespace(session=Told(), request_id=1), bells)
    watched = {one: Subscriber(one, session.changed, session.lost, partial(may_hear, one)) for one in stands}
    session.watched |= watched
    stands |= {"v": False, "w": None}
    for one in watched.values():
        one.updated("")
    await session._saying
    assert told == ["u"]
    assert sorted(session.watched) == ["u", "w"], "what cannot be known now may be known at the next change"
    assert [one.cancelled.is_set() for one in watched.values()] == [False, True, False]
    stream.changed(watched["u"])
    assert await stream.more(0)
    stream.changed(watched["v"])
    assert not await stream.more(0), "and its stream ends"
    stream.changed(watched["w"])
    with pytest.raises(Unavailable):
        await stream.more(0)
    assert told == ["u", "u"]


async def test_who_may_be_told_is_asked_of_those_who_know():
    ada = Principal("ada", "t1", "pseudonym-ada", frozenset({Role.AGENT}))
    known = {"pseudonym-ada": ada}
    frozen = FreezeState()

    class Directory:
        async def person(self, tenant, pseudonym):
            if tenant != "t1" or pseudonym not in known:
                raise Refused(Reason.REQUEST_NOT_FOUND)
            return known[pseudonym]

    class Freezes:
        async def current(self):
            return frozen

    def freeze(scope, subject):
        return FreezeState.of([Freeze("f", "t1", scope, subject, Cause.DRILL, "p-x", 5.0, index=7)], 8)

    pipeline = SimpleNamespace(directory=Directory(), freezes=Freezes())
    calls = Calls(SimpleNamespace(pipeline=pipeline))
    assert await calls.may_hear(ada, "crm", "c")
    for scope, subject in (
        (Scope.PRINCIPAL, "pseudonym-ada"),
        (Scope.HAND, "crm"),
        (Scope.CONTEXT, "c"),
    ):
        frozen = freeze(scope, subject)
        assert not await calls.may_hear(ada, "crm", "c"), scope
    frozen = FreezeState()
    known["pseudonym-ada"] = replace(ada, hands=frozenset({"erp"}))
    assert not await calls.may_hear(ada, "crm", "c"), "it lost the hand"
    known.clear()
    assert not await calls.may_hear(ada, "crm", "c"), "it was revoked"


async def test_a_watcher_that_left_is_told_nothing():
    told: list[str] = []

    def tell(subscriber):
        told.append(subscriber.uri)

    subscriber = Subscriber("u", tell, tell, lambda: None)
    subscriber.updated("whatever its server calls it")
    subscriber.cancelled.set()
    subscriber.updated("u")
    subscriber.lost()
    assert told == ["u"]
