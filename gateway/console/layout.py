"""What every page has: its frame, its headers, and how it says that something did not work."""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.responses import RedirectResponse, Response

from gateway.console.html import Attribute, Content, Markup, document, element
from gateway.console.visits import CSRF_FIELD, Visit, sees_keys
from gateway.errors import HandrailError
from gateway.freeze import Scope
from gateway.permissions import Permission, permits
from gateway.rendering import moment
from gateway.times import parse_time
from gateway.web.errors import ERRORS

STYLE_PATH: Final = "/assets/console.css"
SCRIPT_PATH: Final = "/assets/console.js"
ICON_PATH: Final = "/assets/icon.svg"

HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: it would make browsers send "Origin: null" with our own forms (Fetch, section 3.1).
    "referrer-policy": "same-origin",
    "permissions-policy": (
        "camera=(), microphone=(), geolocation=(), "
        "publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
}
"""Nothing but this gateway's own style and script, in nobody's frame, and forms that go nowhere else."""


def page(
    title: str, *content: Content, visit: Visit | None = None, status: int = 200, refresh: str | None = None
) -> Response:
    """A whole page.

    Args:
        visit: of whom is logged in, for the bar at the top.
        refresh: a path of ours that the browser goes to at once.
    """
    head = [
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="stylesheet", href=STYLE_PATH),
        element("link", rel="icon", href=ICON_PATH, type="image/svg+xml"),
    ]
    if refresh is not None:
        head.append(element("meta", attributes={"http-equiv": "refresh"}, content=f"0; url={refresh}"))
    if visit is not None:
        head.append(element("script", src=SCRIPT_PATH, defer=True))
    body = (
        element("a", "Skip to the content", href="#content", class_="skip"),
        _bar(visit),
        *_frozen(visit),
        element("main", *content, id="content"),
    )
    return Response(document(f"{title} - Handrail", head, body), status, HEADERS, media_type="text/html")


def redirect(path: str, *, cookie: str | None = None) -> Response:
    """Go on to a path of ours with GET."""
    headers = dict(HEADERS) if cookie is None else {**HEADERS, "set-cookie": cookie}
    return RedirectResponse(path, 303, headers)


def alert(text: str, *more: Content, kind: str = "bad") -> Markup:
    """What the person must notice first; a screen reader says it at once."""
    return element("div", element("p", text), *more, class_=f"note {kind}", role="alert")


def error(failure: HandrailError, request_id: str, visit: Visit | None = None) -> Response:
    """A page for a refusal: its title and its fixed text, never its private detail."""
    status, title = ERRORS[failure.reason]
    content = (
        element("h1", title),
        alert(failure.text),
        element("p", element("a", "What waits for you", href="/")),
        element("p", f"{failure.reason}, request {request_id}", class_="quiet"),
    )
    return page(title, *content, visit=visit, status=status)


def form(visit: Visit, path: str, *content: Content, data: Mapping[str, Attribute] | None = None) -> Markup:
    """A form that this session is known by.

    Args:
        data: what the page's script finds in its dataset.
    """
    known = element("input", type="hidden", name=CSRF_FIELD, value=visit.session.csrf_token)
    named = {f"data-{name}": value for name, value in (data or {}).items()}
    return element("form", known, *content, attributes={"method": "post", "action": path, **named})


def section(name: str, title: str, *content: Content, class_: str = "card") -> Markup:
    """A part of a page under a heading of its own."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, class_=class_, aria_labelledby=f"{name}-title")


def facts(pairs: Iterable[tuple[str, Content]]) -> Markup:
    """Names and values."""
    rows = (element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    return element("dl", *rows, class_="facts")


def isolated(text: str) -> Markup:
    """Text of somebody else's: its own direction does not reach beyond it."""
    return element("bdi", text, dir="ltr")


def when(verb: str, at: str, now: float) -> Content:
    """How long from now, in words, and the exact time."""
    return (f"{verb} {_distance(parse_time(at) - now)} (", element("time", moment(at), datetime=at), ")")


def _distance(seconds: float) -> str:
    if seconds <= 0:
        return "now"
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"in {number} {word}{'s' if number > 1 else ''}"
    return "in less than a minute"


def _frozen(visit: Visit | None) -> list[Markup]:
    """What is frozen, on every page: people must not wonder why nothing moves."""
    if visit is None:
        return []
    found = [one for one in visit.gateway.freezing.now.in_force if one.reaches(visit.principal.tenant)]
    if not found:
        return []
    scopes = ", ".join(sorted({_SCOPES[one.scope] for one in found}))
    text = f"Frozen: {scopes}. What is frozen does not run, and answers to it do not count; two people lift it."
    return [alert(text)]


_SCOPES: Final[Mapping[Scope, str]] = {
    Scope.ALL: "everything",
    Scope.HAND: "hands",
    Scope.PRINCIPAL: "principals",
    Scope.CONTEXT: "contexts",
}


def _bar(visit: Visit | None) -> Markup:
    brand = element("a", "Handrail", href="/", class_="brand")
    if visit is None:
        return element("header", brand)
    pages = [
        ("Connections", "/connections", Permission.CONNECTIONS_OWN),
        ("Requests", "/approvals", Permission.APPROVALS_READ),
        ("Proposals", "/proposals", Permission.PROPOSALS_READ),
    ]
    shown = [(name, path) for name, path, needed in pages if permits(visit.principal, needed)]
    if sees_keys(visit.principal):
        shown.append(("Security keys", "/security-keys"))
    links = element("nav", *(element("a", name, href=path) for name, path in shown), aria_label="Pages")
    leave = form(visit, "/logout", element("button", "Log out", type="submit", class_="plain"))
    who = element("span", "Logged in as ", element("strong", isolated(visit.principal.id)), class_="who")
    return element("header", brand, links, element("div", who, leave, class_="person"))
