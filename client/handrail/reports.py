"""A report of a gateway while it is made: how far it is, and the document at the end."""

from collections.abc import Callable, Mapping
from typing import Final

import httpx2

from handrail.connection import reply_of, unreachable
from handrail.errors import HandrailProblem, MalformedError, UnexpectedReply
from handrail.exchange import REPLY_MAX_DEPTH
from handrail.following import EVENT_MAX_BYTES, STREAM_TIMEOUT
from handrail.strict import parse
from handrail.views import Json

EVENTS: Final = "text/event-stream"
Watch = Callable[[int, int], None]
"""Told steps done and steps in all."""


def watched(http: httpx2.Client, path: str, query: Mapping[str, str], watch: Watch) -> Json:
    """The report at ``path``. Whatever ends this call, also what ``watch`` raises, ends the making of it.

    Raises:
        HandrailProblem: the gateway refused it, or could not finish it.
        UnexpectedReply: what came is no report.
        Unreachable: the connection broke off; what was made of it is lost.
    """
    try:
        with http.stream("GET", path, params=query, headers={"Accept": EVENTS}, timeout=STREAM_TIMEOUT) as response:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code != httpx2.codes.OK or media_type != EVENTS:
                response.read()
                return reply_of(response).checked().document
            for message in httpx2.EventSource(response, max_event_size=EVENT_MAX_BYTES):
                document = _taken(message, response.status_code, watch)
                if document is not None:
                    return document
    except (httpx2.TransportError, httpx2.DecodingError) as exc:
        raise unreachable(http.base_url, exc) from None
    raise UnexpectedReply(httpx2.codes.OK, "the answer ends before the report")


def _taken(message: httpx2.ServerSentEvent, status: int, watch: Watch) -> Json | None:
    """The document, where ``message`` is the last event; of progress ``watch`` is told."""
    if not message.data:
        return None
    try:
        data = parse(message.data, max_depth=REPLY_MAX_DEPTH)
    except MalformedError as exc:
        raise UnexpectedReply(status, f"an event is not strict JSON: {exc}") from None
    if not isinstance(data, dict):
        raise UnexpectedReply(status, "an event is not a JSON object")
    match message.event, data:
        case "report", _:
            return data
        case "progress", {"done": int(done), "total": int(total)}:
            watch(done, total)
            return None
        case "error", {"code": str(code), "detail": str(detail), "request_id": str(request_id)}:
            raise HandrailProblem(code, status, detail, request_id=request_id)
        case _:
            raise UnexpectedReply(status, "an event is none of a report")
