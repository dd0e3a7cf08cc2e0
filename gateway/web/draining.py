"""What a gateway that is about to stop still answers: what it has taken before, and whether it is up."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.web.authentication import is_result
from gateway.web.context import gateway_of, request_id_of
from gateway.web.errors import problem, shaped

RETRY_AFTER_SECONDS: Final = 2
"""After it a balancer has seen the readiness, or the next process listens."""
_ANSWERED: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class DrainMiddleware:
    """Refuses new requests while the gateway drains. Results of steps that are out are no new work."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http" and gateway_of(scope).drain.begun:
            path = scope["path"]
            if path not in _ANSWERED and not is_result(path):
                refusal = Unavailable(Reason.DRAINING, retry_after_seconds=RETRY_AFTER_SECONDS)
                await shaped(scope, refusal, problem(refusal, request_id_of(scope)))(scope, receive, send)
                return
        await self.app(scope, receive, send)
