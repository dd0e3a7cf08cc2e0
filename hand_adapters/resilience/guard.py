"""Between the registry and the adapter of one hand: every call waits for its turn, is withheld while the hand
fails, and is tried again where that does no harm. All of it within the call's one deadline.

State is this process's own: each gateway learns by itself that a hand is down.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import SystemRandom
from typing import Any, Final, Protocol

import structlog

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ResilienceSettings
from hand_adapters.contract import HandError
from hand_adapters.resilience.breaker import Circuit, Circuits, Rules, Who
from hand_adapters.resilience.bulkhead import Bulkhead, Full, Room
from hand_adapters.resilience.pace import Pace
from hand_adapters.resilience.retrying import Budget, Budgets, Verdict, backoff, judge

_log = structlog.get_logger("handrail.hands")

FRESH_SECONDS: Final = 1.0
"""A call that waited longer than this is given a credential anew: the old one's time runs."""

_NOTHING_SECONDS: Final = 0.01
"""What may be missing of a deadline without another one being set."""

Once = Callable[[HandCall], Awaitable[HandResult]]
"""One attempt. Raises ``HandError``."""


_chance: Final = SystemRandom().random


class Observer(Protocol):
    """Who counts."""

    def retried(self, hand: str, reason: Reason) -> None:
        """A call is tried again, because of this."""

    def withheld(self, hand: str, reason: Reason) -> None:
        """An attempt was not made: ``hand.busy`` or ``hand.circuit_open``."""


class Guard:
    """Of one hand. Belongs to one event loop."""

    def __init__(
        self,
        hand: str,
        settings: ResilienceSettings,
        observer: Observer | None = None,
        *,
        at_once: int | None = None,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = _chance,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            at_once: how many calls the adapter can do at once, where it says so.
            shared: whether several tenants have the hand.
            clock: steady, in seconds.
            draw: gives a number from 0 to 1.
        """
        self._hand = hand
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._draw = draw
        self._sleep = sleep
        self._budgets = Budgets(settings.retries_share)
        self._circuits = Circuits(
            Rules(
                settings.breaker_failures,
                settings.breaker_window_seconds,
                settings.breaker_open_seconds,
                settings.breaker_probes,
            ),
            self._circuit_changed,
        )
        slots = settings.concurrency_max if at_once is None else min(at_once, settings.concurrency_max)
        tenant_share = settings.tenant_share if shared else 1.0
        self.bulkhead: Final = Bulkhead(Room(slots, settings.queue_max, settings.principal_share, tenant_share))
        self._pace = (
            None
            if settings.calls_per_second is None
            else Pace(settings.calls_per_second, settings.calls_burst, settings.principal_share, tenant_share, clock)
        )

    async def run(self, call: HandCall, once: Once, *, idempotent: bool) -> HandResult:
        """Run ``call`` by ``once``, as often as it may be.

        Every attempt but the first has a credential of its own, on record with the reason for it before it is sent.
        Where an attempt cannot be made, the call ends as the one before it ended. How often it was sent is in the
        result's ``attempts``, and in ``call.progress``.

        Raises:
            HandError: as ``once`` does, unknown where any attempt was; ``hand.busy``, ``hand.circuit_open`` with
                ``retry_after_seconds``, and ``hand.timeout`` where its time was over while it waited: not executed.
        """
        progress = call.progress
        progress.attempts, progress.unsent = 0, True
        ends = self._clock() + call.deadline_seconds
        budget = self._budgets.of(_who(call))
        budget.called()
        before: HandResult | Exception | None = None
        certain = untouched = True
        while True:
            try:
                async with self._turn(call, ends) as waited:
                    attempt = await self._due(call, ends, waited, before, idempotent=idempotent)
                    permit = self._circuits.begin(_who(call), self._clock())
                    verdict: Verdict | None = None
                    progress.attempts, progress.unsent = progress.attempts + 1, False
                    try:
                        outcome = await _outcome(once, attempt)
                        verdict = judge(outcome, idempotent=idempotent)
                    finally:
                        self._circuits.end(permit, self._clock(), failed=verdict.failed if verdict else None)
            except _Withheld as withheld:
                if before is None:
                    raise withheld.error from None
                return _given(before, progress.attempts, certain=certain)
            certain = certain and not _uncertain(outcome)
            untouched = progress.unsent = untouched and isinstance(outcome, HandError) and _not_executed(outcome)
            pause = None if _given_up() else self._pause(verdict, progress.attempts, ends, budget)
            if pause is None:
                return _given(outcome, progress.attempts, certain=certain)
            before = outcome
            await self._sleep(pause)

    def circuit(self, tenant: str) -> Circuit:
        """Of the hand's circuit for one tenant."""
        return self._circuits.state(tenant, self._clock())

    def unclosed(self, kind: str) -> int:
        """How many circuits of a kind (``tenant``, ``principal``) do not let everything through."""
        return self._circuits.unclosed(self._clock())[kind]

    def document(self, tenant: str) -> dict[str, Any]:
        """What people of a tenant see of it: nothing of other tenants'."""
        running, waiting = self.bulkhead.of(tenant)
        return {"circuit": str(self.circuit(tenant)), "running": running, "waiting": waiting}

    @asynccontextmanager
    async def _turn(self, call: HandCall, ends: float) -> AsyncIterator[float]:
        """A slot of the hand, and how many seconds the call waited for it. Raises ``_Withheld``."""
        who = _who(call)
        self._check_circuit(who)
        began = self._clock()
        try:
            waited = await self.bulkhead.take(who, min(self._settings.queue_seconds, ends - began))
        except Full:
            if self._clock() >= ends:
                raise _Withheld(HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, "no turn came")) from None
            raise self._withheld(Reason.HAND_BUSY, self._settings.queue_seconds) from None
        try:
            left = 0.0 if self._pace is None else self._pace.take(who)
            if left:
                raise self._withheld(Reason.HAND_BUSY, left)
            yield self._clock() - began if waited else 0.0
        finally:
            self.bulkhead.give(who)

    async def _due(
        self, call: HandCall, ends: float, waited: float, before: HandResult | Exception | None, *, idempotent: bool
    ) -> HandCall:
        """The attempt that is due, with what is left of the deadline. Raises ``_Withheld``."""
        self._check_circuit(_who(call))
        if before is None and waited <= FRESH_SECONDS:
            attempt = call
        else:
            cause = None if before is None else _cause(before)
            try:
                credential, prove = await call.renew(call.progress.attempts + 1, cause)
            except HandrailError as error:
                detail = HandError(error.reason, HandFailure.NOT_EXECUTED, error.detail, **error.facts)
                raise _Withheld(detail) from None
            if cause is not None and self._observer is not None:
                self._observer.retried(self._hand, cause)
            attempt = replace(call, credential=credential, prove=prove)
            self._check_circuit(_who(call))
        left = ends - self._clock()
        if left <= 0:
            raise _Withheld(HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, "its time was over"))
        if idempotent and self._settings.attempt_seconds is not None:
            left = min(left, self._settings.attempt_seconds)
        if left > call.deadline_seconds - _NOTHING_SECONDS:
            return attempt
        return replace(attempt, deadline_seconds=left)

    def _pause(self, verdict: Verdict, attempts: int, ends: float, budget: Budget) -> float | None:
        """Seconds until the call is tried again; ``None`` where it is not."""
        rules = self._settings
        if not verdict.again or attempts > rules.retries_max:
            return None
        pause = backoff(attempts, rules.backoff_first_seconds, rules.backoff_max_seconds, self._draw)
        pause = max(pause, verdict.after_seconds)
        if self._clock() + pause >= ends or not budget.take():
            return None
        return pause

    def _check_circuit(self, who: Who) -> None:
        left = self._circuits.refuses(who, self._clock())
        if left is not None:
            raise self._withheld(Reason.HAND_CIRCUIT_OPEN, left)

    def _withheld(self, reason: Reason, seconds: float) -> "_Withheld":
        if self._observer is not None:
            self._observer.withheld(self._hand, reason)
        return _Withheld(HandError(reason, HandFailure.NOT_EXECUTED, retry_after_seconds=max(1, math.ceil(seconds))))

    def _circuit_changed(self, tenant: str, circuit: Circuit) -> None:
        _log.warning("circuit changed", hand=self._hand, tenant=tenant, circuit=str(circuit))


