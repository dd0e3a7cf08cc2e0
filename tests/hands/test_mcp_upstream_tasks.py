"""Tools that their server runs as tasks: followed to the end, asked about, called off, and looked for where the
connection is lost."""

import asyncio

import pytest
from mcp import types
from mcp.shared.message import ServerMessageMetadata

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.mcp.talk import RELATED
from tests.hands.hands_support import Talk, refused
from tests.hands.mcp_http import Server, answer, hand, served
from tests.hands.servers.talker import ERAS, refusing
from tests.hands.servers.tasker import FORM, Tasker
from tests.hands.talk_support import Person, client, talking, text
from tests.until import until

REVISIONS = ["handshake", "stateless"]
MAY = {"actions": {"elicitation/create": {"side_effects": "none"}}}


@pytest.fixture
def tasker():
    return Tasker()


@pytest.fixture(params=REVISIONS)
async def server(request, uvicorns, tasker):
    """URL of a server of one revision."""
    return await uvicorns(refusing(tasker.server().streamable_http_app(), *ERAS[request.param]))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_either_client_gets_the_result_of_either_servers_task(server, mode, tmp_path, tasker):
    tasker.release.set()
    person = Person()
    async with talking(server, tmp_path) as endpoint, client(endpoint, mode, person, "elicit") as made:
        assert text(await made.call_tool("wait", {})) == "waited"
        assert text(await made.call_tool("name", {})) == "accept Ada"
        assert text(await made.call_tool("add", {})) == "added"
        failed = await made.call_tool("fail", {})
    assert failed.is_error
    assert "broken" not in text(failed), "a server's own words about its error stay here"
    assert [one.message for one in person.asked] == ["What is your name?"]
    assert [one.status for one in tasker.tasks.values()] == ["completed", "completed", "failed"]


async def test_what_a_task_asks_of_a_client_that_cannot_be_asked_is_not_answered(server, tasker):
    talk = Talk()
    async with hand(server, **MAY) as one:
        await refused(one.say(action="name", conversation=talk))
    assert talk.asked == []
    assert [task.status for task in tasker.tasks.values()] != ["completed"]


async def test_a_task_that_the_server_itself_ends_is_in_doubt(server):
    async with hand(server) as one:
        assert await refused(one.say(action="stop")) == (Reason.HAND_FAILED, HandFailure.UNKNOWN)


async def test_a_task_that_failed_has_been_executed(server):
    async with hand(server) as one:
        assert await refused(one.say(action="fail")) == (Reason.HAND_FAILED, HandFailure.EXECUTED)


async def test_at_the_deadline_the_server_is_told(server, tasker):
    async with hand(server) as one:
        late = one.say(action="wait", deadline_seconds=1.0)
        assert await refused(late) == (Reason.HAND_TIMEOUT, HandFailure.UNKNOWN)
    assert [task.status for task in tasker.tasks.values()] == ["cancelled"]


async def test_a_client_that_takes_its_call_back_ends_the_task(server, tasker):
    talk = Talk()
    async with hand(server) as one:
        running = asyncio.create_task(one.say(action="wait", conversation=talk))
        await until(lambda: tasker.asked)
        talk.cancelled.set()
        assert await refused(running) == (Reason.HAND_CANCELLED, HandFailure.UNKNOWN)
        assert [task.status for task in tasker.tasks.values()] == ["cancelled"]
        assert (await one.say(action="add")).content[0]["text"] == "added", "the session goes on"


async def test_a_call_that_the_gateway_ends_ends_the_task(server, tasker):
    async with hand(server) as one:
        running = asyncio.create_task(one.say(action="wait"))
        await until(lambda: tasker.asked)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [task.status for task in tasker.tasks.values()] == ["cancelled"]


async def test_a_hand_that_is_closed_is_not_started_again_for_a_task(server, tasker):
    async with hand(server) as one:
        running = asyncio.create_task(one.say(action="wait"))
        await until(lambda: tasker.asked)
        await one.adapter.close()
        asked = len(tasker.asked)
        assert (await refused(running))[1] is HandFailure.UNKNOWN
        assert len(tasker.asked) == asked, "as after a freeze"


