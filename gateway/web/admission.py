"""How much each principal and each address may ask of this process. In its memory, and bounded.

A principal is limited by who it is, wherever it calls from; an address only by what it asks for without a credential
that holds. So nobody behind a shared address is kept out by a neighbour: who guesses keys there loses the right to have
more of them looked up, and a credential that held before is looked up all the same.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.errors import HandrailError, Unavailable
from gateway.model import Principal
from gateway.rates import KEYS_MAX
from gateway.reasons import Reason
from gateway.settings import LimitSettings
from gateway.telemetry import Metrics
from gateway.web.context import source_of
from gateway.web.rates import Rate

_REFUSED: Final = ("auth.", "proof.", "credential.")
"""Areas of reasons that say that a credential does not hold."""


class Admission:
    """Counts what is asked. Belongs to one event loop."""

    def __init__(self, limits: LimitSettings, metrics: Metrics, rate: Callable[..., Rate] = Rate) -> None:
        self._principals = rate(limits.requests_per_second, limits.requests_burst, Reason.LIMIT_REQUESTS)
        self._addresses = rate(limits.anonymous_per_second, limits.anonymous_burst, Reason.LIMIT_ANONYMOUS)
        self._concurrent_max = limits.requests_max_concurrent
        self._unanswered: Counter[str] = Counter()
        self._held: OrderedDict[int, None] = OrderedDict()
        self._refusals = {
            reason: metrics.http_limited.labels(str(reason))
            for reason in (Reason.LIMIT_REQUESTS, Reason.LIMIT_ANONYMOUS)
        }

    def enter(self, principal: Principal) -> None:
        """Count a request of a principal; :meth:`leave` follows.

        Raises:
            Unavailable: ``limit.requests``: it sends too many a second, or has too many unanswered; not counted.
        """
        if self._unanswered[principal.pseudonym] >= self._concurrent_max:
            self.counted(Reason.LIMIT_REQUESTS)
            raise Unavailable(Reason.LIMIT_REQUESTS, "unanswered", limit=self._concurrent_max)
        try:
            self._principals.check(principal.pseudonym)
        except Unavailable as refusal:
            self.counted(refusal.reason)
            raise
        self._unanswered[principal.pseudonym] += 1

    def leave(self, principal: Principal) -> None:
        """The request of :meth:`enter` is answered."""
        self._unanswered[principal.pseudonym] -= 1
        if self._unanswered[principal.pseudonym] <= 0:
            del self._unanswered[principal.pseudonym]

    def open(self, scope: Mapping[str, Any]) -> None:
        """Count a request that needs no credential. Raises ``limit.anonymous``."""
        try:
            self._addresses.check(source_of(scope))
        except Unavailable as refusal:
            self.counted(refusal.reason)
            raise

    def look(self, scope: Mapping[str, Any], credential: object = None) -> None:
        """Before a credential is looked up: whether this address may have it done.

        Raises:
            Unavailable: ``limit.anonymous``: too many that came from there lately did not hold, and this one was not
                among those that did.
        """
        try:
            self._addresses.look(source_of(scope))
        except Unavailable as refusal:
            if hash(credential) in self._held:
                return
            self.counted(refusal.reason)
            raise

    def holds(self, credential: object) -> None:
        """A credential held. What is remembered of it is a hash with a key of this process."""
        known = hash(credential)
        self._held[known] = None
        self._held.move_to_end(known)
        if len(self._held) > KEYS_MAX:
            self._held.popitem(last=False)

    def forget(self, credential: object) -> None:
        """A credential does not hold any more: it is looked up like any other."""
        self._held.pop(hash(credential), None)

    def fails(self, scope: Mapping[str, Any], error: HandrailError) -> None:
        """Count a request that was refused, against its address, where it was for its credential."""
        if not error.reason.startswith(_REFUSED):
            return
        try:
            self._addresses.check(source_of(scope))
        except Unavailable as refusal:
            self.counted(refusal.reason)

    def counted(self, reason: Reason) -> None:
        """One more was refused."""
        self._refusals[reason].inc()