class _Withheld(Exception):
    """An attempt was not made."""

    def __init__(self, error: HandError) -> None:
        super().__init__(str(error.reason))
        self.error = error


def _given_up() -> bool:
    """Whether the call was cancelled, and the adapter of a third party ended it in its own way all the same."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _outcome(once: Once, call: HandCall) -> HandResult | Exception:
    try:
        return await once(call)
    except Exception as exc:  # noqa: BLE001 - judged, and raised again where it is the last
        return exc


def _given(outcome: HandResult | Exception, attempts: int, *, certain: bool) -> HandResult:
    """The end of a call whose last attempt ended like this.

    Args:
        certain: of every attempt it is known whether the hand acted.
    """
    if isinstance(outcome, HandResult):
        if outcome.is_error and not certain:
            # What the hand says of the last attempt does not tell what it did at an earlier one.
            raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, "an error after an attempt without an answer")
        return outcome if outcome.attempts == attempts else replace(outcome, attempts=attempts)
    if isinstance(outcome, HandError) and _not_executed(outcome) and not certain:
        raise HandError(outcome.reason, HandFailure.UNKNOWN, outcome.detail, **outcome.facts) from None
    raise outcome


def _cause(outcome: HandResult | Exception) -> Reason:
    return outcome.reason if isinstance(outcome, HandrailError) else Reason.HAND_FAILED


def _uncertain(outcome: HandResult | Exception) -> bool:
    """Whether nobody can tell if the hand acted."""
    if isinstance(outcome, HandResult):
        return False
    return getattr(outcome, "failure", HandFailure.UNKNOWN) is HandFailure.UNKNOWN


def _not_executed(error: HandError) -> bool:
    return error.failure is HandFailure.NOT_EXECUTED


def _who(call: HandCall) -> Who:
    return (call.tenant, call.subject or call.principal_id)
