"""Freezes: what one person stopped, what they reach, and what they void. Rules alone: no clock, database or network.

The log is the only table of freezes. A ``frozen`` entry stops what it names until an ``unfrozen`` entry, which two
people brought about, lifts it. Lifting resumes nothing: what was decided before a freeze stays void after it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from gateway.errors import Refused
from gateway.model import DEFAULT_TENANT, Plan, Principal
from gateway.reasons import Reason
from gateway.times import format_time

EVERY_TENANT: Final = "*"
EVERYTHING: Final = "*"
"""The subject of a freeze of all."""


class Scope(StrEnum):
    """What a freeze names. Closed."""

    ALL = "all"
    HAND = "hand"
    PRINCIPAL = "principal"
    CONTEXT = "context"


class Cause(StrEnum):
    """Why something was frozen: the code that the log keeps. Words beside it are erasable."""

    KEY_COMPROMISED = "key_compromised"
    HAND_POISONED = "hand_poisoned"
    AGENT_RUNAWAY = "agent_runaway"
    ACCESS_STOLEN = "access_stolen"
    LOG_SUSPECTED = "log_suspected"
    DRILL = "drill"
    OTHER = "other"


Key = tuple[Scope, str, str]
"""Scope, tenant (or :data:`EVERY_TENANT`) and subject."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze.

    Attributes:
        id: 16 hexadecimal digits.
        tenant: of whoever set it. A freeze of all, or of a hand, by the gateway's own tenant reaches every tenant.
        subject: the hand's id, the principal's pseudonym, the context's id, or :data:`EVERYTHING`.
        by: pseudonym of whoever set it.
        at: seconds since the epoch.
        running: steps that ran when it was set.
        held: approval requests that waited when it was set.
        index: of its entry in the log; ``None`` until it is on record, which keeps it from nothing.
        lifted: whether two people lifted it.
    """

    id: str
    tenant: str
    scope: Scope
    subject: str
    cause: Cause
    by: str
    at: float
    running: int = 0
    held: int = 0
    index: int | None = None
    lifted: bool = False

    @property
    def reach(self) -> str:
        """The tenant that it stops, or :data:`EVERY_TENANT`."""
        wide = self.tenant == DEFAULT_TENANT and self.scope in {Scope.ALL, Scope.HAND}
        return EVERY_TENANT if wide else self.tenant

    @property
    def key(self) -> Key:
        """What it stops: two freezes of one key stop the same."""
        return self.scope, self.reach, self.subject

    def reaches(self, tenant: str) -> bool:
        """Whether it stops something of the tenant."""
        return self.reach in {tenant, EVERY_TENANT}

    def facts(self) -> dict[str, str | int]:
        """What its entry says in clear."""
        return {
            "freeze": self.id,
            "scope": str(self.scope),
            "subject": self.subject,
            "cause": str(self.cause),
            "running": self.running,
            "held": self.held,
        }

    def document(self) -> dict[str, Any]:
        """As the API shows it; who and why are added by who may see it."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "scope": str(self.scope),
            "cause": str(self.cause),
            "at": format_time(self.at),
            "running": self.running,
            "held": self.held,
            "every_tenant": self.reach == EVERY_TENANT,
            "log_index": self.index,
            "recorded": self.index is not None,
            "lifted": self.lifted,
        }


