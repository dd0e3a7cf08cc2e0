"""The plan API's ingress: received bytes and an authenticated caller become an ``UnverifiedPlan``, and nothing more.

The bytes are not looked into here. What is a plan is decided by the stages, on exactly these bytes.
"""

import re
from typing import Any, Final, Protocol

from gateway.errors import Malformed
from gateway.model import Principal, UnverifiedPlan

_SECONDS: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")


class Submits(Protocol):
    """The one thing that an ingress asks of the pipeline."""

    async def submit(self, unverified: UnverifiedPlan, *, wait_seconds: float = 0.0) -> dict[str, Any]:
        """Take a plan through the pipeline; its view after at most ``wait_seconds``."""


def wait_seconds(text: str | None, maximum: float) -> float:
    """The ``wait`` parameter in seconds: plain decimal, 0 to ``maximum``; 0 where it is absent.

    Raises:
        Refused: ``request.malformed``; a wait that is not honoured in full is refused, not shortened unseen.
    """
    if text is None:
        return 0.0
    if _SECONDS.fullmatch(text) is None or float(text) > maximum:
        expected = f"decimal seconds from 0 to {int(maximum)}"
        raise Malformed("out of range", parameter="wait", maximum=int(maximum), expected=expected)
    return float(text)


async def submit(
    pipeline: Submits, raw: bytes, caller: Principal, *, received_at: float, wait: float
) -> dict[str, Any]:
    """Submit the compact JWS ``raw`` for ``caller``; the plan's view.

    Args:
        received_at: seconds since the epoch, read once for this plan.
        wait: seconds to wait for the plan to be done.

    Raises:
        HandrailError: where the whole plan is refused.
    """
    if not raw:
        raise Malformed("empty body", pointer="", expected="a compact JWS")
    return await pipeline.submit(UnverifiedPlan(raw, caller, received_at), wait_seconds=wait)
