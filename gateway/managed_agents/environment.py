"""A self-hosted environment: work that waits at Anthropic is claimed, and its session's toolset is run by hands here.

Whoever has the work has its lease, which lives by heartbeats. Tools run only while this gateway has it: where it is
lost, or nobody can say so for as long as it lasts, what runs is ended at once and nothing is sent any more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import structlog

from gateway.errors import Absent, HandrailError
from gateway.managed_agents.connector import Connector, tools_here
from gateway.managed_agents.events import SESSION_ID
from gateway.managed_agents.follower import Follower
from gateway.managed_agents.mapping import Tools
from gateway.managed_agents.service import NO_HEARTBEAT, ServiceError
from gateway.model import Principal
from gateway.ports.managed_agents import SessionRecord, State
from gateway.reasons import Reason
from gateway.settings import EnvironmentSettings

_log = structlog.get_logger("handrail.managed_agents")

SUFFIX: Final = ".environment"
"""Of a connector's name; no table of the configuration has a dot in its name."""
LEASE_SECONDS: Final = 90.0
"""How long a lease lasts that the service has not said it of."""
BEAT_MAX_SECONDS: Final = 30.0
CLAIM_SECONDS: Final = 2.0
"""Between two looks for work, where the settings do not ask for more: about what the SDK's own worker leaves."""
_OVER: Final = frozenset({"stopping", "stopped"})


@dataclass(slots=True)
class Environment(Connector):
    """Serves the sessions of one environment, each while this gateway has the work for it.

    Attributes:
        environment: its settings.
        worker_id: what this gateway calls itself there.
        rest_seconds: a session at rest for this long is given back.
    """

    environment: EnvironmentSettings = field(kw_only=True)
    worker_id: str = field(kw_only=True)
    rest_seconds: float = 60.0
    beat_max_seconds: float = BEAT_MAX_SECONDS
    _serving: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def tools(self) -> Tools:
        """See ``tools_here``."""
        return tools_here(self.settings)

    @property
    def looks_seconds(self) -> float:
        """See ``Connector``. An agent stands still until its work is claimed."""
        return min(self.settings.discover_seconds, CLAIM_SECONDS)

    async def close(self) -> None:
        """Give all work back, then stop."""
        serving = list(self._serving.values())
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await Connector.close(self)

    async def _discover(self) -> None:
        """Claim what waits, as far as there is room; of a service that says nothing of use, no more often than that."""
        for _ in range(self.environment.sessions_max):
            if self.parts.leaving or len(self._serving) >= self.environment.sessions_max:
                return
            work = await self.api.next_work(self.environment.id, self.worker_id)
            if work is None:
                return
            self._begin(work)

    def _begin(self, work: Mapping[str, Any]) -> None:
        work_id, data = work.get("id"), work.get("data")
        session_id = data.get("id") if isinstance(data, Mapping) and data.get("type") == "session" else None
        if not isinstance(work_id, str) or not isinstance(session_id, str) or SESSION_ID.fullmatch(session_id) is None:
            _log.warning("work that is no session's is left")
            return
        if session_id in self._serving:
            return
        task = asyncio.create_task(self._serve(work_id, session_id))
        self._serving[session_id] = task
        task.add_done_callback(lambda _: self._serving.pop(session_id, None))

    async def _serve(self, work_id: str, session_id: str) -> None:
        """Follow a session while its work is ours; give the work back when it is done."""
        ours = True
        follower = None
        try:
            record = await self._record(session_id)
            await self._take(record)
            held = self._followers.get(session_id)
            if held is None:
                # Its lease is of an earlier life, or of a gateway that has other work for it: this work comes again.
                _log.warning("work whose session another gateway follows", session=session_id)
                ours = False
                return
            follower, task = held
            ours = await self._beat(work_id, follower, task)
        except HandrailError as error:
            _log.warning("work is not served", reason=str(error.reason), detail=error.detail)
        finally:
            await self._leave(session_id, follower)
            if ours:
                await asyncio.shield(self._give_back(work_id))

    async def _record(self, session_id: str) -> SessionRecord:
        """The session, adopted where it is new. Raises ``request.not_found`` for one that has ended."""
        known = await self.parts.records.session(self.name, session_id)
        if known is None or known.state is State.RELEASED:
            return await Connector.follow(self, None, session_id)
        if not known.state.followed:
            raise Absent("session", session_id, "the session has ended")
        return known

    async def _beat(self, work_id: str, follower: Follower, task: asyncio.Task[None]) -> bool:
        """Keep the lease until the session has ended or rests; whether the work is still ours then."""
        last, lease, clock = NO_HEARTBEAT, LEASE_SECONDS, asyncio.get_running_loop().time
        kept_at, rests_since = clock(), None
        unheard = False
        while not task.done():
            try:
                async with asyncio.timeout(max(lease / 3, 1.0)):
                    said = await self.api.heartbeat(self.environment.id, work_id, last)
            except (ServiceError, TimeoutError) as error:
                status = getattr(error, "status", None)
                if status == HTTPStatus.PRECONDITION_FAILED and unheard and clock() - kept_at < lease:
                    # While the lease lasts nobody else is given the work: it was ours, and its answer was lost.
                    last, unheard = await self.api.latest_heartbeat(self.environment.id, work_id), False
                    continue
                unheard = unheard or getattr(error, "arrived", True)
                if status == HTTPStatus.PRECONDITION_FAILED or getattr(error, "final", False):
                    _log.error("the work is somebody else's now", status=status)
                    return False
                if clock() - kept_at > lease:
                    _log.error("the lease is over, as far as anybody here can tell")
                    return False
            else:
                kept_at, unheard = clock(), False
                last = str(said.get("last_heartbeat", ""))
                ttl = said.get("ttl_seconds")
                lease = float(ttl) if isinstance(ttl, int) and ttl > 0 else lease
                if said.get("state") in _OVER or said.get("lease_extended") is not True:
                    return said.get("state") in _OVER
            if not follower.following.conversation.resting:
                rests_since = None
            elif rests_since is None:
                rests_since = clock()
            elif clock() - rests_since >= self.rest_seconds:
                return True
            await asyncio.wait({task}, timeout=min(lease / 3, self.beat_max_seconds))
        return True

    async def _leave(self, session_id: str, follower: Follower | None) -> None:
        """Send nothing more, and end what runs."""
        held = self._followers.pop(session_id, None)
        if held is None or follower is None:
            return
        task = held[1]
        task.cancel()
        record = follower.following.record
        halts = self.parts.pipeline.freezes.halts
        halts.end(record.tenant, record.context_id, Reason.AGENTS_LEASE_LOST)
        await asyncio.gather(task, return_exceptions=True)
        await self._free(record)

    async def _give_back(self, work_id: str) -> None:
        try:
            await self.api.stop_work(self.environment.id, work_id)
        except HandrailError as error:
            _log.warning("work is not given back", reason=str(error.reason), detail=error.detail)

    async def _take_free(self) -> None:
        """Sessions are taken with their work alone."""

    async def follow(self, actor: Principal | None, session_id: str) -> SessionRecord:  # noqa: ARG002
        """Nobody asks for a session of an environment: its work comes by itself. Raises ``request.not_found``."""
        raise Absent("session", session_id)
