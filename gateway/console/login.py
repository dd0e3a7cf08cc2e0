"""The pages for coming and going: a login at an issuer, or an API key that is pasted once, becomes a session."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from gateway.console.html import Markup, element
from gateway.console.layout import alert, page, redirect
from gateway.console.visits import Origin, Visit, as_visitor, read_form, sees_keys, set_cookie, visitor
from gateway.errors import HandrailError, Refused
from gateway.model import Principal
from gateway.permissions import Permission, permits
from gateway.reasons import TEXTS, Reason
from gateway.service import Gateway
from gateway.store.directory_rows import API_KEY_PREFIX
from gateway.web.bodies import query
from gateway.web.context import source_of
from gateway.web.errors import ERRORS, report
from gateway.web.throttle import Throttle

HOME: Final = "/approvals"
PROPOSALS: Final = "/proposals"
CONNECTIONS: Final = "/connections"
_NEXT: Final = re.compile(r"/((approvals|proposals)(/[A-Za-z0-9_-]{1,64})?|security-keys|connections)")
"""Where a login may lead: pages of ours by their full form, so that it leads nowhere else."""


async def show(request: Request, gateway: Gateway, origin: Origin) -> Response:
    """The form; straight on for who is logged in already."""
    onward = next_path(query(request, "next").get("next"))
    known = await visitor(request, gateway, origin)
    if known is not None:
        return redirect(within(known[1], onward))
    return form(gateway, onward)


async def log_in(request: Request, gateway: Gateway, origin: Origin, throttle: Throttle) -> Response:
    """Exchange an API key for a session."""
    fields = await read_form(request, "api_key", "next")
    onward = next_path(fields.get("next"))
    token = fields.get("api_key", "").strip()
    try:
        throttle.check(source_of(request.scope))
        if not token.startswith(API_KEY_PREFIX):
            # An access token has nothing that could be revoked; who has one logs in at its issuer.
            raise Refused(Reason.AUTH_INVALID, "a login without an API key")
        person = await gateway.directory.authenticate(token, gateway.clock())
        entered = await check_and_enter(request, gateway, origin, person, key_id=token.split("_")[1])
    except HandrailError as refusal:
        report(request.scope, refusal)
        return form(gateway, onward, refusal)
    return redirect(within(as_visitor(person, gateway), onward), cookie=entered)


async def check_and_enter(
    request: Request,
    gateway: Gateway,
    origin: Origin,
    person: Principal,
    *,
    key_id: str | None = None,
    link_id: str | None = None,
) -> str:
    """Open a session for somebody who proved who they are; a session that the browser had before is closed, and none
    is ever taken over.

    Returns:
        The value of ``Set-Cookie``.

    Raises:
        Refused: ``auth.forbidden``, ``freeze.active``.
        Unavailable: the log cannot be written; nobody is logged in.
    """
    as_visitor(person, gateway)
    gateway.freezing.now.check_acts(person)
    before = await visitor(request, gateway, origin)
    if before is not None:
        await gateway.sessions.close(*before)
    seconds = gateway.settings.console.session_seconds
    session = await gateway.sessions.open(person, seconds, key_id=key_id, link_id=link_id)
    return set_cookie(origin, session.token, seconds)


async def log_out(visit: Visit, origin: Origin) -> Response:
    """End the session, here and in the browser."""
    await visit.gateway.sessions.close(visit.session, visit.principal)
    return redirect("/login", cookie=set_cookie(origin, "", 0))


def next_path(text: str | None) -> str:
    """Where to go after the login."""
    return text if text is not None and _NEXT.fullmatch(text) else HOME


_NEEDED: Final[Mapping[str, Permission]] = {
    "approvals": Permission.APPROVALS_READ,
    "proposals": Permission.PROPOSALS_READ,
    "connections": Permission.CONNECTIONS_OWN,
}


def home_of(person: Principal) -> str:
    """The first page of a visitor."""
    if permits(person, Permission.APPROVALS_READ):
        return HOME
    return PROPOSALS if permits(person, Permission.PROPOSALS_READ) else CONNECTIONS


def within(person: Principal, onward: str) -> str:
    """Where a visitor goes on to: to a page of their own where they may not see the one that they came for."""
    part = onward.split("/")[1]
    if part == "security-keys":
        return onward if sees_keys(person) else home_of(person)
    return onward if permits(person, _NEEDED[part]) else home_of(person)


def form(gateway: Gateway, onward: str, refusal: HandrailError | None = None) -> Response:
    """The page to log in at.

    Args:
        onward: the page that it leads to.
        refusal: why the last attempt failed.
    """
    said = None
    if refusal is not None:
        text = "This login cannot be used here: it opens no page of this gateway."
        said = alert(text if refusal.reason is Reason.AUTH_FORBIDDEN else TEXTS[refusal.reason])
    content = (
        element("h1", "Log in"),
        said,
        _issuers(gateway, onward),
        element(
            "form",
            element("label", "Your API key", for_="api_key"),
            element(
                "input",
                type="password",
                id="api_key",
                name="api_key",
                autocomplete="current-password",
                spellcheck="false",
                autocapitalize="off",
                maxlength=256,
                required=True,
                autofocus=True,
                aria_describedby="api_key_help",
            ),
            element(
                "p",
                "It begins with hr_. It is sent to this gateway alone and kept nowhere in the browser; you are logged "
                "in until you log out, or for the time that the operator has set.",
                id="api_key_help",
                class_="quiet",
            ),
            element("input", type="hidden", name="next", value=onward),
            element("button", "Log in", type="submit", class_="plain" if gateway.logins else "primary"),
            method="post",
            action="/login",
            class_="card",
        ),
    )
    status = 200 if refusal is None else ERRORS[refusal.reason][0]
    return page("Log in", *content, status=status)


def _issuers(gateway: Gateway, onward: str) -> Markup | None:
    """A link for each issuer. A form could not lead to another site: the pages' own policy keeps forms here."""
    if not gateway.logins:
        return None
    links = [
        element(
            "p",
            element(
                "a",
                f"Log in with {one.title}",
                href=f"/login/{quote(one.name, safe='')}?next={quote(onward, safe='')}",
                class_="button primary",
            ),
        )
        for one in gateway.logins.values()
    ]
    return element("div", *links, class_="card")
