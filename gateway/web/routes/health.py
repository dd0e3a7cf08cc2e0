"""Whether the process is up, and whether it would serve a plan now. Open, so cheap: what readiness asks log, policy and
keys is kept for a second.
"""

import asyncio
import time
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.reasons import Reason
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of
from gateway.web.routing import Access, Body, Endpoint, JsonResponse
from gateway.web.schemas import Health, Readiness
from hand_adapters.declared import State

_log = structlog.get_logger(__name__)

CHECK_TIMEOUT_SECONDS: Final = 2.0
KEEP_SECONDS: Final = 1.0
OK: Final = "ok"
PARTS: Final = ("log", "policy", "keys")


class ReadinessProbe:
    """Asks log, policy and keys once for everybody who asks within a second."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._checks: dict[str, str] = {}

    async def __call__(self, gateway: Any) -> dict[str, Any]:
        """``{status, checks, notices, observed}``. Until every hand was asked once, a plan might be denied for no
        better reason than haste: not ready. A hand that is unavailable afterwards does not keep the others from being
        served.
        """
        async with self._lock:
            if time.monotonic() >= self._until:
                self._checks = await self._ask(gateway)
                self._until = time.monotonic() + KEEP_SECONDS
        hands: dict[str, str] = gateway.hands.states()
        ready = (
            not gateway.drain.announced
            and all(state == OK for state in self._checks.values())
            and State.ASKING not in hands.values()
        )
        return {
            "status": OK if ready else "unavailable",
            "checks": {**self._checks, "hands": hands},
            "observed": gateway.rollout.readiness(),
            "notices": gateway.notices(),
        }

    async def _ask(self, gateway: Any) -> dict[str, str]:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                return dict(await gateway.ready())
        except TimeoutError:
            return dict.fromkeys(PARTS, "timeout")
        except Exception:  # noqa: BLE001 - whatever it was, the gateway is not ready
            _log.exception("readiness check failed")
            return dict.fromkeys(PARTS, str(Reason.INTERNAL))


async def healthz(request: Request) -> Response:
    """The process answers."""
    query(request)
    return JsonResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether a plan would be served now."""
    query(request)
    answer = await request.app.state.readiness(gateway_of(request.scope))
    return JsonResponse(answer, 200 if answer["status"] == "ok" else 503)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/healthz",
        access=Access.OPEN,
        tag="health",
        summary="Is the process up?",
        open_handler=healthz,
        answers={200: Body(JSON, Health, "It is.")},
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        access=Access.OPEN,
        tag="health",
        summary="Would a plan be served now?",
        open_handler=readyz,
        answers={
            200: Body(JSON, Readiness, "It would."),
            503: Body(JSON, Readiness, "It would not; the checks say why."),
        },
    ),
)