async def test_a_client_that_leaves_while_it_is_asked_ends_the_task(server, tasker):
    talk, asking = Talk("elicitation.form"), asyncio.Event()

    async def never(*_):
        asking.set()
        await asyncio.Event().wait()

    talk.ask = never
    async with hand(server, **MAY) as one:
        running = asyncio.create_task(one.say(action="name", conversation=talk))
        await asking.wait()
        talk.cancelled.set()
        assert await refused(running) == (Reason.HAND_CANCELLED, HandFailure.UNKNOWN)
        assert [task.status for task in tasker.tasks.values()] == ["cancelled"]


async def test_the_session_serves_other_calls_while_a_task_goes_on(server, tasker):
    async with hand(server) as one:
        running = asyncio.create_task(one.say(action="wait"))
        await until(lambda: tasker.asked)
        assert (await one.say(action="add")).content[0]["text"] == "added"
        assert not running.done()
        tasker.release.set()
        assert (await running).content[0]["text"] == "waited"


async def test_a_task_is_to_be_kept_longer_than_its_call_may_take(uvicorns, tasker):
    tasker.release.set()
    url = await uvicorns(refusing(tasker.server().streamable_http_app(), *ERAS["handshake"]))
    async with hand(url) as one:
        await one.say(action="wait", deadline_seconds=30.0)
    assert tasker.wanted[0] > 30_000


def task(message, status="working", **more):
    """The answer to a request about the one task of a server that is written by hand."""
    return answer(message, {"taskId": "t", "status": status, "pollInterval": 1, **more})


def tasking(*looks) -> Server:
    """A server whose calls are one task, and what it answers to each look; the last one repeats."""
    tool = {"name": "echo", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}}
    server = Server(tools=[tool], capabilities={"tasks": {"requests": {"tools": {"call": {}}}}})
    left = list(looks)

    async def called(server, request, message):
        return answer(message, {"task": {"taskId": "t", "status": "working", "pollInterval": 1}})

    handle = server.handle

    async def handled(request):
        message = await request.json() if request.method == "POST" else {}
        if message.get("method") == "tasks/get":
            server.asked.append((request.method, dict(request.headers), message))
            return (left.pop(0) if len(left) > 1 else left[0])(message)
        return await handle(request)

    server.called, server.handle = called, handled
    server.answers["tasks/result"] = lambda message: {"content": [{"type": "text", "text": "done"}]}
    server.answers["tasks/cancel"] = lambda message: {"taskId": "t", "status": "cancelled"}
    return server


def lost(message):
    """The answer of a proxy whose server does not answer."""
    return answer(message, error={"code": 0, "message": ""}, status=502)


def away(message):
    """The answer of one that has no server for now."""
    return answer(message, error={"code": 0, "message": ""}, status=503)


def completed(message):
    return task(message, "completed")


async def test_looks_that_are_lost_are_made_again_in_a_new_session():
    server = tasking(task, lost, away, lost, completed)
    async with served(server.handle) as url, hand(url) as one:
        assert (await one.say()).content[0]["text"] == "done"
    assert len(server.messages("tools/call")) == 1, "the call itself is sent once"


@pytest.mark.parametrize(
    "look",
    [
        lost,
        away,
        lambda message: answer(message, error={"code": -32602, "message": "Task not found"}),
        lambda message: answer(message, {"taskId": "another", "status": "completed"}),
        lambda message: answer(message, {"taskId": "t", "status": "asleep"}),
        lambda message: answer(message, {}),
    ],
    ids=["lost", "away", "forgotten", "another", "no status", "nothing"],
)
async def test_a_task_of_which_nothing_is_known_any_more_is_in_doubt_and_not_called_again(look):
    server = tasking(task, look)
    async with served(server.handle) as url, hand(url) as one:
        assert (await refused(one.say()))[1] is HandFailure.UNKNOWN
    assert len(server.messages("tools/call")) == 1


async def test_a_session_with_a_task_is_not_idle():
    server = tasking(*[lambda message: task(message, pollInterval=400)] * 2, completed)
    async with served(server.handle) as url, hand(url, idle_seconds=0.1) as one:
        assert (await one.say()).content[0]["text"] == "done"
        begun = [verb for verb, _, message in server.asked if message.get("method") == "tools/call" or verb == "DELETE"]
    assert begun.count("POST") == 1
    assert "DELETE" not in begun[begun.index("POST") :]


