"""The pages: one table, and the one endpoint that serves all methods of a path.

They stand beside the API's route table and not in it: a page is for a person with a session and answers HTML, an API
route is for a caller with a key and answers JSON. Neither takes the other's credential.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Final
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.console import approvals, connections, issuer_login, login, proposals, security_keys, signing
from gateway.console.html import element
from gateway.console.layout import ICON_PATH, SCRIPT_PATH, STYLE_PATH, error, page, redirect
from gateway.console.visits import CSRF_FIELD, Origin, Visit, check_csrf, read_form, visitor
from gateway.errors import HandrailError, Refused
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.web.bodies import query
from gateway.web.context import PRINCIPAL, ROUTE, gateway_of, request_id_of
from gateway.web.errors import report
from gateway.web.throttle import Throttle

_log = structlog.get_logger("handrail.console")
_ASSET_SECONDS: Final = 300

Handler = Callable[[Visit], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One method of one path.

    Attributes:
        access: what the visitor must be permitted; ``None`` for a page that needs no login.
        fields: those of its form, beside the session's token.
    """

    method: str
    path: str
    access: Permission | None
    handler: Handler | None = None
    open_handler: OpenHandler | None = None
    fields: tuple[str, ...] = ()


def table(gateway: Gateway) -> tuple[Page, ...]:
    """Every page."""
    origin = Origin(gateway.settings.server.public_url, tls=gateway.settings.server.tls is not None)
    throttle = Throttle(gateway.settings.console.logins_per_minute)
    return (
        Page(method="GET", path="/", access=None, open_handler=partial(_home, gateway=gateway, origin=origin)),
        Page(
            method="GET",
            path="/login",
            access=None,
            open_handler=partial(login.show, gateway=gateway, origin=origin),
        ),
        Page(
            method="POST",
            path="/login",
            access=None,
            open_handler=partial(login.log_in, gateway=gateway, origin=origin, throttle=throttle),
        ),
        Page(
            method="GET",
            path="/login/{issuer}",
            access=None,
            open_handler=partial(issuer_login.begin, gateway=gateway, origin=origin, throttle=throttle),
        ),
        Page(
            method="GET",
            path="/login/{issuer}/callback",
            access=None,
            open_handler=partial(issuer_login.finish, gateway=gateway, origin=origin, throttle=throttle),
        ),
        Page(
            method="POST",
            path="/logout",
            access=Permission.ME,
            handler=partial(login.log_out, origin=origin),
        ),
        Page(method="GET", path="/approvals", access=Permission.APPROVALS_READ, handler=approvals.list_),
        Page(method="GET", path="/approvals/{approval_id}", access=Permission.APPROVALS_READ, handler=approvals.show),
        Page(
            method="POST",
            path="/approvals/{approval_id}",
            access=Permission.APPROVALS_ANSWER,
            handler=approvals.answer,
            fields=("call", "answer", *signing.ASSERTED),
        ),
        Page(
            method="GET",
            path="/approvals/{approval_id}/challenge",
            access=Permission.APPROVALS_ANSWER,
            handler=approvals.challenge,
        ),
        Page(method="GET", path="/proposals", access=Permission.PROPOSALS_READ, handler=proposals.list_),
        Page(method="GET", path="/proposals/{proposal_id}", access=Permission.PROPOSALS_READ, handler=proposals.show),
        Page(
            method="POST",
            path="/proposals/{proposal_id}",
            access=Permission.PROPOSALS_MAKE,
            handler=proposals.act,
            fields=proposals.FIELDS,
        ),
        Page(
            method="GET",
            path="/proposals/{proposal_id}/challenge",
            access=Permission.PROPOSALS_ACTIVATE,
            handler=proposals.challenge,
        ),
        Page(method="GET", path="/security-keys", access=Permission.ME, handler=security_keys.show),
        Page(
            method="POST",
            path="/security-keys",
            access=Permission.ME,
            handler=security_keys.enrol,
            fields=("ticket", *security_keys.REGISTERED),
        ),
        Page(
            method="GET",
            path="/connections",
            access=Permission.CONNECTIONS_OWN,
            handler=connections.list_,
        ),
        Page(
            method="POST",
            path="/connections/{connection}",
            access=Permission.CONNECTIONS_OWN,
            handler=partial(connections.begin, origin=origin),
        ),
        Page(
            method="POST",
            path="/connections/{connection}/remove",
            access=Permission.CONNECTIONS_OWN,
            handler=connections.remove,
        ),
        Page(
            method="GET",
            path="/connections/{connection}/callback",
            access=None,
            open_handler=partial(connections.finish, gateway=gateway, origin=origin, throttle=throttle),
        ),
        _asset(STYLE_PATH, "text/css"),
        _asset(SCRIPT_PATH, "text/javascript"),
        _asset(ICON_PATH, "image/svg+xml"),
    )


