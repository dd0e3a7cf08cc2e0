"""What there is to know of the service without the SDK that asks it, which is slow to import."""

from typing import Final

from gateway.errors import Unavailable
from gateway.reasons import Reason

LISTED_MAX: Final = 20_000
"""Events of one listing at most: a service that never ends it is left."""
NO_HEARTBEAT: Final = "NO_HEARTBEAT"
"""What the first heartbeat of some work says came before it."""


class ServiceError(Unavailable):
    """The service did not do what was asked.

    Attributes:
        status: what it answered; ``None`` where it did not.
        arrived: whether the request may have taken effect. An answer that says no is none that did.
        retry_after_seconds: how long it asks to be left alone.
    """

    def __init__(
        self, reason: Reason, detail: str, *, status: int | None, arrived: bool, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(reason, detail)
        self.status = status
        self.arrived = arrived
        self.retry_after_seconds = retry_after_seconds

    @property
    def final(self) -> bool:
        """Whether asking again gets the same answer."""
        return self.reason is Reason.AGENTS_REFUSED
