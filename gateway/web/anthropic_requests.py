"""The Messages API's side of HTTP: where a client's key stands, and how errors look."""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import HandrailError, Malformed, Refused
from gateway.ingress.anthropic.notices import error_body
from gateway.ingress.anthropic.request import CONTEXT_HEADER, PURPOSE_HEADER, SESSION_HEADERS
from gateway.reasons import Reason
from gateway.web.bodies import require_no_coding

PREFIX: Final = "/anthropic"
KEY_HEADER: Final = b"x-handrail-key"
CREDENTIALS: Final = ("authorization", "x-api-key")
OURS: Final = "hr_"
"""How keys of Handrail begin."""
REQUEST_ID: Final = "request-id"
_ONCE: Final = (
    *("host", "content-length", "content-type", "content-encoding", "transfer-encoding"),
    *(CONTEXT_HEADER, PURPOSE_HEADER, *SESSION_HEADERS),
)
"""Headers of which a second one makes two readers see two requests; or nobody knows which of the two is meant."""


def is_anthropic(path: str) -> bool:
    """Whether a path is of the Messages API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def key_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The one header that names the Handrail key, as the ``Authorization`` that it stands for: ``x-handrail-key`` where
    there is one, else the ``x-api-key`` or ``Authorization`` that the clients of this API send.

    Raises:
        Refused: ``auth.invalid`` for two of these, of which nobody could tell which is meant.
    """
    own = [value for name, value in headers if name == KEY_HEADER]
    keys = own or [value for name, value in headers if name == b"x-api-key"]
    bearers = [] if own else [value for name, value in headers if name == b"authorization"]
    if len(keys) + len(bearers) > 1:
        raise Refused(Reason.AUTH_INVALID, "more than one credential")
    return [(b"authorization", b"Bearer " + value) for value in keys] + [(b"authorization", one) for one in bearers]


def single_headers(request: Request) -> dict[str, str]:
    """The request's headers, those that came once.

    Raises:
        Refused: ``request.malformed`` for two of a kind that there is one of; ``request.media_type`` for a coded body.
    """
    seen: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        seen.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    for name in _ONCE:
        if len(seen.get(name, ())) > 1:
            raise Malformed("repeated", parameter=name, expected="one of it")
    require_no_coding(request)
    return {name: values[0] for name, values in seen.items() if len(values) == 1}


def own_credential(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's own credential for the provider, where its Handrail key has a header of its own. What is a key of
    Handrail is none, whichever header a client puts it into."""
    if KEY_HEADER.decode() not in headers:
        return {}
    named = {name: headers[name] for name in CREDENTIALS if name in headers}
    return {name: value for name, value in named.items() if not value.rpartition(" ")[2].startswith(OURS)}


def problem(error: HandrailError, status: int, request_id: str, headers: Mapping[str, str]) -> Response:
    """A refusal of the gateway in the API's form."""
    body = error_body(error, status, request_id)
    return Response(body, status, {**headers, REQUEST_ID: request_id}, "application/json")
