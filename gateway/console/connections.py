"""The pages of a person's own connections: what there is to connect, the way to a service, and the way back.

A service sends the browser back from another site, and a ``SameSite=Strict`` cookie does not come along with that. So
the page of the way back asks for itself once more, from here, and only then looks whose browser it is.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from gateway.console.html import Content, Markup, element
from gateway.console.issuer_login import KNOWN, answer_of
from gateway.console.layout import alert, facts, form, isolated, page, redirect
from gateway.console.login import CONNECTIONS
from gateway.console.visits import Origin, Visit, visitor
from gateway.errors import HandrailError
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.web.bodies import query
from gateway.web.context import PRINCIPAL, source_of
from gateway.web.errors import ERRORS, report
from gateway.web.throttle import Throttle

_HERE: Final = "here"
"""Parameter with which the page of the way back asks for itself."""
_SAYS: Final[Mapping[str, str]] = {
    "none": "Not connected.",
    "connected": "Connected: agents that act for you may use it, within what policy allows.",
    "lost": "The service has ended what you granted. Connect it again.",
    "removed": "Not connected; you took it back.",
}


async def list_(visit: Visit) -> Response:
    """What the visitor has connected, and can."""
    query(visit.request)
    return await _page(visit)


async def begin(visit: Visit, origin: Origin) -> Response:
    """Say where a consent goes on. A form could not lead to another site: the pages' own policy keeps forms here."""
    name = _name(visit.request)
    connections = visit.gateway.connections
    try:
        view = await connections.show(visit.principal, name)
        back = _redirect_uri(visit.request, origin, name)
        url = await connections.begin(visit.principal, name, visit.session.token, back)
    except HandrailError as refusal:
        report(visit.request.scope, refusal)
        return await _page(visit, refusal)
    content = (
        element("h1", "Connect ", isolated(view["title"])),
        element("p", "You go on to ", element("strong", isolated(urlsplit(url).netloc)), ", and log in there as you."),
        _asked(view),
        element("p", element("a", "Go on", href=url, class_="button primary", rel="noreferrer")),
        element("p", "You have ten minutes, in this browser.", class_="quiet"),
    )
    return page("Connect", *content, visit=visit)


async def remove(visit: Visit) -> Response:
    """Take a consent back."""
    try:
        await visit.gateway.connections.remove(visit.principal, _name(visit.request))
    except HandrailError as refusal:
        report(visit.request.scope, refusal)
        return await _page(visit, refusal)
    return redirect(CONNECTIONS)


async def finish(request: Request, gateway: Gateway, origin: Origin, throttle: Throttle) -> Response:
    """Take the service's answer, in the session that began the consent and in no other."""
    answer = dict(answer_of(request, KNOWN | {_HERE}))
    asked_from_here = answer.pop(_HERE, None) == "1"
    known = await visitor(request, gateway, origin)
    if known is None and not asked_from_here:
        onward = f"{request.url.path}?{urlencode({**answer, _HERE: '1'})}"
        text = element("p", element("a", "Go on to the page", href=onward))
        return page("One moment", element("h1", "One moment"), text, refresh=onward)
    if known is None:
        return redirect(f"/login?{urlencode({'next': CONNECTIONS})}")
    session, person = known
    request.scope[PRINCIPAL] = person
    visit = Visit(request, gateway, session, person)
    try:
        throttle.check(source_of(request.scope))
        require(person, Permission.CONNECTIONS_OWN)
        name = _name(request)
        back = _redirect_uri(request, origin, name)
        view = await gateway.connections.complete(person, name, session.token, back, answer)
    except HandrailError as refusal:
        report(request.scope, refusal)
        if refusal.reason is Reason.AUTH_FORBIDDEN:
            raise
        return await _page(visit, refusal)
    content = (
        element("h1", isolated(view["title"]), " is connected"),
        element("p", "What failed because it was not can be sent again."),
        element("p", element("a", "Your connections", href=CONNECTIONS)),
    )
    return page("Connected", *content, visit=visit)


def _name(request: Request) -> str:
    return str(request.path_params["connection"])


def _redirect_uri(request: Request, origin: Origin, name: str) -> str:
    """One for each connection, so that no server can pass another's answer off (RFC 9700 section 4.4.2.2)."""
    return f"{origin.url(request)}{CONNECTIONS}/{name}/callback"


async def _page(visit: Visit, refusal: HandrailError | None = None) -> Response:
    views = await visit.gateway.connections.listed(visit.principal)
    said = None if refusal is None else alert(f"Nothing was changed. {refusal.text}")
    status = 200 if refusal is None else ERRORS[refusal.reason][0]
    content = (element("h1", "Your connections"), said, *(_section(visit, view) for view in views))
    return page("Your connections", *content, visit=visit, status=status)


def _section(visit: Visit, view: Mapping[str, Any]) -> Markup:
    title, path = f"connection-{view['id']}", f"{CONNECTIONS}/{view['id']}"
    connected = view["state"] == "connected"
    forms: list[Content] = [
        form(
            visit,
            path,
            element(
                "button",
                "Connect again" if connected else "Connect",
                type="submit",
                class_="plain" if connected else "primary",
            ),
        )
    ]
    if connected:
        forms.append(form(visit, f"{path}/remove", element("button", "Take it back", type="submit", class_="plain")))
    return element(
        "section",
        element("h2", isolated(view["title"]), id=title),
        element("p", _SAYS[view["state"]]),
        _asked(view),
        forms,
        class_="card",
        aria_labelledby=title,
    )


def _asked(view: Mapping[str, Any]) -> Markup:
    return facts(
        [
            ("Asks for", ", ".join(view["scopes"]) or "what the service gives without a scope"),
            ("Used at", ", ".join(view["targets"])),
            ("By", ", ".join(view["hands"]) or "no hand"),
        ]
    )
