"""One workspace at Anthropic: which of its sessions are followed, and by which gateway.

A session is followed by one gateway at a time: a lease in its row, renewed while that gateway lives, and taken over
where it does not. Every write about a session rests on that lease.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog

from gateway.canonical import canonical
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Overtaken, Refused, Unavailable
from gateway.managed_agents import events, policies
from gateway.managed_agents.answering import Answerer
from gateway.managed_agents.conversation import Conversation
from gateway.managed_agents.events import SESSION_ID
from gateway.managed_agents.follower import Follower
from gateway.managed_agents.following import Following, Parts
from gateway.managed_agents.judging import Judge
from gateway.managed_agents.mapping import Tools
from gateway.managed_agents.service import ServiceError
from gateway.model import Principal
from gateway.ports import Append
from gateway.ports.managed_agents import SessionRecord, State
from gateway.reasons import Conflict, Reason, because
from gateway.settings import ManagedAgentsSettings
from gateway.store.leases import LEASE_SECONDS, RENEW_SECONDS

if TYPE_CHECKING:
    from gateway.managed_agents.api import SessionsApi

_log = structlog.get_logger("handrail.managed_agents")


@contextmanager
def _asked_for(kind: str, named: str) -> Iterator[None]:
    """What somebody asks for and the service does not know is not there, as of what this gateway does not know."""
    try:
        yield
    except ServiceError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise Absent(kind, named, f"the service knows no {kind}") from None
        raise


def tools_of(settings: ManagedAgentsSettings) -> Tools:
    """The operator's word on the tools."""
    return Tools(settings.toolset_hand, settings.mcp_hands, settings.custom_tools)


def tools_here(settings: ManagedAgentsSettings) -> Tools:
    """The same for sessions of the self-hosted environment: some tools of the toolset are run here."""
    here = {} if settings.environment is None else settings.environment.tools
    return replace(tools_of(settings), here=here)


