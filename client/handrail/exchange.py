"""One question to the gateway and its answer, without I/O: what operations are made of."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import quote

from handrail.errors import HandrailProblem, MalformedError, UnexpectedReply
from handrail.strict import parse
from handrail.times import Moment, asked_time
from handrail.views import Json

Result = TypeVar("Result")

REPLY_MAX_DEPTH: Final = 128
"""An answer wraps args and results, which may be 64 levels deep themselves."""
_PROBLEM_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code", "request_id"})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to the gateway. ``path`` is quoted already; ``body`` goes with ``media_type``."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    media_type: str | None = None
    wait_seconds: float = 0.0
    """How much longer than usual the answer may take."""
    also_good: frozenset[int] = frozenset()
    """Statuses beyond 2xx whose body is the answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, body read."""

    status: int
    media_type: str
    body: bytes

    @property
    def document(self) -> Json:
        """The JSON object in the body.

        Raises:
            UnexpectedReply: where it is something else.
        """
        try:
            value = parse(self.body, max_depth=REPLY_MAX_DEPTH)
        except MalformedError as exc:
            raise UnexpectedReply(self.status, f"the answer is not strict JSON: {exc}") from None
        if not isinstance(value, dict):
            raise UnexpectedReply(self.status, "the answer is not a JSON object")
        return value

    @property
    def text(self) -> str:
        """The body as UTF-8.

        Raises:
            UnexpectedReply: where it is not.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise UnexpectedReply(self.status, "the answer is not UTF-8") from None

    def checked(self, also_good: frozenset[int] = frozenset()) -> "Reply":
        """Return the reply itself, if it is a success or of a status in ``also_good``.

        Raises:
            HandrailProblem: where it is the gateway's problem document.
            UnexpectedReply: for any other refusal or redirect.
        """
        if 200 <= self.status < 300 or (self.status in also_good and self.media_type == "application/json"):
            return self
        if self.media_type == "application/problem+json":
            document = self.document
            code, detail = document.get("code"), document.get("detail")
            if isinstance(code, str) and isinstance(detail, str):
                request_id = document.get("request_id")
                facts = {name: value for name, value in document.items() if name not in _PROBLEM_MEMBERS}
                raise HandrailProblem(
                    code, self.status, detail, facts, request_id if isinstance(request_id, str) else None
                )
        raise UnexpectedReply(self.status, f"HTTP {self.status}, and not in the gateway's words; is this its URL?")


Operation = Generator[Request, Reply, Result]


def path_of(*parts: str) -> str:
    """The path of a route, each part quoted.

    Raises:
        MalformedError: for an id that cannot stand in a path.
    """
    # "." and ".." survive quoting, and a client would resolve them away into another route.
    if any(part in {".", "..", ""} for part in parts):
        raise MalformedError("an id cannot be empty, '.' or '..'")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def get(*parts: str, query: Mapping[str, Moment | int | None] | None = None) -> Request:
    """A request for what is at ``parts``; see :func:`query_of`."""
    return Request("GET", path_of(*parts), query_of(query or {}))


def query_of(asked: Mapping[str, Moment | int | None]) -> dict[str, str]:
    """Query parameters; those that are ``None`` are left out.

    Raises:
        MalformedError: for a time without its zone.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    return {name: str(value) if isinstance(value, int) else asked_time(value) for name, value in given.items()}


def post(body: Json | None, *parts: str) -> Request:
    """A request that sends ``body`` as JSON, an empty object where there is none."""
    return Request("POST", path_of(*parts), body=json.dumps(body or {}).encode(), media_type="application/json")


def delete(*parts: str) -> Request:
    """A request that ends what is at ``parts``."""
    return Request("DELETE", path_of(*parts))


def listed(reply: Reply, name: str) -> list[Json]:
    """The objects in the list ``name`` of the answer.

    Raises:
        UnexpectedReply: where there is no such list.
    """
    items = reply.document.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedReply(reply.status, f"the answer has no list {name!r}")
    return items


def document_if_any(reply: Reply) -> Json:
    """The document, or ``{}`` where the gateway had nothing to say (204)."""
    return reply.document if reply.body else {}


def text_of(document: Json, name: str) -> str:
    """The text ``name`` of an answer.

    Raises:
        UnexpectedReply: where there is none.
    """
    value = document.get(name)
    if not isinstance(value, str):
        raise UnexpectedReply(200, f"the answer has no text {name!r}")
    return value
