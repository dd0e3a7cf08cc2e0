"""What the gateway adds to tool calls of Claude Managed Agents: ``python -m bench.managed_agents``. JSON on standard
output.

A session at the tests' stand-in for Anthropic's API calls a custom tool, which asks a small API, and a tool that
``always_ask`` holds; the time is from the event of the call to the answer that the stand-in took. Work of a self-hosted
environment is a session that waits for one tool, which asks the same API, and then ends; the time is from the claim to
the word that it is done. Governed, a gateway in a process of its own follows (``handrail serve``, the shipped policies,
SQLite on this disk); directly, a plain program on the SDK that runs and confirms at once, and the SDK's worker. Calls
take turns, so that other load on the machine falls on both alike; stand-in, API and the plain program share one process
and core.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anthropic
import httpx2
from anthropic import beta_async_tool
from anthropic.types.beta.sessions import BetaManagedAgentsEventParams

from bench.calls import ready
from bench.load import BenchError
from bench.messages import added, document, prepare
from bench.page import BEGIN_AGENTS, machine, write_page
from bench.processes import CONFIGURED, LOAD_CORE, SERVER_CORE, free_port, pinned
from bench.runs import DESK, desk
from gateway.settings import load
from tests.managed_agents.stand_in import ALLOW, ASK, KEY, Session, StandIn, custom, running, toolset
from tests.until import until

CALLS: Final = 100
WORK: Final = 20
WARMING: Final = 10
"""Turns that are not counted."""
PATIENCE_SECONDS: Final = 60.0
WHAT: Final = "what is answered"
ENVIRONMENT: Final = "env_own"
CONFIGURATION: Final = (
    CONFIGURED
    + """
[managed_agents.claude]
on_behalf_of = "agent"
api_key = "claude-key"
url = "{api}"
private_network = true
agents = ["agent_governed"]
toolset_hand = "claude-tools"
discover_seconds = 0.25

[managed_agents.claude.environment]
id = "{environment}"
key = "claude-key"
tools.bash = "desk.look"

[hands.claude-tools]
adapter = "client"
actions.read.side_effects = "none"
"""
)

Call: TypeAlias = Callable[[str], Awaitable[float]]
"""Has one call about what has that name made; milliseconds until it was answered."""
Work: TypeAlias = dict[str, Any]
"""Of an environment, as the stand-in has it."""
WAYS: Final = ("direct", "governed")


@dataclass(frozen=True, slots=True)
class Watched:
    """A session, whose events this program hears too."""

    service: StandIn
    session: Session
    heard: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.session.streams.append(self.heard)

    async def custom(self, name: str) -> float:
        """A call of the custom tool."""
        begun = time.perf_counter()
        use = self.service.use(self.session, name="desk__look", input={"text": name})
        self.service.idle(self.session)
        await self.answer("user.custom_tool_result", use)
        return (time.perf_counter() - begun) * 1000

    async def held(self, name: str) -> float:
        """A call that waits for a confirmation."""
        begun = time.perf_counter()
        use = self.service.use(self.session, "agent.tool_use", name="read", input={"file_path": name})
        self.service.idle(self.session)
        await self.answer("user.tool_confirmation", use)
        return (time.perf_counter() - begun) * 1000

    async def answer(self, kind: str, use: str) -> None:
        """Wait for what is answered next.

        Raises:
            BenchError: it is not about that call, of another kind, or a denial.
        """
        frame = None
        while frame is None or not frame.startswith(b"event: user."):
            frame = await self.heard.get()
        event = json.loads(frame.partition(b"data: ")[2])
        about = event.get("custom_tool_use_id") or event.get("tool_use_id")
        if (event["type"], about) != (kind, use) or event.get("is_error") or event.get("result") == "deny":
            raise BenchError(f"{use} is answered with {event}")


@dataclass(frozen=True, slots=True)
class Plain:
    """A program on the SDK that answers at once."""

    client: anthropic.AsyncAnthropic
    look: Callable[[str], Coroutine[Any, Any, str]]

    async def follow(self, session_id: str) -> None:
        """Run the custom tool and confirm what is held, until the stream ends."""
        events = self.client.beta.sessions.events
        answer: BetaManagedAgentsEventParams
        async with await events.stream(session_id) as stream:
            async for event in stream:
                if event.type == "agent.custom_tool_use":
                    seen = await self.look(str(event.input["text"]))
                    answer = {
                        "type": "user.custom_tool_result",
                        "custom_tool_use_id": event.id,
                        "content": [{"type": "text", "text": seen}],
                    }
                elif event.type == "agent.tool_use":
                    answer = {"type": "user.tool_confirmation", "tool_use_id": event.id, "result": "allow"}
                else:
                    continue
                await events.send(session_id, events=[answer])

    async def serve(self, work: Work) -> None:
        """Claim work, and have the SDK's worker serve it."""
        work["state"] = "starting"  # before the gateway asks for some
        await self.client.beta.environments.work.ack(work["id"], environment_id=ENVIRONMENT)
        tool = beta_async_tool(self.look, name="bash", description="Looks at the desk.")
        worker = self.client.beta.environments.work.worker(environment_key=KEY, tools=[tool], memory_sync_interval=None)
        await worker.handle_item(work_id=work["id"], environment_id=ENVIRONMENT, session_id=work["data"]["id"])


