"""Bearer authentication (RFC 6750), or a client certificate (RFC 8705 section 2), for every route but the few that
:data:`OPEN_PATHS` lists, and pages for people.
"""

import re
import time
from collections.abc import Collection, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.certificates import Certificate
from gateway.errors import HandrailError, Refused
from gateway.model import Principal, Shown
from gateway.reasons import Reason
from gateway.web import anthropic_requests, resources
from gateway.web.admission import Admission
from gateway.web.context import PRINCIPAL, admission_of, certificate_of, gateway_of
from gateway.web.errors import answer, report

NOTICE_PATH: Final = "/v1/policy/remote/notify"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/.well-known/jwks.json", "/log/checkpoint", NOTICE_PATH})
"""The only paths that answer without a credential, hash tiles and the metadata of resources apart. The route table
must agree (tested). A notice has a secret of its own, because no Git server can send an API key."""

TILES_PREFIX: Final = "/log/tile/"
ENTRIES_PREFIX: Final = "/log/tile/entries/"
"""Hash tiles are for anybody; entry bundles, which stand among them, are not."""

PAGE_PATHS: Final = frozenset(
    {
        "/",
        "/login",
        "/logout",
        "/approvals",
        "/proposals",
        "/security-keys",
        "/connections",
        "/assets/console.css",
        "/assets/console.js",
        "/assets/icon.svg",
    }
)
PAGE_PREFIXES: Final = ("/approvals/", "/proposals/", "/connections/", "/login/")
"""Pages for people, which have a login of their own (``gateway.console``) and take none of the API's. Its table of
pages must agree, and no route of the API may be among them (tested)."""

_LIMITED_ELSEWHERE: Final = frozenset({"/healthz", "/readyz", "/log/checkpoint", NOTICE_PATH})
"""Open paths that have a limit of their own, as tiles have, or none: whoever asks whether a gateway is up must hear it.
"""

_RESULT: Final = re.compile(r"/v1/steps/[^/]+/result")

_SCHEME: Final = b"bearer "
_API_KEY: Final = b"hr_"
_API_KEY_MAX_BYTES: Final = 256
_TOKEN_MAX_BYTES: Final = 16_384
"""Of the header's value. Access tokens carry claims and are some kilobytes long; an API key never is."""


class AuthenticationMiddleware:
    """Puts the authenticated principal into the scope, or answers 401."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        admission = admission_of(scope)
        principal: Principal | None = None
        try:
            if is_open(scope["path"]) or is_page(scope["path"]):
                _admit(admission, scope)
            else:
                credential = _credential(scope)
                admission.look(scope, credential)
                scope[PRINCIPAL] = principal = await _holder(admission, scope, credential)
                admission.holds(credential)
                admission.enter(principal)
        except HandrailError as error:
            report(scope, error)
            await answer(scope, error)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            if principal is not None:
                admission.leave(principal)


def is_open(path: str) -> bool:
    """Whether ``path`` answers without a credential."""
    return (
        path in OPEN_PATHS
        or is_result(path)
        or resources.is_metadata(path)
        or (path.startswith(TILES_PREFIX) and not path.startswith(ENTRIES_PREFIX))
    )


def _admit(admission: Admission, scope: Scope) -> None:
    """What needs no API key is limited by address; a result, whose credential is checked later, once some failed."""
    path = scope["path"]
    if is_result(path):
        admission.look(scope)
    elif path not in _LIMITED_ELSEWHERE and not path.startswith(TILES_PREFIX):
        admission.open(scope)


async def _holder(admission: Admission, scope: Scope, credential: object) -> Principal:
    """See :func:`authenticate`. What held once and does not any more has no right to further looks."""
    try:
        return await authenticate(scope)
    except Refused:
        admission.forget(credential)
        raise


def _credential(scope: Scope) -> object:
    """What the request shows, to be compared and not to be read; the same for the same, however it is written."""
    for name, value in _headers(scope):
        if name == b"authorization":
            return value[len(_SCHEME) :].strip() if value[: len(_SCHEME)].lower() == _SCHEME else value
    certificate = certificate_of(scope)
    return None if certificate is None else certificate.thumbprint


def is_public(path: str) -> bool:
    """Whether ``path`` takes no secret of any kind, so that it may be asked for in clear."""
    return is_open(path) and not is_result(path) and path != NOTICE_PATH


def is_result(path: str) -> bool:
    """Whether ``path`` takes the result of a step: its credential is no API key, and is checked with its proof."""
    return _RESULT.fullmatch(path) is not None


def is_page(path: str) -> bool:
    """Whether ``path`` is one of the pages for people."""
    return path in PAGE_PATHS or path.startswith(PAGE_PREFIXES)


async def authenticate(scope: Scope) -> Principal:
    """The principal behind this request's ``Authorization`` header, or its client certificate where it has none, now.

    Called again while a long answer streams, so that a revoked key does not outlive its revocation.

    Raises:
        HandrailError: ``auth.*``; whatever the directory cannot do.
    """
    directory, proof = gateway_of(scope).directory, _proof(scope)
    if isinstance(proof, Certificate):
        return await directory.holder_of(proof, time.time())
    return await directory.authenticate(proof, time.time(), certificate_of(scope), _audiences(scope))


async def shown(scope: Scope) -> Shown:
    """By what this request's caller calls, for what outlives the request. Raises as :func:`authenticate`."""
    directory, proof = gateway_of(scope).directory, _proof(scope)
    if isinstance(proof, Certificate):
        return await directory.shown_by(proof)
    return await directory.shown(proof, time.time(), certificate_of(scope), _audiences(scope))


def _proof(scope: Scope) -> str | Certificate:
    """What says who calls: the request's bearer token, or its client certificate where it has none."""
    headers, certificate = _headers(scope), certificate_of(scope)
    if certificate is not None and not any(name == b"authorization" for name, _ in headers):
        return certificate
    return bearer_token(headers)


def _audiences(scope: Scope) -> Collection[str]:
    """What an access token may be for: the resource that is asked for."""
    return resources.audiences(gateway_of(scope).settings, scope["path"])


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers in which the request may name its credential."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return anthropic_requests.key_headers(headers) if anthropic_requests.is_anthropic(scope["path"]) else headers


async def still_permitted(scope: Scope) -> None:
    """Whether whoever takes a long answer may go on. Raises what the key or a freeze says by now."""
    gateway_of(scope).freezing.now.check_acts(await authenticate(scope))


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one bearer token of a request.

    Raises:
        Refused: ``auth.missing`` without a header; ``auth.invalid`` for two of them, another scheme or a foreign shape.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise Refused(Reason.AUTH_MISSING)
    value = values[0]
    if len(values) > 1 or value[:7].lower() != _SCHEME:
        raise Refused(Reason.AUTH_INVALID, "not one bearer token")
    token = value[7:].strip()
    longest = _API_KEY_MAX_BYTES if token.startswith(_API_KEY) else _TOKEN_MAX_BYTES
    if not token.isascii() or not token or len(value) > longest:
        raise Refused(Reason.AUTH_INVALID, "not a token")
    return token.decode("ascii")
