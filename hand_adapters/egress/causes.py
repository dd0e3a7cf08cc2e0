"""Why the proxy refuses what a jail asks of it."""

from enum import StrEnum
from http import HTTPStatus
from typing import Final


class Cause(StrEnum):
    """Closed; entries of the log and metrics carry it, and the jail is told."""

    BETWEEN_STEPS = "between_steps"
    """No step runs in that jail."""
    MALFORMED = "malformed"
    """Not exactly one plain HTTP/1.1 request, or one that two readers could take for different ones."""
    HOST = "host"
    """No rule of the hand names it."""
    DECISION = "decision"
    """A rule names it, and the decision on this step does not (``egress_hosts``)."""
    METHOD = "method"
    PATH = "path"
    PARAMETER = "parameter"
    """The request has a parameter where a secret belongs."""
    GREETING = "greeting"
    """The TLS greeting names another host or none, or hides whom it names."""
    REQUESTS = "requests"
    """As many as one step may send were sent."""
    RATE = "rate"
    CONNECTIONS = "connections"
    """The jail holds as many as it may."""
    SENT = "sent"
    """More bytes than one step may send."""
    RECEIVED = "received"
    """More bytes than one step may receive."""
    SECRET = "secret"  # noqa: S105 - a word of the closed set
    """A secret that belongs into the request cannot be had."""
    UNSEARCHABLE = "unsearchable"
    """The answer cannot be searched for secrets: too long, or compressed."""
    UNREACHABLE = "unreachable"
    """The host has no address that is dialled, or does not answer as HTTP."""
    LOG = "log"
    """Nothing goes out that is not on record."""


STATUSES: Final[dict[Cause, HTTPStatus]] = {
    Cause.MALFORMED: HTTPStatus.BAD_REQUEST,
    Cause.PARAMETER: HTTPStatus.BAD_REQUEST,
    Cause.REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    Cause.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Cause.CONNECTIONS: HTTPStatus.TOO_MANY_REQUESTS,
    Cause.SENT: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Cause.RECEIVED: HTTPStatus.BAD_GATEWAY,
    Cause.SECRET: HTTPStatus.BAD_GATEWAY,
    Cause.UNSEARCHABLE: HTTPStatus.BAD_GATEWAY,
    Cause.UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Cause.LOG: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What the jail is answered; 403 for the others."""


class Denied(Exception):
    """A request or connection that is not let through.

    Attributes:
        host: whom it was for, where that is known.
    """

    def __init__(self, cause: Cause, host: str = "") -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.host = host

    @property
    def status(self) -> HTTPStatus:
        """What the jail is answered."""
        return STATUSES.get(self.cause, HTTPStatus.FORBIDDEN)
