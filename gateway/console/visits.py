"""Who visits a page, and whether the request comes from a page of ours.

A person logs in once, with their API key or at an issuer, and gets a session (``gateway.store.sessions``) in a cookie
that scripts cannot read and that other sites cannot send. What changes something is believed only with the session's
own token in the form, from this gateway's origin: the cookie alone does nothing.
"""

import hmac
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from gateway.errors import Malformed, Refused
from gateway.model import Principal, Role
from gateway.permissions import PAGES, Permission, permits
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.store.sessions import Session
from gateway.web.bodies import require_media_type
from gateway.webauthn import SecurityKey

FORM: Final = "application/x-www-form-urlencoded"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
CSRF_FIELD: Final = "csrf_token"
FIELDS_MAX: Final = 16
"""Addresses whose login attempts are remembered at once."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by somebody who is logged in."""

    request: Request
    gateway: Gateway
    session: Session
    principal: Principal
    form: dict[str, str] = field(default_factory=dict)


class Origin:
    """Where this gateway's pages live: the one origin that may send their forms."""

    def __init__(self, public_url: str | None, *, tls: bool = False) -> None:
        """Believe ``public_url``; without one, any port of the machine itself, by TLS where the listener has it."""
        self._url = None if public_url is None else urlsplit(public_url)
        self._scheme = ("https" if tls else "http") if self._url is None else self._url.scheme
        self.secure = self._scheme == "https"
        # A session over a plain connection is anybody's who listens.
        self.safe = self._url is None or self.secure or self._url.hostname in LOOPBACK

    @property
    def cookie_name(self) -> str:
        """The prefix makes a browser refuse the cookie from a subdomain or without TLS (RFC 6265bis section 4.1.3)."""
        return "__Host-handrail_session" if self.secure else "handrail_session"

    def check_host(self, request: Request) -> None:
        """The request must name this gateway: another name for it (DNS rebinding) is another site.

        Raises:
            Refused: ``request.origin``.
        """
        if not self.safe:
            raise Refused(Reason.REQUEST_ORIGIN, "pages need https", problem="insecure_public_url")
        self.url(request)

    def check_origin(self, request: Request) -> None:
        """A form must come from a page of this gateway, by the browser's own word.

        Raises:
            Refused: ``request.origin``; also where the browser says nothing.
        """
        site = request.headers.get("sec-fetch-site")
        if site not in (None, "same-origin") or request.headers.get("origin") != self._origin(request):
            raise Refused(Reason.REQUEST_ORIGIN, "origin")

    def url(self, request: Request) -> str:
        """The gateway's origin as the browser names it, such as ``https://handrail.example``.

        Raises:
            Refused: ``request.origin``.
        """
        found = self._origin(request)
        if found is None:
            raise Refused(Reason.REQUEST_ORIGIN, "host")
        return found

    def _origin(self, request: Request) -> str | None:
        host = request.headers.get("host", "")
        if self._url is not None:
            named = urlsplit(f"{self._url.scheme}://{host}")
            try:
                same = (named.hostname, _port(named.port, named.scheme)) == (
                    self._url.hostname,
                    _port(self._url.port, self._url.scheme),
                )
            except ValueError:
                return None
            return f"{self._url.scheme}://{host}" if same else None
        try:
            local = urlsplit(f"{self._scheme}://{host}").hostname in LOOPBACK
        except ValueError:
            return None
        return f"{self._scheme}://{host}" if local else None


def sees_keys(person: Principal) -> bool:
    """Whether somebody looks at approvals or proposals, and so at the page of their security keys."""
    return any(permits(person, permission) for permission in PAGES)


def as_visitor(person: Principal, gateway: Gateway) -> Principal:
    """What a person may at the pages. They are for people who look at approvals or proposals, and for those who connect
    services. An agent's client holds its key, so whoever may ask for steps sees their own connections alone, whatever
    other roles they have, and no page where there is nothing to connect.

    Raises:
        Refused: ``auth.forbidden``.
    """
    if not (permits(person, Permission.PLANS_SUBMIT) or permits(person, Permission.MCP_USE)):
        if not sees_keys(person):
            raise Refused(Reason.AUTH_FORBIDDEN, "nothing on the pages is for this person")
        return person
    if not gateway.connections.of(person.tenant):
        raise Refused(Reason.AUTH_FORBIDDEN, "an agent's key logs nobody in")
    return replace(person, roles=frozenset({Role.AGENT}))


async def visitor(request: Request, gateway: Gateway, origin: Origin) -> tuple[Session, Principal] | None:
    """Who is logged in, as they are now; ``None`` for nobody, also where key, link or principal were revoked or
    frozen since: the login says which.

    Raises:
        Unavailable: the database cannot be read.
    """
    token = cookie(request, origin.cookie_name)
    session = None if token is None else await gateway.sessions.find(token)
    if session is None:
        return None
    try:
        person = as_visitor(await gateway.directory.logged_in(session, gateway.clock()), gateway)
        gateway.freezing.now.check_acts(person)
    except Refused:
        return None
    if (person.tenant, person.pseudonym) != (session.tenant, session.pseudonym):
        return None
    return session, person


async def own_keys(visit: Visit) -> list[SecurityKey]:
    """The visitor's security keys that a browser can use at this site."""
    party = visit.gateway.approvals.party
    enrolled = await visit.gateway.directory.security_keys(visit.principal.tenant, visit.principal.pseudonym)
    return [key for key in enrolled if party is not None and key.rp_id == party.id]


def cookie(request: Request, name: str) -> str | None:
    """The one cookie of that name; two of them are none, because a browser's order can be steered."""
    found = []
    for value in request.headers.getlist("cookie"):
        for pair in value.split(";"):
            key, separator, text = pair.strip().partition("=")
            if separator and key == name:
                found.append(text)
    return found[0] if len(found) == 1 else None


def set_cookie(origin: Origin, token: str, seconds: int) -> str:
    """The value of ``Set-Cookie`` for a session's token; ``seconds`` 0 takes the cookie away."""
    secure = "; Secure" if origin.secure else ""
    return f"{origin.cookie_name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


async def read_form(request: Request, *allowed: str) -> dict[str, str]:
    """The fields of a form, each at most once and each one of ``allowed``.

    Raises:
        Refused: ``request.media_type``, ``request.malformed``; ``request.too_large``.
    """
    require_media_type(request, FORM)
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise Malformed("form", pointer="", expected="a form in ASCII") from None
    fields = dict(pairs)
    if len(fields) != len(pairs) or not fields.keys() <= set(allowed):
        raise Malformed("form fields", pointer="", expected=", ".join(allowed))
    return fields


def check_csrf(session: Session, form: dict[str, str]) -> None:
    """Raises ``request.origin`` where the form is not one that this session was given."""
    if not hmac.compare_digest(form.get(CSRF_FIELD, "").encode(), session.csrf_token.encode()):
        raise Refused(Reason.REQUEST_ORIGIN, "csrf")


def _port(port: int | None, scheme: str) -> int:
    return port or (443 if scheme == "https" else 80)