async def elsewhere(_: Work) -> None:
    """The gateway claims it, and serves it."""


async def hosted(service: StandIn, serve: Callable[[Work], Awaitable[None]], name: str) -> float:
    """Work for a session that waits for one tool, and ends when it has the result."""
    watched = Watched(service, service.session("agent_hosted", f"sesn_{name}"))
    asked: dict[str, Any] = {"name": "bash", "input": {"text": name}, "evaluated_permission": "allow"}
    use = service.use(watched.session, "agent.tool_use", **asked)
    service.idle(watched.session)
    claimed: asyncio.Future[float] = asyncio.Future()
    done: asyncio.Future[float] = asyncio.Future()
    for said, moment in (("ack", claimed), ("stop", done)):
        service.faults[said].append(partial(_note, moment))

    async def go_on() -> None:
        await watched.answer("user.tool_result", use)
        service.end(watched.session)

    await asyncio.gather(go_on(), serve(service.queue_work(watched.session)))
    return (await done - await claimed) * 1000


def _note(moment: asyncio.Future[float]) -> None:
    moment.set_result(time.perf_counter())


async def compare(ways: Mapping[tuple[str, str], Call], turns: int) -> dict[str, dict[str, float]]:
    """What is called -> milliseconds to its answer.

    Raises:
        BenchError: one has none after a minute.
    """
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    names = (f"item{number}" for number in itertools.count())
    for number in range(WARMING + turns):
        for way, call in ways.items():
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    taken = await call(next(names))
            except TimeoutError:
                raise BenchError(f"nobody answers {', '.join(way)}") from None
            if number >= WARMING:
                times[way].append(taken)
    subjects = dict.fromkeys(subject for subject, _ in ways)
    return {subject: added(times[subject, "direct"], times[subject, "governed"]) for subject in subjects}


async def measure(calls: int, work: int) -> dict[str, dict[str, float]]:
    """Prepare, serve, compare.

    Raises:
        BenchError: something did not start, or answered wrongly.
    """
    os.sched_setaffinity(0, {LOAD_CORE % (os.cpu_count() or 1)})
    async with running() as service, desk() as tool:
        with tempfile.TemporaryDirectory() as directory:
            return await _measure(Path(directory), service, tool, calls, work)


async def _measure(directory: Path, service: StandIn, tool: str, calls: int, work: int) -> dict[str, dict[str, float]]:
    for way in WAYS:
        service.agent(f"agent_{way}", toolset(ASK), custom("desk__look"))
    service.agent("agent_hosted", toolset(ASK, bash=ALLOW))
    watched = {way: Watched(service, service.session(f"agent_{way}", f"sesn_{way}")) for way in WAYS}
    port = free_port()
    configuration = directory / "handrail.toml"
    names = {"home": directory / "home", "port": port, "api": service.url, "environment": ENVIRONMENT, "desk": tool}
    configuration.write_text((CONFIGURATION + DESK).format(**names), encoding="utf-8")
    settings = load(configuration)
    await prepare(settings.model_copy(update={"managed_agents": {}}), KEY)  # nothing is followed yet
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
    with pinned(SERVER_CORE, command, port, directory / "gateway.log", environment):
        await ready(f"http://127.0.0.1:{port}")
        client = anthropic.AsyncAnthropic(api_key=KEY, base_url=service.url, max_retries=0)
        async with client, httpx2.AsyncClient(timeout=60) as http:

            async def look(text: str) -> str:
                return (await http.post(f"{tool}/look", json={"text": text})).text

            plain = Plain(client, look)
            following = asyncio.create_task(plain.follow("sesn_direct"))
            try:
                await until(lambda: all(len(one.session.streams) == 2 for one in watched.values()))
                called: dict[tuple[str, str], Call] = {("a custom tool", way): watched[way].custom for way in WAYS}
                called |= {("a tool held by always_ask", way): watched[way].held for way in WAYS}
                serves = zip(WAYS, (plain.serve, elsewhere), strict=True)
                served: dict[tuple[str, str], Call] = {
                    ("work with one tool", way): partial(hosted, service, serve) for way, serve in serves
                }
                return await compare(called, calls) | await compare(served, work)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


def measured_alone() -> dict[str, dict[str, float]]:
    """:func:`measure` as ``make bench`` asks for it."""
    return asyncio.run(measure(CALLS, WORK))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each tool, each way")
    parser.add_argument("--work", type=int, default=WORK, help="pieces of work, each way")
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.calls, options.work))
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(figures, machine(), WHAT), BEGIN_AGENTS)
