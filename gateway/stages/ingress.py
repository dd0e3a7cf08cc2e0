"""Step 1: what an authenticated caller sent is bounded. The web layer has already bounded the time a body may take and
authenticated the caller; the size is checked again here, because not every ingress is a body."""

from gateway.errors import Malformed, Refused
from gateway.model import UnverifiedPlan
from gateway.reasons import Reason


def admit(unverified: UnverifiedPlan, *, body_max_bytes: int) -> None:
    """Hold a compact JWS as received against its limit.

    Args:
        body_max_bytes: for a plan whose ingress has no limit of its own.

    Raises:
        Refused: ``request.too_large`` or ``request.malformed`` (empty).
    """
    limit = unverified.max_bytes or body_max_bytes
    size = len(unverified.raw) + sum(len(args.raw) for args in unverified.detached.values())
    if size > limit:
        raise Refused(Reason.REQUEST_TOO_LARGE, f"{size} bytes", limit_bytes=limit)
    if not unverified.raw:
        raise Malformed("empty body", pointer="", expected="a compact JWS")
