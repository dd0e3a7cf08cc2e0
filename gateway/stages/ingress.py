"""Step 1: bytes from an authenticated caller become an ``UnverifiedPlan``. The web layer has already bounded the
time a body may take and authenticated the caller; the size is checked again here, because not every ingress is a
body."""

from gateway.errors import Malformed, Refused
from gateway.model import Principal, UnverifiedPlan
from gateway.reasons import Reason


def admit(raw: bytes, caller: Principal, received_at: float, *, max_bytes: int) -> UnverifiedPlan:
    """Wrap ``raw``, a compact JWS as received.

    Raises:
        Refused: ``request.too_large`` or ``request.malformed`` (empty).
    """
    if len(raw) > max_bytes:
        raise Refused(Reason.REQUEST_TOO_LARGE, f"{len(raw)} bytes", limit_bytes=max_bytes)
    if not raw:
        raise Malformed("empty body", pointer="", expected="a compact JWS")
    return UnverifiedPlan(raw, caller, received_at)