@dataclass(slots=True)
class Connector:
    """One workspace, as this gateway follows its sessions."""

    name: str
    settings: ManagedAgentsSettings
    api: "SessionsApi"
    parts: Parts
    renew_seconds: float = RENEW_SECONDS
    _followers: dict[str, tuple[Follower, asyncio.Task[None]]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tools(self) -> Tools:
        """See :func:`tools_of`."""
        return tools_of(self.settings)

    @property
    def looks_seconds(self) -> float:
        """How often what is new is looked for."""
        return self.settings.discover_seconds

    def start(self) -> None:
        """Begin to follow."""
        self._tasks = [
            asyncio.create_task(self._every(self.looks_seconds, self._discover, "agents' sessions wait")),
            asyncio.create_task(self._every(self.renew_seconds, self._renew, "leases of agents' sessions wait")),
        ]

    async def close(self) -> None:
        """Stop following, and leave the sessions to the other gateways at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        followers = list(self._followers.values())
        for _, task in followers:
            task.cancel()
        await asyncio.gather(*(task for _, task in followers), return_exceptions=True)
        for follower, _ in followers:
            await self._free(follower.following.record)
        self._followers.clear()
        await self.api.close()

    async def _free(self, record: SessionRecord) -> None:
        """Leave a session to the other gateways at once."""
        try:
            await self.parts.log.append(Append((), [self.parts.records.leave(record, self.parts.clock())]))
        except HandrailError as error:
            _log.info("a session is left when its lease is over", reason=str(error.reason))

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def follow(self, actor: Principal | None, session_id: str) -> SessionRecord:
        """Follow a session from now on, for ever; of one that was let go, again.

        Args:
            actor: who asks for it; ``None`` where the configuration does.

        Raises:
            Refused: ``request.conflict`` (``agents.followed``); ``request.not_found`` where the service has no such
                session, or the connector's principal is no more.
            Unavailable: ``agents.refused``, ``agents.unavailable``, ``log.unavailable``, ``secret.*``.
        """
        if SESSION_ID.fullmatch(session_id) is None:
            raise Absent("session", session_id)
        known = await self.parts.records.session(self.name, session_id)
        if known is not None and known.state is not State.RELEASED:
            raise Refused(Reason.REQUEST_CONFLICT, "followed before", **because(Conflict.AGENT_SESSION))
        person = await self.parts.pipeline.directory.principal(self.settings.tenant, self.settings.on_behalf_of)
        with _asked_for("session", session_id):
            session = await self.api.session(session_id)
        agent = session.get("agent")
        agent_id = str(agent.get("id", ""))[:128] if isinstance(agent, Mapping) else ""
        so_far = Conversation()
        so_far.hear_all(events.read(document) for document in await self.api.events(session_id))
        record = SessionRecord(
            connector=self.name,
            session_id=session_id,
            tenant=self.settings.tenant,
            subject=person.pseudonym,
            agent_id=agent_id,
            context_id=self._context_id(person, session_id),
            state=State.FOLLOWING,
            adopted_at=self.parts.clock(),
            since=so_far.newest,
        )
        entry = EntryDraft(
            EntryType.AGENT_SESSION_ADOPTED,
            record.tenant,
            context_id=record.context_id,
            principal=record.subject if actor is None else actor.pseudonym,
            facts={"connector": self.name, "session": session_id, "agent": agent_id},
        )
        if known is None:
            await self.parts.log.append(Append([entry], guards=[self.parts.records.insert_session(record)]))
        else:
            await self.parts.log.append(Append([entry], [self.parts.records.save_session(record)]))
        self._wake.set()
        return record

    async def release(self, actor: Principal, session_id: str) -> SessionRecord:
        """Let a session go: nobody here answers its tool uses any more.

        Raises:
            Refused: ``request.not_found``.
            Unavailable: ``log.unavailable``.
        """
        known = await self.parts.records.session(self.name, session_id)
        if known is None or not known.state.followed:
            raise Absent("session", session_id)
        released = replace(known, state=State.RELEASED)
        entry = EntryDraft(
            EntryType.AGENT_SESSION_ENDED,
            known.tenant,
            context_id=known.context_id,
            principal=actor.pseudonym,
            facts={"connector": self.name, "session": session_id, "released": "yes"},
        )
        records = self.parts.records
        await self.parts.log.append(Append([entry], [records.save_session(released), records.drop(released)]))
        follower = self._followers.get(session_id)
        if follower is not None:
            follower[0].lose()
        return released

    async def needs(self, agent_id: str) -> tuple[Mapping[str, Any], policies.Needs]:
        """An agent as it is, and what it needs.

        Raises:
            Refused: ``request.not_found``.
            Unavailable: ``agents.refused``, ``agents.unavailable``.
        """
        with _asked_for("agent", agent_id):
            agent = await self.api.agent(agent_id)
        return agent, policies.needs(agent, self.tools)

    async def set_policies(self, actor: Principal, agent_id: str) -> tuple[Mapping[str, Any], policies.Needs]:
        """Give an agent the policies that it needs; as it is then. On record before it is asked for.

        Raises:
            Refused: ``request.conflict`` (``agents.changed``) where it was changed meanwhile; ``agents.refused``.
            Unavailable: ``agents.unavailable``, ``log.unavailable``.
        """
        agent, needed = await self.needs(agent_id)
        if not needed.open:
            return agent, needed
        entry = EntryDraft(
            EntryType.AGENT_POLICIES_SET,
            self.settings.tenant,
            principal=actor.pseudonym,
            facts={"connector": self.name, "agent": agent_id[:128], "closed": len(needed.open)},
        )
        await self.parts.log.append(Append([entry]))
        version = agent.get("version")
        if not isinstance(version, int):
            raise Unavailable(Reason.AGENTS_UNAVAILABLE, "an agent without a version")
        try:
            changed = await self.api.set_tools(agent_id, version, policies.asking(agent, self.tools.here))
        except ServiceError as error:
            if error.status == HTTPStatus.CONFLICT:
                raise Refused(Reason.REQUEST_CONFLICT, "changed meanwhile", **because(Conflict.AGENT_CHANGED)) from None
            raise
        return changed, policies.needs(changed, self.tools)

    def leave(self) -> None:
        """Take no further session and no further tool use: the gateway is about to stop."""
        self.parts.leaving = True

    def problem(self, session_id: str) -> HandrailError | None:
        """Why a session is not followed at this moment, by this gateway."""
        follower = self._followers.get(session_id)
        return None if follower is None else follower[0].problem

    def unseen(self, session_id: str) -> list[str]:
        """What a session waits for and nobody here can read."""
        follower = self._followers.get(session_id)
        return [] if follower is None else sorted(follower[0].following.conversation.unseen())

    def _context_id(self, person: Principal, session_id: str) -> str:
        """One context for each session; a hash, so that nobody else can take the name first."""
        owner = canonical([person.tenant, person.pseudonym, self.name, session_id])
        return f"agents-{hashlib.sha256(owner).hexdigest()[:32]}"

    # --- its life ----------------------------------------------------------------------------------------------------

    async def _every(self, seconds: float, work: Callable[[], Any], trouble: str) -> None:
        while True:
            try:
                await work()
                self.parts.troubles.over(trouble, self.name)
            except HandrailError as error:
                self.parts.troubles.tell(trouble, self.name, error)
            except Exception:  # noqa: BLE001
                _log.exception(trouble)
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _discover(self) -> None:
        """Adopt what the configuration names, and take what nobody follows."""
        if self.parts.leaving:
            return
        try:
            hosted = None if self.settings.environment is None else self.settings.environment.id
            for agent_id in self.settings.agents:
                for session in await self.api.sessions(agent_id, self.settings.sessions_max):
                    session_id = session.get("id")
                    if hosted is not None and session.get("environment_id") == hosted:
                        continue  # such a session is served with the work for it
                    if isinstance(session_id, str) and session_id not in self._followers:
                        await self._adopt(session_id)
        finally:
            await self._take_free()

    async def _adopt(self, session_id: str) -> None:
        if SESSION_ID.fullmatch(session_id) and await self.parts.records.session(self.name, session_id) is None:
            try:
                await self.follow(None, session_id)
                self.parts.troubles.over("a session is not adopted", session_id)
            except Refused as error:
                self.parts.troubles.tell("a session is not adopted", session_id, error)

    async def _take_free(self) -> None:
        """Follow sessions that no gateway follows now."""
        for name in [name for name, (_, task) in self._followers.items() if task.done()]:
            del self._followers[name]
        room = self.settings.sessions_max - len(self._followers)
        now = self.parts.clock()
        for record in await self.parts.records.free(self.name, now, max(room, 0)):
            if record.session_id not in self._followers:
                await self._take(record)
        self.parts.metrics.agent_sessions.labels(self.name).set(len(self._followers))

    async def _take(self, record: SessionRecord) -> None:
        try:
            await self._lease(record)
        except Overtaken:
            return
        following = Following(record, self.tools, self.api, self.settings.on_behalf_of, self.settings.timeout_seconds)
        following.conversation.runs_here = frozenset(self.tools.here)
        following.uses = {use.event_id: use for use in await self.parts.records.uses(self.name, record.session_id)}
        follower = Follower(following, self.parts, Judge(self.parts, Answerer(self.parts)))
        self._followers[record.session_id] = (follower, asyncio.create_task(follower.run()))

    async def _renew(self) -> None:
        """Keep the leases. Where another gateway took one over, this one stops at once."""
        for follower, task in list(self._followers.values()):
            if task.done():
                continue
            try:
                await self._lease(follower.following.record)
            except Overtaken:
                follower.lose()

    async def _lease(self, record: SessionRecord) -> None:
        """Follow a session for a while. Raises ``Overtaken`` where another gateway does, or nobody is to."""
        now = self.parts.clock()
        unless, taken = self.parts.records.take(record, now, now + LEASE_SECONDS)
        await self.parts.log.append(Append((), [taken], unless=unless))
