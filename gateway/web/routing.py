"""The route table's row, and the one ASGI endpoint that serves all methods of a path.

From the same rows come the Starlette routes, the permission checks and ``/openapi.json``, so they cannot drift.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import WHILE_FROZEN, Permission, require
from gateway.reasons import Reason
from gateway.web.context import PRINCIPAL, ROUTE, gateway_of

Handler = Callable[[Request, Principal], Awaitable[Response | ASGIApp]]
OpenHandler = Callable[[Request], Awaitable[Response]]


class Access(StrEnum):
    """Who may call a route that asks for no single permission."""

    OPEN = "open"
    """Anybody, without a key. Listed in ``authentication.OPEN_PATHS`` too."""
    AUTHENTICATED = "authenticated"
    """Every principal, whatever its roles."""


@dataclass(frozen=True, slots=True)
class Body:
    """One representation: a media type, and its model where it is JSON of ours.

    Attributes:
        others: media types in which the same comes where it is asked for.
    """

    media_type: str
    model: type[BaseModel] | None = None
    description: str = ""
    others: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or header parameter, as OpenAPI shows it."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"


_REST: Final = re.compile(r"\{([a-z_]+_path)\}$")

AFTER: Final = Parameter("after", "Only those that follow this one: next of the page before.")
AFTER_INDEX: Final = Parameter("after", "Go on after this: next of the page before.", {"type": "integer", "minimum": 0})

TIME: Final = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}
SINCE: Final = Parameter("since", "At or after this time (RFC 3339), or the beginning of this day in UTC.", TIME)
UNTIL: Final = Parameter("until", "Before it.", TIME)


def limit(default: int, maximum: int, description: str = "At most so many.") -> Parameter:
    """How many of a list go on one page."""
    schema = {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}
    return Parameter("limit", description, schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: a parameter whose name ends in ``_path`` takes everything that is left, slashes too.
        handler: takes the request and the authenticated principal; of an open route, the request alone.
        answers: status -> representation of the good answers.
        problems: reasons beyond those that every route may give.
        refusals: status -> representation of refusals that are no problem documents.
        besides: status -> representation of refusals that come beside problem documents.
    """

    method: str
    path: str
    access: Permission | Access
    tag: str
    summary: str
    answers: Mapping[int, Body]
    handler: Handler | None = None
    open_handler: OpenHandler | None = None
    requests: Sequence[Body] = ()
    parameters: Sequence[Parameter] = ()
    problems: Sequence[Reason] = ()
    refusals: Mapping[int, Body] = field(default_factory=dict)
    besides: Mapping[int, Body] = field(default_factory=dict)


class JsonResponse(Response):
    """A JSON answer. Values are plain data, so no encoder hook exists that could let anything else out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Compact UTF-8 JSON."""
        return orjson.dumps(content)


class Resource:
    """All methods of one path: checks the method, then the permission, then calls the handler."""

    def __init__(self, path: str, endpoints: Iterable[Endpoint]) -> None:
        self.path = path
        self.endpoints = {endpoint.method: endpoint for endpoint in endpoints}
        if "GET" in self.endpoints:
            self.endpoints.setdefault("HEAD", self.endpoints["GET"])
        self._allow: Final = ", ".join(sorted(self.endpoints))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        scope[ROUTE] = self.path
        endpoint = self.endpoints.get(scope["method"])
        if endpoint is None:
            raise HTTPException(405, headers={"allow": self._allow})
        request = Request(scope, receive, send)
        response: Response | ASGIApp
        if endpoint.open_handler is not None:
            response = await endpoint.open_handler(request)
        else:
            response = await self._guarded(endpoint, request)
        await response(scope, receive, send)

    async def _guarded(self, endpoint: Endpoint, request: Request) -> Response | ASGIApp:
        principal = request.scope.get(PRINCIPAL)
        if principal is None or endpoint.handler is None:
            # Cannot happen while the middleware list holds; a gap in it must not become an open door.
            raise Refused(Reason.AUTH_MISSING)
        if isinstance(endpoint.access, Permission):
            require(principal, endpoint.access)
            if endpoint.access not in WHILE_FROZEN:
                gateway_of(request.scope).freezing.now.check_acts(principal)
        return await endpoint.handler(request, principal)


def routes(table: Sequence[Endpoint]) -> list[Route]:
    """Starlette routes of ``table``, one per path, in the order of first appearance (hot paths stand first)."""
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in table:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    return [Route(_REST.sub(r"{\1:path}", path), endpoint=Resource(path, rows)) for path, rows in by_path.items()]
