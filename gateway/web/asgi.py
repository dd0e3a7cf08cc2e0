"""The ASGI application: its lifespan, its middleware in one list, its routes from one table."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from gateway.errors import HandrailError
from gateway.ingress.anthropic.ingress import MessagesIngress
from gateway.ingress.mcp import McpIngress
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.web.access import AccessMiddleware
from gateway.web.admission import Admission
from gateway.web.authentication import AuthenticationMiddleware
from gateway.web.context import principal_of
from gateway.web.draining import DrainMiddleware
from gateway.web.errors import ERRORS, on_handrail_error, on_http_exception
from gateway.web.headers import SecurityHeadersMiddleware
from gateway.web.hooks import HookMiddleware
from gateway.web.limits import LimitsMiddleware
from gateway.web.metrics import WebMetrics
from gateway.web.openapi import openapi
from gateway.web.proxies import ProxyMiddleware
from gateway.web.rates import Rate
from gateway.web.reports import Reports
from gateway.web.routes import TABLE, anthropic, policy, remote
from gateway.web.routes.health import ReadinessProbe
from gateway.web.routes.log import Readings
from gateway.web.routing import routes
from gateway.web.sse import Streams
from gateway.web.throttle import Throttle

if TYPE_CHECKING:
    from gateway.service import Gateway

UNRELEASED: Final = "0+unreleased"
_LARGER: Final = {**policy.LARGER_BODIES, **remote.LARGER_BODIES}
"""Path -> its own limit of a body."""


def middleware(settings: Settings, metrics: WebMetrics) -> list[Middleware]:
    """Every request passes these, in this order, and no others. All are pure ASGI."""
    server = settings.server
    return [
        Middleware(HookMiddleware),
        Middleware(AccessMiddleware, metrics),
        Middleware(ProxyMiddleware, server),
        Middleware(SecurityHeadersMiddleware),
        Middleware(DrainMiddleware),
        Middleware(
            LimitsMiddleware,
            server.body_max_bytes,
            server.body_timeout_seconds,
            {**_LARGER, **dict.fromkeys(anthropic.BODIES, settings.anthropic.body_max_bytes)},
            _results_max_bytes(settings),
        ),
        Middleware(AuthenticationMiddleware),
    ]


def _results_max_bytes(settings: Settings) -> int:
    """Of a result's request: what the most generous remote hand may return, with room for escapes and white space."""
    actions = [
        action for hand in settings.hands.values() if hand.adapter == "remote" for action in hand.actions.values()
    ]
    return max((2 * action.result_max_bytes for action in actions), default=0)


def create_app(gateway: "Gateway", pages: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that serves ``gateway``; starting it starts the gateway, stopping it closes it.

    Args:
        pages: for people (``gateway.console.routes.pages``); without them there is the API alone.
    """
    mcp = McpIngress(gateway, principal_of)
    metrics = WebMetrics(gateway.metrics)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.start()
        try:
            async with mcp.run():
                yield
        finally:
            await gateway.close()

    app = Starlette(
        routes=[*routes(TABLE), *pages],
        middleware=middleware(gateway.settings, metrics),
        exception_handlers={HandrailError: on_handrail_error, HTTPException: on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    app.state.mcp = mcp
    gateway.drain.on_begin(mcp.leave)
    app.state.anthropic = MessagesIngress(gateway, gateway.known_calls, lambda reason: ERRORS[reason][0])
    app.state.admission = Admission(gateway.settings.limits, gateway.metrics)
    app.state.streams = Streams(metrics, gateway.drain)
    app.state.reports = Reports()
    app.state.readiness = ReadinessProbe()
    app.state.readings = Readings()
    server = gateway.settings.server
    app.state.log_reads = Rate(server.log_reads_per_second, server.log_reads_burst, Reason.LIMIT_READS)
    app.state.notices = Throttle(remote.NOTICES_PER_MINUTE, Reason.LIMIT_NOTICES)
    app.state.openapi = cache(lambda: openapi(TABLE, _version(), gateway.settings.public_url))
    return app


def _version() -> str:
    try:
        return version("handrail")
    except PackageNotFoundError:
        return UNRELEASED