def pages(gateway: Gateway) -> list[Route]:
    """Starlette routes of the pages of ``gateway``."""
    origin = Origin(gateway.settings.server.public_url, tls=gateway.settings.server.tls is not None)
    if not origin.safe:
        _log.warning("pages are refused: server.public_url is neither https nor this machine")
    by_path: dict[str, list[Page]] = {}
    for one in table(gateway):
        by_path.setdefault(one.path, []).append(one)
    return [Route(path, endpoint=PageResource(path, found, origin)) for path, found in by_path.items()]


class PageResource:
    """All methods of one page: checks where the request comes from, then who sends it, then calls the handler."""

    def __init__(self, path: str, found: Iterable[Page], origin: Origin) -> None:
        self.path = path
        self.pages = {one.method: one for one in found}
        if "GET" in self.pages:
            self.pages.setdefault("HEAD", self.pages["GET"])
        self._origin = origin
        self._allow = ", ".join(sorted(self.pages))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        scope[ROUTE] = self.path
        one = self.pages.get(scope["method"])
        if one is None:
            raise HTTPException(405, headers={"allow": self._allow})
        request = Request(scope, receive, send)
        try:
            response = await self._serve(one, request)
        except HandrailError as failure:
            report(scope, failure)
            response = error(failure, request_id_of(scope))
        await response(scope, receive, send)

    async def _serve(self, one: Page, request: Request) -> Response:
        self._origin.check_host(request)
        changes = one.method == "POST"
        if changes:
            self._origin.check_origin(request)
        if one.open_handler is not None:
            return await one.open_handler(request)
        gateway = gateway_of(request.scope)
        known = await visitor(request, gateway, self._origin)
        if known is None:
            return _stranger(request, changes=changes)
        session, principal = known
        request.scope[PRINCIPAL] = principal
        if one.access is None or one.handler is None:
            raise Refused(Reason.AUTH_FORBIDDEN, "a page without an access")
        require(principal, one.access)
        form: dict[str, str] = {}
        if changes:
            form = await read_form(request, CSRF_FIELD, *one.fields)
            check_csrf(session, form)
        return await one.handler(Visit(request, gateway, session, principal, form))


def _stranger(request: Request, *, changes: bool) -> Response:
    """Send somebody without a session to the login, and back to the page afterwards.

    A link in a message is followed from another site, and a browser keeps a SameSite=Strict cookie back then. So the
    page is asked for once more, from here: who is logged in need not log in again.
    """
    path = request.url.path
    if not changes and request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        onward = login.next_path(path)
        text = element("p", element("a", "Go on to the page", href=onward))
        return page("One moment", element("h1", "One moment"), text, refresh=onward)
    return redirect(f"/login?next={quote(login.next_path(path), safe='')}")


async def _home(request: Request, gateway: Gateway, origin: Origin) -> Response:
    query(request)
    known = await visitor(request, gateway, origin)
    return redirect(login.HOME if known is None else login.home_of(known[1]))


def _asset(path: str, media_type: str) -> Page:
    content = files("gateway.console").joinpath("assets", path.rpartition("/")[2]).read_bytes()
    headers = {
        "cache-control": f"public, max-age={_ASSET_SECONDS}",
        "cross-origin-resource-policy": "same-origin",
    }

    async def serve(request: Request) -> Response:
        query(request)
        return Response(content, 200, headers, media_type=media_type)

    return Page(method="GET", path=path, access=None, open_handler=serve)
