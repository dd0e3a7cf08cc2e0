"""What people may ask of what is held about them: to see it (GDPR art. 15), to have it erased (art. 17); and the holds
that stand against an erasure (art. 17(3)). Each is a right of the role ``privacy_officer``, and each is on record.

A person is asked for by one name: as the operator's pointers name them in calls, or as a principal. Both are meant.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import structlog

from audit.access import Access
from audit.erasure import Erasure, Erasures, Held
from audit.purge import Purge
from audit.reader import Reader
from audit.subjects import Hold, holds_of, lifting, new_id, setting
from audit.threads import at_length
from gateway.commitments import commit, person_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, Malformed, Refused
from gateway.model import PlanStatus, Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, AuditLog
from gateway.privacy.documents import entry_document, hold_document, value_document
from gateway.reasons import Conflict, Reason, because
from gateway.store.directory import SqlDirectory
from gateway.store.personal import Person, Personal
from gateway.times import format_time

ENDING_SECONDS: Final = 20.0
"""How long an erasure waits for the person's plans to end, once the person is revoked."""
_POLL_SECONDS: Final = 0.1
PURGE_SECONDS: Final = 600.0
_TO_COME: Final = "a time to come, in seconds since the epoch"

_log = structlog.get_logger("handrail.privacy")


class HoldCode(StrEnum):
    """Why somebody's data has to stay (GDPR art. 17(3))."""

    LEGAL_CLAIM = "legal_claim"
    """17(3)(e): to establish, exercise or defend legal claims."""
    LEGAL_OBLIGATION = "legal_obligation"
    """17(3)(b): a law demands that it is kept."""
    PUBLIC_INTEREST = "public_interest"
    """17(3)(c) and (d): public health, archiving, research."""
    EXPRESSION = "expression"
    """17(3)(a): freedom of expression and information."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would take, and what stays.

    Attributes:
        values: sealed values that would be destroyed, and
        shared: how many of them concern somebody else, too.
        rows: what of it -> rows that name the person.
        acts: answers and changes in office: kept as evidence unless asked for.
        holds: while one is in force, nothing can be erased.
    """

    keys: int
    values: int
    shared: int
    rows: Mapping[str, int]
    acts: int
    principal: bool
    plans_under_way: int
    holds: Sequence[Hold]

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not (self.keys or self.rows or self.acts)


