"""Which calls are tried again, and when. No I/O: chance is passed in."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.calls import HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandDrifted, HandError, HandUnusable

RESERVE: Final = 10.0
"""Retries that a principal may have of a hand beyond its share, so that one that seldom calls has some."""
PRINCIPALS_MAX: Final = 10_000
"""Principals whose budgets one hand remembers; the one that called longest ago is forgotten."""

_OF_THE_HAND: Final = frozenset(
    {Reason.HAND_UNAVAILABLE, Reason.HAND_TIMEOUT, Reason.HAND_CRASHED, Reason.HAND_LOST_REPLY}
)
"""What a hand does that is down, overloaded or cut off, whatever it was asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt says.

    Attributes:
        again: whether the call may be tried again, as far as this attempt goes.
        failed: whether the hand failed; ``None`` where nothing is known of the hand.
        after_seconds: how long the hand asked to be left alone.
    """

    again: bool
    failed: bool | None
    after_seconds: float = 0.0


def judge(outcome: HandResult | Exception, *, idempotent: bool) -> Verdict:
    """What an attempt says that ended like this.

    An action that is not idempotent is tried again only after ``hand.unavailable``, not executed: by its contract an
    adapter says that before anything left for the hand.
    """
    if isinstance(outcome, HandResult):
        wait = outcome.retry_after_seconds
        return Verdict(again=False, failed=False) if wait is None else Verdict(idempotent, True, wait)
    if not isinstance(outcome, HandError):
        # An adapter of a third party may raise anything. That is no reason to call its hand once more.
        return Verdict(again=False, failed=True)
    if isinstance(outcome, (HandDrifted, HandUnusable)):
        return Verdict(again=False, failed=None)
    if outcome.reason in _OF_THE_HAND:
        unsent = outcome.reason is Reason.HAND_UNAVAILABLE and outcome.failure is HandFailure.NOT_EXECUTED
        return Verdict(idempotent or unsent, True)
    return Verdict(again=False, failed=False if outcome.failure is HandFailure.EXECUTED else None)


def backoff(retry: int, first_seconds: float, max_seconds: float, draw: Callable[[], float]) -> float:
    """Seconds before a retry (1 is the first): drawn from 0 up to what doubles with each ("full jitter"), so that
    those who failed together do not come back together.

    Args:
        draw: a number from 0 to 1.
    """
    return draw() * min(max_seconds, first_seconds * 2.0 ** min(retry - 1, 64))


class Budget:
    """How many retries a principal may have of a hand: a share of its calls, and a reserve."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = RESERVE

    def called(self) -> None:
        """A call came."""
        self._left = min(RESERVE, self._left + self._share)

    def take(self) -> bool:
        """Whether there may be one retry more; then it is spent."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Budgets:
    """Of one hand: a budget for each principal, so that nobody whose calls fail spends the retries of others."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._of: OrderedDict[tuple[str, str], Budget] = OrderedDict()

    def of(self, who: tuple[str, str]) -> Budget:
        """The budget of a principal.

        Args:
            who: tenant, and the pseudonym of the principal.
        """
        found = self._of.get(who)
        if found is None:
            found = self._of[who] = Budget(self._share)
            if len(self._of) > PRINCIPALS_MAX:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(who)
        return found
