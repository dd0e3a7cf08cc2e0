"""When a failing hand is left alone. No I/O and no clock: moments are passed in, in seconds of any steady clock."""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PRINCIPALS_MAX: Final = 10_000
"""Principals whose circuits one hand remembers; the one that called longest ago is forgotten."""

Who = tuple[str, str]
"""Tenant, and the pseudonym of the principal."""


class Circuit(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Every call."""
    OPEN = "open"
    """None."""
    HALF_OPEN = "half_open"
    """A few, to see whether the hand is back."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit opens, and how it closes again. ``failures`` 0: never."""

    failures: int
    window_seconds: float
    open_seconds: float
    probes: int


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A call that one circuit let through."""

    principal: str
    at: float
    era: int


class Breaker:
    """One circuit. It opens after so many failures in a row within the window, and closes when every probe succeeded.

    Where ``shared``, nobody keeps it open alone for others. No principal's failures count for more than half of those
    that it takes. Half open, each principal has one probe at a time; whose probe failed or said nothing takes no more
    of the places for probes, and opens it no more, before another principal's does.
    """

    def __init__(self, rules: Rules, *, shared: bool) -> None:
        self._rules = rules
        self._shared = shared
        self._most_of_one = (rules.failures + 1) // 2 if shared and rules.failures > 1 else max(1, rules.failures)
        self._needed = max(2, rules.failures) if shared else rules.failures
        self._failures: dict[str, deque[float]] = {}
        self._opened_at: float | None = None
        self._era = 0
        self._probes: set[Begun] = set()
        self._passed = 0
        self._heard: set[str] = set()
        """Whose probes are let through beside the others, and prolong nothing."""

    def state(self, now: float) -> Circuit:
        """What it lets through now."""
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._left(now) > 0 else Circuit.HALF_OPEN

    def refuses(self, now: float, principal: str) -> float | None:
        """Seconds after which to ask again; ``None`` where a call of the principal may go now."""
        if self._opened_at is None:
            return None
        left = self._left(now)
        if left > 0:
            return left
        return None if self._has_place(now, principal) else min(1.0, self._rules.open_seconds)

    def begin(self, now: float, principal: str) -> Begun:
        """A call goes that :meth:`refuses` did not refuse; what it returns goes to :meth:`end`, however that ends."""
        begun = Begun(principal, now, self._era)
        if self._opened_at is not None:
            self._probes.add(begun)
        return begun

    def end(self, begun: Begun, now: float, *, failed: bool | None) -> None:
        """How a call ended; ``failed`` is ``None`` where that says nothing about the hand. A call that began before
        the circuit last opened or closed says nothing any more."""
        if begun.era != self._era:
            return
        if self._opened_at is not None:
            self._probes.discard(begun)
            self._probed(begun.principal, now, failed=failed)
        elif failed is False:
            self._failures.clear()
        elif failed:
            self._count(now, begun.principal)

    def _probed(self, principal: str, now: float, *, failed: bool | None) -> None:
        if failed is False:
            self._passed += 1
            if self._passed >= self._rules.probes:
                self._close()
            return
        if failed and principal not in self._heard:
            self._open(now)
        if self._shared:
            self._heard.add(principal)

    def _has_place(self, now: float, principal: str) -> bool:
        if self._shared:
            if any(probe.principal == principal for probe in self._probes):
                return False
            if principal in self._heard:
                return True
        # One that takes longer than the circuit stays open keeps nobody waiting any more.
        taken = sum(
            probe.principal not in self._heard and 0 <= now - probe.at < self._rules.open_seconds
            for probe in self._probes
        )
        return taken + self._passed < self._rules.probes

    def _count(self, now: float, principal: str) -> None:
        if not self._rules.failures:
            return
        since = now - self._rules.window_seconds
        mine = self._failures.setdefault(principal, deque(maxlen=self._most_of_one))
        mine.append(now)
        for who, moments in list(self._failures.items()):
            # A moment that is still to come is of a clock that went back: it says nothing of how close together.
            kept = [moment for moment in moments if since <= moment <= now]
            moments.clear()
            moments.extend(kept)
            if not moments:
                del self._failures[who]
        if sum(map(len, self._failures.values())) >= self._needed:
            self._open(now)

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._turn()

    def _close(self) -> None:
        self._opened_at = None
        self._turn()

    def _turn(self) -> None:
        self._era += 1
        self._passed = 0
        self._probes.clear()
        self._heard.clear()
        self._failures.clear()

    def _left(self, now: float) -> float:
        if self._opened_at is None:
            return 0.0
        # Where the clock went back, it is open from now on, and no longer than usual.
        self._opened_at = min(self._opened_at, now)
        return self._opened_at + self._rules.open_seconds - now


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that two circuits let through."""

    who: Who
    own: tuple[Breaker, Begun]
    common: tuple[Breaker, Begun]


class Circuits:
    """Of one hand: a circuit for each principal, and one for each tenant. A call needs both.

    What one principal's calls bring about opens that principal's circuit alone; the tenant's takes failures of several,
    and no tenant's failures reach another tenant.
    """

    def __init__(self, rules: Rules, changed: Callable[[str, Circuit], None]) -> None:
        """``changed`` is told of a tenant's circuit that opened or closed."""
        self._rules = rules
        self._changed = changed
        self._own: OrderedDict[Who, Breaker] = OrderedDict()
        self._common: dict[str, Breaker] = {}

    def refuses(self, who: Who, now: float) -> float | None:
        """Seconds after which to ask again; ``None`` where a call may go now."""
        own, common = self._of(who)
        waits = [left for left in (own.refuses(now, who[1]), common.refuses(now, who[1])) if left is not None]
        return max(waits) if waits else None

    def begin(self, who: Who, now: float) -> Permit:
        """See :meth:`Breaker.begin`."""
        own, common = self._of(who)
        return Permit(who, (own, own.begin(now, who[1])), (common, common.begin(now, who[1])))

    def end(self, permit: Permit, now: float, *, failed: bool | None) -> None:
        """See :meth:`Breaker.end`."""
        for breaker, begun in (permit.own, permit.common):
            before = breaker.state(now)
            breaker.end(begun, now, failed=failed)
            after = breaker.state(now)
            if before is not after and breaker is permit.common[0]:
                self._changed(permit.who[0], after)

    def state(self, tenant: str, now: float) -> Circuit:
        """Of a tenant's own circuit."""
        common = self._common.get(tenant)
        return Circuit.CLOSED if common is None else common.state(now)

    def unclosed(self, now: float) -> Mapping[str, int]:
        """How many circuits let not everything through: of each ``tenant``, and of each ``principal``."""
        kinds = {"tenant": self._common.values(), "principal": self._own.values()}
        return {kind: sum(one.state(now) is not Circuit.CLOSED for one in all_) for kind, all_ in kinds.items()}

    def _of(self, who: Who) -> tuple[Breaker, Breaker]:
        own = self._own.get(who)
        if own is None:
            own = self._own[who] = Breaker(self._rules, shared=False)
            if len(self._own) > PRINCIPALS_MAX:
                self._own.popitem(last=False)
        else:
            self._own.move_to_end(who)
        common = self._common.get(who[0])
        if common is None:
            common = self._common[who[0]] = Breaker(self._rules, shared=True)
        return own, common