class Privacy:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        log: AuditLog,
        reader: Reader,
        access: Access,
        erasures: Erasures,
        purge: Purge,
        personal: Personal,
        directory: SqlDirectory,
        payload_days: int,
        leave: Callable[[str, str], Awaitable[None]],
        settle: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts.

        Args:
            settle: ``Pipeline.settle``.
            leave: tenant and pseudonym -> what a person granted elsewhere is taken back there.
        """
        self._log = log
        self._reader = reader
        self._access = access
        self._erasures = erasures
        self._purge = purge
        self._personal = personal
        self._directory = directory
        self._payload_days = payload_days
        self._leave = leave
        self._settle = settle
        self._clock = clock
        self._purge_at = 0.0

    # --- erasure -----------------------------------------------------------------------------------------------------

    async def preview(self, actor: Principal, name: str) -> Preview:
        """What an erasure of a person would take.

        Raises:
            Refused: ``auth.forbidden``.
        """
        require(actor, Permission.PRIVACY_ERASE)
        holds = [hold for hold in await self._holds(actor.tenant) if hold.subject in (person_key(name), None)]
        return await at_length(self._preview, actor.tenant, name, holds)

    async def erase(self, actor: Principal, name: str, *, acts: bool = False) -> Erasure:
        """Have a person's data erased. From the answer on nothing of it opens any more; the rest follows in seconds.

        A principal is revoked first, and its plans come to their end.

        Args:
            acts: also what the person answered and changed in office. It is evidence about what was done to others;
                left alone, it goes with the retention of payloads.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``: nothing is held; ``privacy.held``;
                ``request.conflict``: the person's plans did not end in time, or it is the last security admin, or the
                officer themselves.
        """
        require(actor, Permission.PRIVACY_ERASE)
        person = await at_length(self._personal.person, actor.tenant, name)
        if person.pseudonym == actor.pseudonym:
            raise Refused(Reason.REQUEST_CONFLICT, "nobody erases themselves", **because(Conflict.ONESELF))
        shown = await self.preview(actor, name)
        held = await self._erasures.holding(actor.tenant, person_key(name), person.subjects(acts=acts))
        if held:
            raise await self._refused(actor, held)
        if shown.empty:
            raise Absent("data held about that person", detail="nothing is held about that person")
        if shown.principal:
            await self._directory.retire_principal(actor, name)
            await self._end_plans(person)
        if person.pseudonym is not None:
            await self._leave(actor.tenant, person.pseudonym)
        person = await at_length(self._personal.person, actor.tenant, name)
        writes = await at_length(self._personal.removing, person)
        try:
            erasure_id = await self._erasures.request(
                actor.tenant, person_key(name), person.subjects(acts=acts), by=actor.pseudonym, writes=writes
            )
        except Held as refusal:
            raise await self._refused(actor, refusal.holds) from None
        finally:
            self._directory.forget()
        return await self._erasures.state(actor.tenant, erasure_id)

    async def erasure(self, actor: Principal, erasure_id: str) -> Erasure:
        """How far an erasure is. Raises ``auth.forbidden`` or ``request.not_found``."""
        require(actor, Permission.PRIVACY_ERASE)
        return await self._erasures.state(actor.tenant, erasure_id)

    async def advance(self) -> None:
        """Carry erasures on, and see what others erased. Called by every gateway every second."""
        await self._erasures.advance()

    async def purge(self) -> None:
        """Delete payloads whose time is over. Called by every gateway every second; looks every ten minutes."""
        now = self._clock()
        if now >= self._purge_at:
            await self._purge.run(self._payload_days)
            self._purge_at = now + PURGE_SECONDS

    async def rotate_epoch(self, actor: Principal) -> None:
        """Replace the key above all data keys now, as it happens by itself when something is erased or grew old.

        Raises:
            Refused: ``auth.forbidden``.
            Unavailable: ``log.unavailable``.
        """
        require(actor, Permission.KEYS_MANAGE)
        await self._purge.rotate()

    # --- holds -------------------------------------------------------------------------------------------------------

    async def hold(self, actor: Principal, name: str, code: HoldCode, until: float | None) -> Hold:
        """Keep a person's data from being erased and from ending by its age.

        Args:
            until: seconds since the epoch; ``None`` until it is lifted.

        Raises:
            Refused: ``auth.forbidden``.
            Malformed: ``until`` is over: such a hold would keep nothing.
        """
        require(actor, Permission.PRIVACY_HOLD)
        if until is not None and until <= self._clock():
            raise Malformed("a hold that is over", pointer="/until", expected=_TO_COME)
        hold = Hold(
            new_id(), actor.tenant, person_key(name), str(code), float(int(self._clock())), actor.pseudonym, until
        )
        facts: dict[str, str | int] = {"hold": hold.hold_id, "code": hold.code}
        if until is not None:
            facts["until"] = int(until)
        entry = EntryDraft(EntryType.HOLD_SET, actor.tenant, principal=actor.pseudonym, facts=facts)
        async with self._erasures.steady() as every:
            await self._log.append(Append([entry], [setting(every[-1], hold)]))
        return hold

    async def holds(self, actor: Principal) -> list[Hold]:
        """Every hold of the tenant that was not lifted. Raises ``auth.forbidden``."""
        require(actor, Permission.PRIVACY_HOLD)
        return await self._holds(actor.tenant)

    async def lift(self, actor: Principal, hold_id: str) -> Hold:
        """End a hold. Raises ``auth.forbidden`` or ``request.not_found``."""
        require(actor, Permission.PRIVACY_HOLD)
        found = next((hold for hold in await self._holds(actor.tenant) if hold.hold_id == hold_id), None)
        if found is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such hold")
        facts = {"hold": hold_id, "code": found.code}
        entry = EntryDraft(EntryType.HOLD_LIFTED, actor.tenant, principal=actor.pseudonym, facts=facts)
        await self._log.append(Append([entry], [lifting(hold_id)]))
        return found

    # --- access ------------------------------------------------------------------------------------------------------

    async def access(self, actor: Principal, name: str) -> AsyncIterator[tuple[str, Any]]:
        """Everything held about a person, in parts: ``("about", {...})``, ``("rows", {...})``, then many times
        ``("value", {...})`` and ``("entry", {...})``, and ``("end", {...})``.

        The reading is on record before the first part.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``.
        """
        require(actor, Permission.PRIVACY_ACCESS)
        person, keys = await at_length(self._found, actor.tenant, name)
        rows = await at_length(self._personal.rows, person)
        holds = [hold_document(hold) for hold in await self._holds(actor.tenant) if hold.subject == person_key(name)]
        if not (keys or rows or holds):
            raise Absent("data held about that person", detail="nothing is held about that person")
        entry = EntryDraft(
            EntryType.EXPORT_MADE,
            actor.tenant,
            principal=actor.pseudonym,
            facts={"what": "subject_access"},
            fields={"subject": commit(name.encode(), person_key(name))},
        )
        await self._log.append(Append([entry]))
        return self._parts(person, keys, rows, holds, name)

    async def _parts(
        self, person: Person, keys: Sequence[Any], rows: Mapping[str, Any], holds: Sequence[Any], name: str
    ) -> AsyncIterator[tuple[str, Any]]:
        yield (
            "about",
            {
                "v": 1,
                "tenant": person.tenant,
                "person": name,
                "pseudonym": person.pseudonym,
                "made_at": format_time(self._clock()),
                "log": self._log.origin,
            },
        )
        yield "rows", {**rows, **({"holds": holds} if holds else {})}
        count = {"values": 0, "entries": 0}
        seen: set[str] = set()
        indices: set[int] = set()
        async for value in _in_threads(self._access.values(keys)):
            if value.commitment not in seen:
                seen.add(value.commitment)
                indices.add(value.index)
                count["values"] += 1
                yield "value", value_document(value)
        told: set[int] = set()
        if person.pseudonym is not None:
            async for entry in _in_threads(self._access.entries_of(person.tenant, person.pseudonym)):
                told.add(entry.index)
                count["entries"] += 1
                yield "entry", entry_document(entry)
        async for entry in _in_threads(self._access.entries_at(indices - told)):
            count["entries"] += 1
            yield "entry", entry_document(entry)
        yield "end", count

    # --- inside ------------------------------------------------------------------------------------------------------

    def _found(self, tenant: str, name: str) -> tuple[Person, list[Any]]:
        person = self._personal.person(tenant, name)
        return person, self._access.keys(tenant, [person_key(name), *person.subjects(acts=True)])

    def _preview(self, tenant: str, name: str, holds: Sequence[Hold]) -> Preview:
        person = self._personal.person(tenant, name)
        keys = self._access.keys(tenant, [person_key(name), *person.subjects(acts=False)])
        values, shared = self._access.count(keys)
        rows = {what: len(found) for what, found in self._personal.rows(person).items()}
        acts = sum(rows.pop(what, 0) for what in _ACTS)
        under_way = len(self._personal.under_way(person))
        return Preview(len(keys), values, shared, rows, acts, "principal" in rows, under_way, holds)

    async def _holds(self, tenant: str) -> list[Hold]:
        async with self._erasures.steady() as every:
            return await at_length(self._read_holds, every, tenant)

    def _read_holds(self, every: Any, tenant: str) -> list[Hold]:
        with self._reader.connect() as connection:
            return holds_of(connection, every, tenant)

    async def _end_plans(self, person: Person) -> None:
        until = time.monotonic() + ENDING_SECONDS
        while found := await at_length(self._personal.under_way, person):
            if time.monotonic() > until:
                detail = f"{len(found)} plans of that person are under way"
                raise Refused(Reason.REQUEST_CONFLICT, detail, **because(Conflict.PLANS_UNDER_WAY))
            with contextlib.suppress(TimeoutError):  # one was approved at that very moment, and takes long
                async with asyncio.timeout(until - time.monotonic()):
                    for plan_id in [plan_id for plan_id, status in found.items() if status is PlanStatus.WAITING]:
                        await self._settle(plan_id)  # which ends what waits for people: whoever asked is revoked
            await asyncio.sleep(_POLL_SECONDS)

    async def _refused(self, actor: Principal, holds: Sequence[Hold]) -> Refused:
        facts = {"holds": ",".join(sorted(hold.hold_id for hold in holds))}
        entry = EntryDraft(
            EntryType.ERASURE_REFUSED,
            actor.tenant,
            principal=actor.pseudonym,
            reasons=(str(Reason.PRIVACY_HELD),),
            facts=facts,
        )
        await self._log.append(Append([entry]))
        return Refused(
            Reason.PRIVACY_HELD,
            "a hold stands against it",
            holds=", ".join(f"{hold.hold_id} ({hold.code})" for hold in holds),
        )


_ACTS: Final = ("answers", "proposals", "policy_bundles", "policy_activations", "policy_shadows")


async def _in_threads(items: Iterator[Any]) -> AsyncIterator[Any]:
    """An iterator that reads the database, taken a hundred at a time in a thread."""

    def some() -> list[Any]:
        return list(islice(items, 100))

    while batch := await at_length(some):
        for item in batch:
            yield item