async def test_a_task_that_nobody_asked_for_is_no_answer():
    server = Server()

    async def called(server, request, message):
        return answer(message, {"task": {"taskId": "t", "status": "working"}})

    server.called = called
    async with served(server.handle) as url, hand(url) as one:
        assert await refused(one.say()) == (Reason.HAND_PROTOCOL, HandFailure.UNKNOWN)
    assert server.messages("tasks/get") == []


async def test_a_server_that_will_not_call_its_task_off_is_left():
    server = tasking(task)
    server.answers["tasks/cancel"] = lambda message: {"error": {"code": -32603, "message": "no"}}
    async with served(server.handle) as url, hand(url) as one:
        assert (await refused(one.say(deadline_seconds=0.5)))[0] is Reason.HAND_TIMEOUT
        before = len(server.messages("initialize"))
        server.called = None
        assert (await one.say("anew")).content[0]["text"] == "anew"
        assert len(server.messages("initialize")) == before + 1


class Busy(Tasker):
    """Takes its time over one tool.

    Attributes:
        slow: sets that tool free.
        looks: lets the server say how a task stands.
        related: of which task it asks something first; ``""`` is of none, ``None`` asks nothing.
        told: what it was answered.
        running: whether it came so far.
    """

    told = None
    running = False

    def __init__(self):
        super().__init__()
        self.slow, self.looks = asyncio.Event(), asyncio.Event()
        self.looks.set()
        self.related = None

    async def _get(self, ctx, params):
        await self.looks.wait()
        return await super()._get(ctx, params)

    async def _call(self, ctx, params):
        if params.name != "add":
            return await super()._call(ctx, params)
        if self.related is not None:
            meta = {"_meta": {RELATED: {"taskId": self.related}}} if self.related else {}
            asks = types.ElicitRequest.model_validate({"method": "elicitation/create", "params": {**FORM, **meta}})
            metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
            self.told = await ctx.session.send_request(asks, types.ElicitResult, metadata=metadata)
        self.running = True
        await self.slow.wait()
        return await super()._call(ctx, params)


class Thinking(Talk):
    """A person who takes their time."""

    def __init__(self):
        super().__init__("elicitation.form")
        self.thought = asyncio.Event()
        self.answer = {"action": "accept", "content": {"name": "Ada"}}

    async def ask(self, key, method, params):
        answer = await super().ask(key, method, params)
        await self.thought.wait()
        return answer


@pytest.fixture
def busy():
    return Busy()


@pytest.fixture(params=REVISIONS)
async def occupied(request, uvicorns, busy):
    """URL of a server of one revision, one of whose tools takes its time."""
    return await uvicorns(refusing(busy.server().streamable_http_app(), *ERAS[request.param]))


async def test_other_calls_are_served_while_a_person_answers_a_task(server):
    talk, other = Thinking(), Talk("elicitation.form")
    async with hand(server, **MAY) as one:
        named = asyncio.create_task(one.say(action="name", conversation=talk))
        await until(lambda: talk.asked)
        assert (await one.say(action="add", conversation=other)).content[0]["text"] == "added"
        assert not named.done()
        talk.thought.set()
        assert (await named).content[0]["text"] == "accept Ada"
    assert other.asked == []


async def test_a_server_is_told_at_once_that_nobody_waits_for_a_task_while_another_call_runs(occupied, busy):
    async with hand(occupied) as one:
        waits = asyncio.create_task(one.say(action="wait", deadline_seconds=2.0))
        await until(lambda: busy.asked)
        adds = asyncio.create_task(one.say(action="add", deadline_seconds=60.0))
        assert (await refused(waits))[0] is Reason.HAND_TIMEOUT
        assert [task.status for task in busy.tasks.values()] == ["cancelled"]
        assert not adds.done()
        busy.slow.set()
        assert (await adds).content[0]["text"] == "added"


