"""What the tests of resilience share: a guard whose time passes only when it sleeps, and calls for it."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ResilienceSettings
from hand_adapters.contract import HandError
from hand_adapters.resilience import Guard
from tests.hands.hands_support import call

GOOD = HandResult(({"type": "text", "text": "done"},))
REFUSED = HandResult(({"type": "text", "text": "no"},), is_error=True)
LATER = HandResult((), {"status": 503}, is_error=True, retry_after_seconds=0.0)
DOWN = HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
LOST = HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)
CRASHED = HandError(Reason.HAND_CRASHED, HandFailure.UNKNOWN)

Outcome = HandResult | Exception


@dataclass
class World:
    """A guard, a hand that ends calls as ``script`` says (and then well), and who watches."""

    settings: ResilienceSettings = field(default_factory=ResilienceSettings)
    now: float = 1000.0
    draw: float = 1.0
    script: list[Outcome] = field(default_factory=list)
    sent: list[HandCall] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    renewed: list[tuple[int, Reason | None]] = field(default_factory=list)
    unrecordable: HandrailError | None = None
    seen: list[tuple[str, Reason]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.guard = Guard(
            "h", self.settings, self, clock=lambda: self.now, draw=lambda: self.draw, sleep=self.let_pass
        )

    def retried(self, hand: str, reason: Reason) -> None:
        self.seen.append(("retried", reason))

    def withheld(self, hand: str, reason: Reason) -> None:
        self.seen.append(("withheld", reason))

    async def let_pass(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def renew(self, attempt: int, cause: Reason | None) -> tuple[str, Any]:
        if self.unrecordable is not None:
            raise self.unrecordable
        self.renewed.append((attempt, cause))
        token = f"credential-{attempt}"
        return token, lambda method, url: f"{token} {method} {url}"

    async def once(self, one: HandCall) -> HandResult:
        self.sent.append(one)
        outcome: Outcome = self.script.pop(0) if self.script else GOOD
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def call(self, principal: str = "ana", tenant: str = "default", **changes: Any) -> HandCall:
        return call(
            "h", "do", {}, "0", tenant=tenant, principal_id=principal, subject=f"p-{principal}", renew=self.renew,
            **changes,
        )  # fmt: skip

    async def run(
        self, *script: Outcome, idempotent: bool = True, principal: str = "ana", tenant: str = "default", **changes: Any
    ) -> Outcome:
        """How one call ends whose attempts end like this."""
        self.script = list(script)
        try:
            return await self.guard.run(self.call(principal, tenant, **changes), self.once, idempotent=idempotent)
        except HandError as error:
            return error


def told(outcome: Outcome) -> tuple[Reason, HandFailure]:
    assert isinstance(outcome, HandError), outcome
    return outcome.reason, outcome.failure
