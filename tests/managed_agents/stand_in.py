"""A stand-in for Anthropic's sessions API (Claude Managed Agents), for tests. It is not that service.

Its documents are made by the ``anthropic`` SDK's own types, and what it is sent is held to the SDK's own types of
parameters. What it does is written after the API's documentation: a session that waits lists the ids that it waits for,
takes one answer for each, and goes on when it has them all. It breaks, repeats and delays on demand.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Final

import pydantic
from anthropic.types.beta import (
    BetaManagedAgentsAgent,
    BetaManagedAgentsSession,
    BetaManagedAgentsSessionUpdatedEvent,
    BetaManagedAgentsUserToolResultEvent,
    environments,
    sessions,
)
from anthropic.types.beta.sessions import BetaManagedAgentsEventParams
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.settings import Settings
from tests.web.conftest import serving

KEY: Final = "sk-ant-stand-in-0000000000000000"
RECLAIM_SECONDS: Final = 0.5
"""Work that nobody acknowledged for this long is offered again; the service takes 5 s where it is not told."""
BEGAN: Final = datetime(2026, 11, 1, tzinfo=UTC)
_SENT: Final[pydantic.TypeAdapter[Any]] = pydantic.TypeAdapter(list[BetaManagedAgentsEventParams])
_TYPES: Final[dict[str, Any]] = {
    "agent.tool_use": sessions.BetaManagedAgentsAgentToolUseEvent,
    "agent.mcp_tool_use": sessions.BetaManagedAgentsAgentMCPToolUseEvent,
    "agent.custom_tool_use": sessions.BetaManagedAgentsAgentCustomToolUseEvent,
    "agent.tool_result": sessions.BetaManagedAgentsAgentToolResultEvent,
    "agent.mcp_tool_result": sessions.BetaManagedAgentsAgentMCPToolResultEvent,
    "agent.message": sessions.BetaManagedAgentsAgentMessageEvent,
    "session.status_idle": sessions.BetaManagedAgentsSessionStatusIdleEvent,
    "session.status_running": sessions.BetaManagedAgentsSessionStatusRunningEvent,
    "session.status_terminated": sessions.BetaManagedAgentsSessionStatusTerminatedEvent,
    "session.updated": BetaManagedAgentsSessionUpdatedEvent,
    "user.message": sessions.BetaManagedAgentsUserMessageEvent,
    "user.tool_confirmation": sessions.BetaManagedAgentsUserToolConfirmationEvent,
    "user.custom_tool_result": sessions.BetaManagedAgentsUserCustomToolResultEvent,
    "user.tool_result": BetaManagedAgentsUserToolResultEvent,
    "user.interrupt": sessions.BetaManagedAgentsUserInterruptEvent,
}
ASK: Final = {"type": "always_ask"}
ALLOW: Final = {"type": "always_allow"}


def toolset(policy: dict[str, str], **tools: dict[str, str]) -> dict[str, Any]:
    """Anthropic's toolset, with policies of single tools."""
    configs = [{"type": name, "name": name, "enabled": True, "permission_policy": one} for name, one in tools.items()]
    default = {"enabled": True, "permission_policy": policy}
    return {"type": "agent_toolset_20260401", "default_config": default, "configs": configs}


def mcp_toolset(server: str, policy: dict[str, str]) -> dict[str, Any]:
    """Tools of an MCP server."""
    default = {"enabled": True, "permission_policy": policy}
    return {"type": "mcp_toolset", "mcp_server_name": server, "default_config": default, "configs": []}


def custom(name: str) -> dict[str, Any]:
    """A custom tool."""
    return {"type": "custom", "name": name, "description": name, "input_schema": {"type": "object"}}