@pytest.mark.parametrize(
    ("related", "asked"), [("t0", "first"), ("t1", None), ("", "second")], ids=["the task", "another task", "none"]
)
async def test_a_question_reaches_the_client_of_the_call_that_it_is_of(uvicorns, busy, related, asked):
    """Both are of one principal and one session: a server names the task, wherever it asks."""
    url = await uvicorns(refusing(busy.server().streamable_http_app(), *ERAS["handshake"]))
    clients = {"first": Talk("elicitation.form"), "second": Talk("elicitation.form")}
    busy.related = related
    async with hand(url, **MAY) as one:
        waits = asyncio.create_task(one.say(action="wait", conversation=clients["first"], step_id="s1"))
        await until(lambda: busy.asked)
        adds = asyncio.create_task(one.say(action="add", conversation=clients["second"], step_id="s2"))
        await until(lambda: busy.running)
        busy.slow.set()
        busy.release.set()
        await adds
        await waits
    assert [name for name, client in clients.items() if client.asked] == [asked] * (asked is not None)
    assert busy.told.action == ("decline" if asked is None else "accept")


async def test_a_question_of_a_task_reaches_its_client_while_another_call_runs(uvicorns, busy):
    """Over HTTP also where the server does not name the task: it asks in the answer to tasks/result."""
    url = await uvicorns(refusing(busy.server().streamable_http_app(), *ERAS["handshake"]))
    talk, other = Talk("elicitation.form"), Talk("elicitation.form")
    async with hand(url, **MAY) as one:
        busy.looks.clear()
        named = asyncio.create_task(one.say(action="name", conversation=talk, step_id="s1"))
        await until(lambda: busy.tasks)
        adds = asyncio.create_task(one.say(action="add", conversation=other, step_id="s2"))
        await until(lambda: busy.running)
        busy.looks.set()
        await until(lambda: talk.asked)
        busy.slow.set()
        await adds
        await named
    assert (len(talk.asked), other.asked) == (1, [])


async def test_an_answer_beside_a_call_is_counted_by_its_own_limit(uvicorns, busy):
    busy.release.set()
    url = await uvicorns(refusing(busy.server().streamable_http_app(), *ERAS["handshake"]))
    async with hand(url) as one:
        adds = asyncio.create_task(one.say(action="add", deadline_seconds=60.0))
        await until(lambda: busy.running)
        big = asyncio.create_task(one.say(action="wait", result_max_bytes=40))
        busy.slow.set()
        await adds
        assert (await refused(big))[0] is Reason.HAND_RESULT_TOO_LARGE


async def test_what_keeps_a_look_from_its_session_does_not_say_that_a_call_beside_it_never_began():
    """Its server has that call, whatever it says of sessions, or of who asks, to the look."""
    server, waiting = tasking(task), asyncio.Event()
    made, handle = server.called, server.handle

    async def called(server, request, message):
        if waiting.is_set():
            server.called = None
            await asyncio.Event().wait()
        waiting.set()
        return await made(server, request, message)

    server.called = called

    async def handled(request):
        message = await request.json() if request.method == "POST" else {}
        if message.get("method") == "tasks/get" and server.called is None:
            return answer(message, error={"code": 0, "message": ""}, status=429)
        return await handle(request)

    async with served(handled) as url, hand(url) as one:
        looks = asyncio.create_task(one.say())
        await waiting.wait()
        begun = asyncio.create_task(one.say("second"))
        assert (await refused(begun))[1] is HandFailure.UNKNOWN
        assert (await refused(looks))[1] is HandFailure.UNKNOWN


@pytest.mark.parametrize("era", REVISIONS)
async def test_a_task_whose_end_comes_while_another_call_runs_keeps_no_session_for_ever(uvicorns, era):
    """Else a principal who does that often enough has all the sessions that a hand may have."""
    tasker = Busy()
    url = await uvicorns(refusing(tasker.server().streamable_http_app(), *ERAS[era]))
    async with hand(url, idle_seconds=60.0) as one:
        waits = asyncio.create_task(one.say(action="wait", deadline_seconds=2.0))
        await until(lambda: tasker.asked)
        adds = asyncio.create_task(one.say(action="add", deadline_seconds=30.0))
        assert (await refused(waits))[0] is Reason.HAND_TIMEOUT
        [session] = one.adapter._sessions._serving.values()
        assert session.busy, "the control: the other call runs"
        tasker.slow.set()
        await adds
        await until(lambda: not session.busy)