@dataclass(frozen=True, slots=True)
class Concern:
    """What somebody is about to do, or is doing.

    Attributes:
        people: pseudonyms of everybody it rests on: subject and caller of a plan, and who approved.
        since: log index of the record that lets it go; ``None`` where there is none yet.
    """

    tenant: str
    people: Collection[str] = ()
    hand: str | None = None
    context_id: str | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class FreezeState:
    """Every freeze that is known, and how far the log was read for them.

    Attributes:
        freezes: by id, lifted ones too: they void what was decided before them.
        as_of: size of the log that was read.
    """

    freezes: Mapping[str, Freeze] = field(default_factory=lambda: MappingProxyType({}))
    as_of: int = 0
    _by_key: Mapping[Key, tuple[Freeze, ...]] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def of(cls, freezes: Iterable[Freeze], as_of: int) -> "FreezeState":
        """The state of these freezes."""
        known = {one.id: one for one in freezes}
        by_key: dict[Key, tuple[Freeze, ...]] = {}
        for one in known.values():
            by_key[one.key] = (*by_key.get(one.key, ()), one)
        return cls(MappingProxyType(known), as_of, MappingProxyType(by_key))

    @property
    def in_force(self) -> list[Freeze]:
        """Those that are not lifted, oldest first."""
        return sorted((one for one in self.freezes.values() if not one.lifted), key=lambda one: one.at)

    def stopping(self, concern: Concern) -> Freeze | None:
        """The freeze that stops this: one in force, or one that came after the record that let it go."""
        if not self.freezes:
            return None
        for key in _keys(concern):
            for one in self._by_key.get(key, ()):
                voids = one.index is not None and concern.since is not None and one.index > concern.since
                if not one.lifted or voids:
                    return one
        return None

    def on(self, principal: Principal) -> Freeze | None:
        """The freeze of this very principal that is in force."""
        found = self._by_key.get((Scope.PRINCIPAL, principal.tenant, principal.pseudonym), ())
        return next((one for one in found if not one.lifted), None)

    def ever_on(self, tenant: str, pseudonym: str) -> bool:
        """Whether a principal is frozen, or ever was."""
        return (Scope.PRINCIPAL, tenant, pseudonym) in self._by_key

    def voids_answer(self, tenant: str, pseudonym: str, answered_index: int) -> bool:
        """Whether an approver's answer does not count: the person is frozen, or was after they gave it.

        Args:
            answered_index: of the answer's entry in the log, whose order two gateways' clocks do not decide.
        """
        found = self._by_key.get((Scope.PRINCIPAL, tenant, pseudonym), ())
        return any(not one.lifted or one.index is None or answered_index < one.index for one in found)

    def admit(self, plan: Plan) -> None:
        """Whether a new plan may come in at all. Steps on a frozen hand are another matter: the plan's others may run.

        Raises:
            Refused: ``freeze.active``.
        """
        people = (plan.principal.pseudonym, plan.caller.pseudonym)
        found = self.stopping(Concern(plan.tenant, people, context_id=plan.context_id))
        if found is not None:
            raise refusal(found)

    def check_acts(self, principal: Principal) -> None:
        """A frozen principal does nothing, whatever its roles.

        Raises:
            Refused: ``freeze.active``.
        """
        found = self.on(principal) if self.freezes else None
        if found is not None:
            raise refusal(found)


@dataclass(frozen=True, slots=True)
class Told:
    """What a reading of the log found.

    Attributes:
        size: of the log that was read.
        set: freezes, oldest first.
        lifted: ids of those that were lifted.
        why: freeze -> commitment of the words that say why.
    """

    size: int
    set: Sequence[Freeze]
    lifted: Sequence[str]
    why: Mapping[str, str]


def merged(known: Mapping[str, Freeze], told: Told) -> dict[str, Freeze]:
    """What is known, with what the log told since."""
    found = {**known, **{one.id: replace(one, lifted=_was_lifted(known, one)) for one in told.set}}
    for name in told.lifted:
        if name in found:
            found[name] = replace(found[name], lifted=True)
    return found


def _was_lifted(known: Mapping[str, Freeze], one: Freeze) -> bool:
    return one.id in known and known[one.id].lifted


def refusal(freeze: Freeze) -> Refused:
    """What whoever is stopped is told: which freeze, and nothing of who and why."""
    return Refused(Reason.FREEZE_ACTIVE, freeze.subject, freeze=freeze.id, scope=str(freeze.scope))


def _keys(concern: Concern) -> Iterable[Key]:
    for tenant in (concern.tenant, EVERY_TENANT):
        yield Scope.ALL, tenant, EVERYTHING
        if concern.hand is not None:
            yield Scope.HAND, tenant, concern.hand
    if concern.context_id is not None:
        yield Scope.CONTEXT, concern.tenant, concern.context_id
    for pseudonym in concern.people:
        yield Scope.PRINCIPAL, concern.tenant, pseudonym