@dataclass
class Session:
    """A session there."""

    id: str
    agent: dict[str, Any]
    status: str = "idle"
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the list has."""
    streams: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    environment_id: str = "env_cloud"


@dataclass
class StandIn:
    """The service. Everything is at its attributes; times are its own and always grow."""

    url: str = ""
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Session and event, of all that it took."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: dict[str, list[Callable[[], Response | None]]] = field(default_factory=lambda: defaultdict(list))
    """``stream``, ``list``, ``send``, ``session``, ``agent`` -> what is answered instead, one for each request."""
    lost_answers: int = 0
    """How often events are taken and the answer is lost."""
    lost: Counter[str] = field(default_factory=Counter)
    """``poll``, ``heartbeat`` -> how often it is taken and the answer is lost."""
    held: asyncio.Event | None = None
    """Where it is there, answers to ``send`` wait for it."""
    work: list[dict[str, Any]] = field(default_factory=list)
    """Work of the environment ``env_own``, in its order."""
    work_calls: list[tuple[str, str]] = field(default_factory=list)
    """What was said of work: ``ack``, ``heartbeat`` or ``stop``, and its id."""
    opened: int = 0
    """Streams that were opened."""
    _given: dict[str, float] = field(default_factory=dict)
    """Work by id -> when somebody was given it."""
    _number: Any = field(default_factory=lambda: count(1))

    # --- what a test says --------------------------------------------------------------------------------------------

    def agent(self, agent_id: str, *tools: dict[str, Any], **more: Any) -> dict[str, Any]:
        """An agent there."""
        self.agents[agent_id] = {
            "id": agent_id,
            "created_at": self.now(),
            "updated_at": self.now(),
            "execution_identity": {"type": "service_account"},
            "mcp_servers": [],
            "metadata": {},
            "model": {"id": "claude-test"},
            "name": agent_id,
            "skills": [],
            "tools": list(tools),
            "type": "agent",
            "version": 1,
            **more,
        }
        return self.agents[agent_id]

    def session(self, agent_id: str, session_id: str = "sesn_1") -> Session:
        """A session of an agent; it has the agent as it is now."""
        kept = ("id", "name", "tools", "mcp_servers", "model", "skills", "type", "version", "execution_identity")
        agent = {name: self.agents[agent_id][name] for name in kept}
        self.sessions[session_id] = Session(session_id, json.loads(json.dumps(agent)))
        return self.sessions[session_id]

    def now(self) -> str:
        """The next moment."""
        return (BEGAN + timedelta(milliseconds=10 * next(self._number))).isoformat().replace("+00:00", "Z")

    def new_id(self) -> str:
        return f"sevt_{next(self._number):06}"

    def made(self, kind: str, **members: Any) -> dict[str, Any]:
        """An event by the SDK's own type."""
        document = {"id": self.new_id(), "processed_at": self.now(), "type": kind, **members}
        _TYPES[kind].model_validate(document)
        return document

    def emit(self, session: Session, *events: dict[str, Any], live: bool = True, listed: bool = True) -> None:
        """Have events happen; each in the list, in the streams, or in both."""
        for event in events:
            if listed:
                session.events.append(event)
            if live:
                frame = f"event: {event.get('type', 'x')}\ndata: {json.dumps(event)}\n\n".encode()
                for stream in session.streams:
                    stream.put_nowait(frame)

    def use(self, session: Session, kind: str = "agent.custom_tool_use", live: bool = True, **members: Any) -> str:
        """An agent calls a tool; the event's id."""
        asked = {} if kind == "agent.custom_tool_use" else {"evaluated_permission": "ask"}
        event = self.made(kind, **{"input": {}, **asked, **members})
        self.emit(session, event, live=live)
        session.waits_for.append(event["id"])
        return str(event["id"])

    def idle(self, session: Session, live: bool = True) -> dict[str, Any]:
        """The session says what it waits for."""
        session.status = "idle"
        reason = {"type": "requires_action", "event_ids": list(session.waits_for)}
        event = self.made("session.status_idle", stop_reason=reason if session.waits_for else {"type": "end_turn"})
        self.emit(session, event, live=live)
        return event

    def end(self, session: Session) -> None:
        session.status = "terminated"
        self.emit(session, self.made("session.status_terminated"))

    def queue_work(self, session: Session) -> dict[str, Any]:
        """A session waits for somebody who runs its tools."""
        session.environment_id = "env_own"
        work = {
            "id": f"work_{next(self._number)}",
            "created_at": self.now(),
            "data": {"id": session.id, "type": "session"},
            "environment_id": "env_own",
            "metadata": {},
            "state": "queued",
            "type": "work",
            "acknowledged_at": None,
            "latest_heartbeat_at": None,
        }
        self.work.append(work)
        return work

    def steal(self, work: dict[str, Any]) -> None:
        """Somebody else has the work now."""
        work["latest_heartbeat_at"] = "somebody-elses"

    def break_streams(self, session: Session) -> None:
        """Every stream of a session ends without a word."""
        for stream in session.streams:
            stream.put_nowait(None)
        session.streams.clear()

    def fail(self, what: str, *statuses: int, **headers: str) -> None:
        """The next requests are answered with these."""
        for status in statuses:
            self.faults[what].append(partial(_error, status, "api_error", headers))

    def answers(self, session: Session, use_id: str) -> list[dict[str, Any]]:
        """What it took for a tool use."""
        names = ("tool_use_id", "custom_tool_use_id")
        return [
            event
            for where, event in self.sent
            if where == session.id and any(event.get(name) == use_id for name in names)
        ]

    # --- what it serves ----------------------------------------------------------------------------------------------

    def _fault(self, request: Request, what: str) -> Response | None:
        self.requests.append((request.method, request.url.path, dict(request.headers)))
        if request.headers.get("x-api-key") != KEY and request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "authentication_error")
        if "managed-agents-2026-04-01" not in request.headers.get("anthropic-beta", ""):
            return _error(400, "invalid_request_error")
        return self.faults[what].pop(0)() if self.faults[what] else None

    async def _get_agent(self, request: Request) -> Response:
        fault = self._fault(request, "agent")
        agent = self.agents.get(request.path_params["agent_id"])
        if fault is not None or agent is None:
            return fault or _error(404, "not_found_error")
        if request.method == "POST":
            asked = await request.json()
            if asked.get("version", agent["version"]) != agent["version"]:
                return _error(409, "conflict_error")
            if asked.get("tools") != agent["tools"]:
                agent["tools"] = asked["tools"]
                agent["version"] += 1
        return JSONResponse(BetaManagedAgentsAgent.model_validate(agent).to_dict(mode="json"))

    async def _get_session(self, request: Request) -> Response:
        fault = self._fault(request, "session")
        session = self.sessions.get(request.path_params["session_id"])
        if fault is not None or session is None:
            return fault or _error(404, "not_found_error")
        return JSONResponse(self._shown(session))

    def _shown(self, session: Session) -> dict[str, Any]:
        document = {
            "id": session.id,
            "agent": session.agent,
            "created_at": self.now(),
            "environment_id": session.environment_id,
            "metadata": {},
            "outcome_evaluations": [],
            "resources": [],
            "stats": {},
            "status": session.status,
            "type": "session",
            "updated_at": self.now(),
            "usage": {},
            "vault_ids": [],
        }
        shown: dict[str, Any] = BetaManagedAgentsSession.model_validate(document).to_dict(mode="json")
        return shown

    async def _list_sessions(self, request: Request) -> Response:
        fault = self._fault(request, "sessions")
        wanted = request.query_params.getlist("statuses[]") or request.query_params.getlist("statuses")
        agent = request.query_params.get("agent_id")
        found = [one for one in self.sessions.values() if one.agent["id"] == agent and one.status in wanted]
        return fault or JSONResponse({"data": [self._shown(one) for one in found], "next_page": None})

    async def _list_events(self, request: Request) -> Response:
        fault = self._fault(request, "list")
        session = self.sessions.get(request.path_params["session_id"])
        if fault is not None or session is None:
            return fault or _error(404, "not_found_error")
        asked = request.query_params
        since = next((text for name, text in asked.items() if "created_at" in name and "gte" in name), "")
        found = [event for event in session.events if not since or _at(event) >= datetime.fromisoformat(since)]
        page = min(int(asked.get("limit", "20")), 3)  # small, so that every test turns pages
        start = int(asked.get("page") or 0)
        more = start + page < len(found)
        body = json.dumps({"data": found[start : start + page], "next_page": str(start + page) if more else None})
        return Response(body, media_type="application/json")

    async def _stream(self, request: Request) -> Response:
        fault = self._fault(request, "stream")
        session = self.sessions.get(request.path_params["session_id"])
        if fault is not None or session is None:
            return fault or _error(404, "not_found_error")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        session.streams.append(queue)
        self.opened += 1

        async def frames() -> AsyncIterator[bytes]:
            yield b"event: ping\ndata: {}\n\n"
            while (frame := await queue.get()) is not None:
                yield frame

        return StreamingResponse(frames(), media_type="text/event-stream")

    async def _send(self, request: Request) -> Response:
        fault = self._fault(request, "send")
        session = self.sessions.get(request.path_params["session_id"])
        if fault is not None or session is None:
            return fault or _error(404, "not_found_error")
        events = (await request.json())["events"]
        _SENT.validate_python(events)
        taken = []
        for event in events:
            named = event.get("tool_use_id") or event.get("custom_tool_use_id")
            if named is not None and named not in session.waits_for:
                return _error(400, "invalid_request_error")
            taken.append(self._take(session, event, named))
        if self.held is not None:
            await self.held.wait()
        if self.lost_answers:
            self.lost_answers -= 1
            return _error(500, "api_error")
        return JSONResponse({"data": taken})

    def _take(self, session: Session, event: dict[str, Any], named: str | None) -> dict[str, Any]:
        self.sent.append((session.id, event))
        made = self.made(event["type"], **{name: value for name, value in event.items() if name != "type"})
        self.emit(session, made)
        # Of a tool that the service does not run, letting go is not the end: the result is waited for.
        goes_on = session.environment_id == "env_own" and event.get("result") == "allow"
        if named is not None and not goes_on:
            session.waits_for.remove(named)
            if session.waits_for:
                self.idle(session)
            else:
                session.status = "running"
                self.emit(session, self.made("session.status_running"))
        return made

    async def _poll(self, request: Request) -> Response:
        fault = self._fault(request, "poll")
        now = time.monotonic()
        waiting = [work for work in self.work if work["state"] == "queued" or self._unacknowledged(work, now)]
        if fault is not None or not waiting:
            return fault or JSONResponse(None)
        waiting[0]["state"] = "starting"
        self._given[waiting[0]["id"]] = now
        if self._loses("poll"):
            return _error(503, "api_error")
        return JSONResponse(environments.BetaSelfHostedWork.model_validate(waiting[0]).to_dict(mode="json"))

    def _unacknowledged(self, work: dict[str, Any], now: float) -> bool:
        given = self._given.get(work["id"], now)
        return work["state"] == "starting" and work["acknowledged_at"] is None and now - given > RECLAIM_SECONDS

    def _loses(self, what: str) -> bool:
        self.lost[what] -= 1
        return self.lost[what] >= 0

    async def _look(self, request: Request) -> Response:
        work = next(work for work in self.work if work["id"] == request.path_params["work_id"])
        return JSONResponse(environments.BetaSelfHostedWork.model_validate(work).to_dict(mode="json"))

    async def _work(self, request: Request) -> Response:
        what = request.path_params["what"]
        fault = self._fault(request, what)
        work = next(work for work in self.work if work["id"] == request.path_params["work_id"])
        self.work_calls.append((what, work["id"]))
        if fault is not None:
            return fault
        if what == "stop":
            work["state"] = "stopped"
        if what == "ack":
            work["acknowledged_at"] = self.now()
        if what != "heartbeat":
            return JSONResponse(environments.BetaSelfHostedWork.model_validate(work).to_dict(mode="json"))
        expected = request.query_params.get("expected_last_heartbeat")
        if expected != (work["latest_heartbeat_at"] or "NO_HEARTBEAT"):
            return _error(412, "precondition_failed")
        work["latest_heartbeat_at"] = self.now()
        if work["state"] == "starting":
            work["state"] = "active"
        if self._loses("heartbeat"):
            return _error(503, "api_error")
        beat = {
            "last_heartbeat": work["latest_heartbeat_at"],
            "lease_extended": work["state"] == "active",
            "state": work["state"],
            "ttl_seconds": 30,
            "type": "work_heartbeat",
        }
        made = environments.BetaSelfHostedWorkHeartbeatResponse.model_validate(beat)
        return JSONResponse(made.to_dict(mode="json"))

    def routes(self) -> Sequence[Route]:
        """All of them."""
        return [
            Route("/v1/agents/{agent_id}", self._get_agent, methods=["GET", "POST"]),
            Route("/v1/environments/env_own/work/poll", self._poll),
            Route("/v1/environments/env_own/work/{work_id}", self._look, methods=["GET"]),
            Route("/v1/environments/env_own/work/{work_id}/{what}", self._work, methods=["POST"]),
            Route("/v1/sessions", self._list_sessions),
            Route("/v1/sessions/{session_id}", self._get_session),
            Route("/v1/sessions/{session_id}/events", self._list_events, methods=["GET"]),
            Route("/v1/sessions/{session_id}/events", self._send, methods=["POST"]),
            Route("/v1/sessions/{session_id}/events/stream", self._stream),
        ]


def _at(event: dict[str, Any]) -> datetime:
    at = event.get("processed_at")
    return datetime.fromisoformat(at) if at else datetime.max.replace(tzinfo=UTC)


def _error(status: int, kind: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": kind}}, status, headers)


@asynccontextmanager
async def running() -> AsyncIterator[StandIn]:
    """The stand-in, on a port of its own."""
    service = StandIn()
    async with serving(Starlette(routes=list(service.routes())), Settings(server={"port": 0})) as port:
        service.url = f"http://127.0.0.1:{port}"
        try:
            yield service
        finally:
            for session in service.sessions.values():
                service.break_streams(session)
