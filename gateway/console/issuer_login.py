"""The two pages of a login at an issuer: the way there, and the way back."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from gateway.console.html import element
from gateway.console.layout import page, redirect
from gateway.console.login import check_and_enter, form, next_path, within
from gateway.console.visits import Origin, as_visitor, cookie
from gateway.errors import HandrailError, Malformed, Refused
from gateway.identity.login import PENDING_SECONDS, IssuerLogin
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.web.bodies import query
from gateway.web.context import source_of
from gateway.web.errors import report
from gateway.web.throttle import Throttle

ANSWER_MAX: Final = 8192
"""Characters of the query that an issuer sends a browser back with."""
KNOWN: Final = frozenset({"code", "state", "iss", "error"})
"""Parameters of an answer that mean something (RFC 6749 section 4.1.2, RFC 9207)."""


async def begin(request: Request, gateway: Gateway, origin: Origin, throttle: Throttle) -> Response:
    """Send the browser to the issuer. Only from a page of ours, or by hand: no other site sends anybody to log in."""
    onward = next_path(query(request, "next").get("next"))
    try:
        login = _login(request, gateway)
        if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            raise Refused(Reason.REQUEST_ORIGIN, "a login that another site begins")
        throttle.check(source_of(request.scope))
        url, pending = await login.begin(_redirect_uri(request, origin, login), onward)
    except HandrailError as refusal:
        report(request.scope, refusal)
        return form(gateway, onward, refusal)
    return redirect(url, cookie=_cookie(origin, pending.cookie, PENDING_SECONDS))


async def finish(request: Request, gateway: Gateway, origin: Origin, throttle: Throttle) -> Response:
    """Take the issuer's answer, and open a session for whoever logged in there.

    The browser comes from another site, so that it would not send the new session's cookie if it were redirected: the
    page asks for the next one from here.
    """
    try:
        login = _login(request, gateway)
        throttle.check(source_of(request.scope))
        now = gateway.clock()
        kept = cookie(request, _name(origin))
        verified, pending = await login.finish(kept, answer_of(request), _redirect_uri(request, origin, login), now)
        link_id, person = await gateway.directory.bearers.subject(login.provider, verified)
        entered = await check_and_enter(request, gateway, origin, person, link_id=link_id)
    except HandrailError as refusal:
        report(request.scope, refusal)
        response = form(gateway, next_path(None), refusal)
    else:
        onward = within(as_visitor(person, gateway), next_path(pending.onward))
        text = element("p", element("a", "Go on to the page", href=onward))
        response = page("Logged in", element("h1", "Logged in"), text, refresh=onward)
        response.headers.append("set-cookie", entered)
    response.headers.append("set-cookie", _cookie(origin, "", 0))
    return response


def _login(request: Request, gateway: Gateway) -> IssuerLogin:
    found = gateway.logins.get(str(request.path_params["issuer"]))
    if found is None:
        raise Refused(Reason.REQUEST_NOT_FOUND, "no login at an issuer of this name")
    return found


def _redirect_uri(request: Request, origin: Origin, login: IssuerLogin) -> str:
    """One for each issuer, so that none can pass another's answer off (RFC 9700 section 2.1)."""
    return f"{origin.url(request)}/login/{login.name}/callback"


def answer_of(request: Request, known: frozenset[str] = KNOWN) -> Mapping[str, str]:
    """The parameters that mean something. Issuers add others, which RFC 6749 section 4.1.2 has clients ignore; one that
    comes twice is somebody's trick."""
    raw: bytes = request.scope["query_string"]
    try:
        if len(raw) > ANSWER_MAX:
            raise ValueError
        given = parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=32)
    except ValueError:
        raise Malformed("query", parameter="", problem="malformed", expected="an answer of an issuer") from None
    pairs = [pair for pair in given if pair[0] in known]
    if len(dict(pairs)) != len(pairs):
        raise Malformed("repeated", parameter="", problem="repeated", expected="each parameter once")
    return dict(pairs)


def _name(origin: Origin) -> str:
    return "__Host-handrail_login" if origin.secure else "handrail_login"


def _cookie(origin: Origin, value: str, seconds: int) -> str:
    """``Lax``: the browser must send it when the issuer sends it back, which is a navigation from another site."""
    secure = "; Secure" if origin.secure else ""
    return f"{_name(origin)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
