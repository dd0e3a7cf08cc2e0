"""Freezing: one person stops something at once; two people lift it. Every gateway process follows the log.

Three things stop what is frozen, and none of them rests on another:

- No intent is recorded beside a freeze. The append is refused in its own transaction where another gateway froze
  something since this one looked (``Append.rests_on``), so there is no moment in which a freeze is on record and not
  known.
- A call under way is ended when this process hears of the freeze: at once where it was set here, else by a look at the
  log every :data:`POLL_SECONDS`. Where the log cannot be read for :data:`BLIND_SECONDS`, every call is ended: nobody
  can say what is frozen.
- What waits is void: a step that was decided before a freeze does not go after it, also where it was lifted since.

A freeze takes effect in this process before it is on record, so a log that cannot be written keeps nobody from
stopping. The home keeps a copy of what is frozen: a database that was restored from an older backup thaws nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Malformed, Refused, Unavailable
from gateway.freeze import EVERYTHING, Cause, Freeze, FreezeState, Scope, merged
from gateway.freeze_journal import JournalKeeper
from gateway.halts import Halts
from gateway.model import Principal, Role
from gateway.ports import FREEZES, Append, AuditLog, Directory, FreezeStore, Journal, Payloads, Topic
from gateway.proposals.handlers import Effects
from gateway.reasons import Conflict, Reason, because
from gateway.telemetry import Metrics
from gateway.two_person import Proposal

POLL_SECONDS: Final = 0.5
BLIND_SECONDS: Final = 4.0
"""Together with the time that a call takes to end, less than the five seconds in which a freeze stops everything."""
COUNT_SECONDS: Final = 1.0
"""How long a freeze waits to know how much it stops."""
SWEEP_SECONDS: Final = 1.0
"""How long a look waits for what is void to end, before it looks at the log again."""
WHY_MAX: Final = 2000
"""Characters of the words that say why."""
_SWEEP: Final = 64

_log = structlog.get_logger("handrail.freeze")


@dataclass(frozen=True, slots=True)
class FreezeOrder:
    """A freeze that somebody asks for.

    Attributes:
        subject: hand, principal or context by its id; ``None`` for all.
        why: words for people, erasable; nothing of them is in the entry.
    """

    scope: Scope
    subject: str | None = None
    cause: Cause = Cause.OTHER
    why: str | None = None


@dataclass(slots=True)
class Freezing:
    """``ports.Freezes``, and setting freezes. Belongs to one event loop.

    Attributes:
        declared: tenant and hand -> whether the hand is declared for the tenant.
        rest: have a hand's processes and connections end.
        wake: have every plan under way look at what is frozen.
        resume: take a plan up, so that what is frozen of it ends.
    """

    log: AuditLog
    payloads: Payloads
    store: FreezeStore
    journal: Journal
    directory: Directory
    metrics: Metrics
    declared: Callable[[str, str], bool]
    rest: Callable[[str], Coroutine[Any, Any, None]]
    clock: Callable[[], float] = time.time
    wake: Callable[[], None] = lambda: None
    resume: Callable[[str], Awaitable[None]] | None = None
    halts: Halts = field(init=False)
    problem: HandrailError | None = None
    """Why the last look at the log failed."""
    _state: FreezeState = field(default_factory=FreezeState)
    _why: dict[str, str] = field(default_factory=dict)
    """Freeze -> commitment of its words."""
    _words: dict[str, FreezeOrder] = field(default_factory=dict)
    """Those that are not on record yet, as they were asked for."""
    _seen_at: float = float("-inf")
    _unswept: dict[str, Freeze] = field(default_factory=dict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _keeper: JournalKeeper = field(init=False)
    _task: asyncio.Task[None] | None = None
    _resting: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.halts = Halts(lambda: self._state)
        self._keeper = JournalKeeper(self.journal, lambda: self._state.in_force)
        self.metrics.freezes.set_function(lambda: len(self._state.in_force))

    # --- ports.Freezes -----------------------------------------------------------------------------------------------

    @property
    def now(self) -> FreezeState:
        """See ``ports.Freezes``."""
        return self._state

    async def current(self) -> FreezeState:
        """See ``ports.Freezes``."""
        if self._outdated():
            async with self._reading:
                if self._outdated():  # who waited for another's reading has what it found
                    await self._take_in()
        return self._state

    def stands(self, state: FreezeState) -> bool:
        """See ``ports.Freezes``."""
        return state.freezes is self._state.freezes

    def rests_on(self) -> Mapping[Topic, int]:
        """See ``ports.Freezes``."""
        return {FREEZES: self._state.as_of}

    def check_acts(self, person: Principal) -> None:
        """Raises ``freeze.active`` for whoever is frozen."""
        self._state.check_acts(person)

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn what is frozen before the first plan, and follow it from then on.

        Raises:
            HandrailError: it cannot be known what is frozen.
        """
        self.log.others.watch(FREEZES)
        kept = await asyncio.to_thread(self.journal.load)
        await self.refresh()
        missing = [replace(one, index=None) for one in kept if one.id not in self._state.freezes]
        if missing:
            _log.error("the log does not know freezes that this home does: they stay", freezes=len(missing))
            await self._publish({**self._state.freezes, **{one.id: one for one in missing}}, self._state.as_of)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, *self._resting, return_exceptions=True)
        await self._keeper.close()

    async def refresh(self) -> None:
        """Read on in the log, and stop what was frozen since. Raises ``HandrailError``."""
        async with self._reading:
            await self._take_in()

    async def look(self) -> None:
        """One turn of following: look at the log; where it cannot be read for too long, end everything that runs."""
        try:
            await self.refresh()
        except HandrailError as error:
            if time.monotonic() - self._seen_at > BLIND_SECONDS and (ended := self.halts.everything()):
                self.metrics.freeze_stopped.labels("blind").inc(ended)
                _log.error("it cannot be known what is frozen: every call was ended", calls=ended, detail=error.detail)
            return
        await self._settle()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - whatever it was, the next look is due
                _log.exception("following freezes failed")

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def list(self, viewer: Principal, *, lifted: bool = False) -> dict[str, Any]:
        """What is frozen for the viewer's tenant, oldest first: ``{freezes}``.

        Who is bound to hands sees those of their hands and of everything, and none of a person or a context.

        Args:
            lifted: those that were lifted, too.
        """
        await self.current()
        reached = [one for one in self._state.freezes.values() if one.reaches(viewer.tenant)]
        shown = [one for one in reached if (lifted or not one.lifted) and self._concerns(one, viewer)]
        return {"freezes": [await self._view(one, viewer) for one in sorted(shown, key=lambda one: one.at)]}

    def _concerns(self, one: Freeze, viewer: Principal) -> bool:
        """Whether a freeze is of everything, or within the viewer's tenant and the hands that they are bound to."""
        if one.scope is Scope.HAND:
            return viewer.may_use(one.subject) and (
                one.tenant == viewer.tenant or self.declared(viewer.tenant, one.subject)
            )
        return one.scope is Scope.ALL or viewer.hands is None

    async def set(self, actor: Principal, asked: FreezeOrder) -> tuple[dict[str, Any], bool]:
        """Freeze at once, on one person's word.

        Returns:
            The freeze, and whether it is new: what is frozen is not frozen twice. Where ``recorded`` is false it holds
            in this process alone until the log can be written.

        Raises:
            Refused: ``request.not_found`` where there is nothing of that name; ``request.conflict`` for oneself;
                ``auth.forbidden`` for a security admin, whom only a security admin freezes.
            Unavailable: it cannot be looked up whom the id names.
        """
        subject = await self._subject(actor, asked)
        new = Freeze(
            id=secrets.token_hex(8),
            tenant=actor.tenant,
            scope=asked.scope,
            subject=subject,
            cause=asked.cause,
            by=actor.pseudonym,
            at=self.clock(),
        )
        same = [one for one in self._state.in_force if one.key == new.key]
        if same:
            return await self._view(same[0], actor), False
        held = 0
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                elsewhere, held = await self.store.counts(new)
        except (HandrailError, TimeoutError):
            _log.warning("what a freeze stops was not counted: that must not delay it")
            elsewhere = 0
        here = self.halts.count(FreezeState.of([new], 0))
        new = replace(new, running=here + elsewhere, held=held)
        self._words[new.id] = replace(asked, subject=actor.id)
        # First it stops here; then it is put on record, by which all others hear of it.
        await self._publish({**self._state.freezes, new.id: new}, self._state.as_of)
        try:
            await self._record(new)
        except Unavailable as error:
            _log.error("a freeze is not on record yet", freeze=new.id, reason=str(error.reason), detail=error.detail)
        return await self._view(self._state.freezes[new.id], actor), True

    # --- lifting: a kind of proposal ---------------------------------------------------------------------------------

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        """See ``proposals.Handler``: ``{"freeze": id}``."""
        freeze = document.get("freeze")
        if document.keys() != {"freeze"} or not isinstance(freeze, str):
            raise Malformed("members", pointer="/document", expected="freeze")
        await self.refresh()
        found = self._state.freezes.get(freeze)
        if found is None or found.lifted or found.tenant != actor.tenant:
            raise Absent("freeze to lift", freeze)
        return freeze

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        """See ``proposals.Handler``."""
        await self.refresh()
        self._state.check_acts(actor)
        found = self._state.freezes.get(proposal.subject)
        if found is None or found.lifted or found.index is None or found.tenant != actor.tenant:
            raise Refused(Reason.PROPOSAL_OUTDATED, "the freeze is lifted, or not on record yet")
        return Effects(facts={"freeze": found.id, "scope": str(found.scope), "mac": self.store.mac(found)})

    async def applied(self, proposal: Proposal) -> None:  # noqa: ARG002 - the log is read anew
        """See ``proposals.Handler``."""
        await self.refresh()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _outdated(self) -> bool:
        known = self.log.others.in_step(FREEZES, self._state.as_of)
        return not known or time.monotonic() - self._seen_at > BLIND_SECONDS

    async def _take_in(self) -> None:
        try:
            told = await self.store.read(self._state.as_of)
        except HandrailError as error:
            self.problem = error
            raise
        self.problem = None
        self._seen_at = time.monotonic()
        self._why.update(told.why)
        found = merged(self._state.freezes, told) if told.set or told.lifted else None
        await self._publish(found, max(told.size, self._state.as_of))

    async def _subject(self, actor: Principal, asked: FreezeOrder) -> str:
        name = asked.subject
        if asked.scope is Scope.ALL:
            if name is not None:
                raise Malformed("subject", pointer="/subject", expected="nothing: all is all")
            return EVERYTHING
        if name is None:
            raise Malformed("subject", pointer="/subject", expected=f"the id of a {asked.scope}")
        if asked.scope is Scope.HAND:
            if not actor.may_use(name) or not self.declared(actor.tenant, name):
                raise Absent("hand", name)
            return name
        if asked.scope is Scope.CONTEXT:
            if not await self.store.knows_context(actor.tenant, name):
                raise Absent("context", name)
            return name
        person = await self.directory.principal(actor.tenant, name)
        if person.pseudonym == actor.pseudonym:
            raise Refused(Reason.REQUEST_CONFLICT, "oneself", **because(Conflict.FREEZE_ONESELF))
        if Role.SECURITY_ADMIN in person.roles and Role.SECURITY_ADMIN not in actor.roles:
            # Or an operator could freeze everybody who can add principals, and nobody were left to lift it.
            raise Refused(Reason.AUTH_FORBIDDEN, "a security admin is frozen by another one")
        return person.pseudonym

    async def _record(self, freeze: Freeze) -> None:
        """Put a freeze on record. Raises ``Unavailable``; it is tried again. Written twice it is one freeze."""
        asked = self._words.get(freeze.id)
        fields = {}
        if asked is not None and asked.why:
            fields["why"] = commit(asked.why.encode(), subject_key(freeze.tenant, asked.subject or "", "@freezes"))
        draft = EntryDraft(
            EntryType.FROZEN,
            freeze.tenant,
            context_id=freeze.subject if freeze.scope is Scope.CONTEXT else None,
            principal=freeze.by,
            hand=freeze.subject if freeze.scope is Scope.HAND else None,
            facts=freeze.facts(),
            fields=fields,
        )
        (index,) = await self.log.append(Append([draft]))
        self._words.pop(freeze.id, None)
        if fields:
            self._why[freeze.id] = fields["why"].commitment
        known = self._state.freezes[freeze.id]
        if known.index is None:
            await self._publish({**self._state.freezes, freeze.id: replace(known, index=index)}, self._state.as_of)

    async def _publish(self, freezes: Mapping[str, Freeze] | None, as_of: int) -> None:
        """Take a new state, and stop what it stops.

        Args:
            freezes: ``None`` where nothing was frozen or lifted.
        """
        if freezes is None:
            self._state = replace(self._state, as_of=as_of)
            return
        before = self._state
        self._state = state = FreezeState.of(freezes.values(), as_of)
        if ended := self.halts.apply(state):
            self.metrics.freeze_stopped.labels("freeze").inc(ended)
        new = [one for one in state.in_force if one.id not in before.freezes]
        for one in new:
            _log.error("frozen", freeze=one.id, scope=str(one.scope), cause=str(one.cause), tenant=one.tenant)
            self._unswept[one.id] = one
        for one in before.in_force:
            if state.freezes[one.id].lifted:
                _log.warning("lifted", freeze=one.id, scope=str(one.scope), tenant=one.tenant)
        self.wake()
        for one in new:
            if one.scope is Scope.HAND:
                task = asyncio.get_running_loop().create_task(self.rest(one.subject))
                self._resting.add(task)
                task.add_done_callback(self._resting.discard)
        await self._keeper.follow()

    async def _settle(self) -> None:
        """Put on record what is not, and end what waits and is frozen."""
        for one in self._state.in_force:
            if one.index is None:
                await self._record(one)
        with suppress(TimeoutError):  # what is left is looked at again: a plan may have a call that goes on for long
            async with asyncio.timeout(SWEEP_SECONDS):
                for one in list(self._unswept.values()):
                    found = await self.store.waiting(one, _SWEEP)
                    if self.resume is not None:
                        await asyncio.gather(*map(self.resume, found))
                    if len(found) < _SWEEP:
                        self._unswept.pop(one.id, None)

    async def _view(self, one: Freeze, viewer: Principal) -> dict[str, Any]:
        shown = one.document()
        if one.scope is not Scope.ALL:
            shown["subject"] = one.subject
        if one.tenant != viewer.tenant:
            return shown
        try:
            names = await self.directory.names(one.tenant, [one.by, one.subject])
            why = await self.payloads.open([self._why[one.id]]) if one.id in self._why else {}
        except HandrailError:
            return shown
        if one.scope is Scope.PRINCIPAL:
            shown |= {"subject": names.get(one.subject, one.subject), "pseudonym": one.subject}
        words = [value.decode() for _, value in why.values()]
        return {**shown, "by": names.get(one.by, one.by), "why": words[0] if words else None}
