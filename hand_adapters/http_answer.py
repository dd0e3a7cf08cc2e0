"""The answer to one HTTP request: whether the request may have left, and what came back, bounded while it arrives."""

import asyncio
import base64
import contextlib
import time
import zlib
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from gateway.calls import HandResult, Truncation
from gateway.canonical import parse
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.truncation import LOOK_AHEAD_BYTES
from hand_adapters.contract import HandError
from hand_adapters.dialer import CURRENT, Attempt, Disconnected

# wbits for zlib: 31 expects a gzip header (RFC 1952), 15 a zlib one (RFC 1950, HTTP's "deflate").
_CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
UNKNOWN_STATUSES: Final = frozenset({502, 504})
"""Of a proxy that does not know whether its upstream acted (RFC 9110 sections 15.6.3 and 15.6.5)."""
# Statuses of an API that will serve later.
_LATER_STATUSES: Final = frozenset({429, 503})
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@contextlib.asynccontextmanager
async def attempted(deadline_seconds: float) -> AsyncIterator[None]:
    """The time of a request over a :class:`Dialer`, and what is known where no answer comes.

    Raises:
        HandError: ``hand.timeout``, ``hand.unavailable`` (not executed) or ``hand.lost_reply`` (unknown).
    """
    attempt = Attempt()
    token = CURRENT.set(attempt)
    try:
        async with asyncio.timeout(deadline_seconds):
            yield
    except TimeoutError:
        failure = HandFailure.UNKNOWN if attempt.connected else HandFailure.NOT_EXECUTED
        raise HandError(Reason.HAND_TIMEOUT, failure) from None
    except (aiohttp.ClientError, OSError, Disconnected) as exc:
        detail = type(exc).__name__
        if attempt.connected:
            raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, detail) from None
        raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, detail) from None
    finally:
        CURRENT.reset(token)


def told(status: int) -> None:
    """Go on, unless a status says that nobody knows.

    Raises:
        HandError: ``hand.lost_reply``, unknown: 502, 504.
    """
    if status in UNKNOWN_STATUSES:
        raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, f"status {status}")


class _Over(Exception):
    """There is more than may be read.

    Attributes:
        read: what was.
    """

    def __init__(self, read: bytes) -> None:
        super().__init__()
        self.read = read


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """All of the body, as :func:`read_from` reads it."""
    return (await read_from(response, limit, truncates=False))[0]


async def read_from(
    response: aiohttp.ClientResponse, limit: int, *, truncates: bool
) -> tuple[bytes, Truncation | None]:
    """The body, at most ``limit`` bytes both on the wire and decompressed; no more than that is ever held.

    Args:
        truncates: give the beginning of a longer one where it is text and no JSON, and read
            :data:`LOOK_AHEAD_BYTES` more for that.

    Returns:
        What was read, and what is known of the rest where there is more.

    Raises:
        HandError: ``hand.result_too_large`` or ``hand.protocol``, executed.
        aiohttp.ClientError: the body broke off.
    """
    declared = None if response.method == "HEAD" else response.content_length
    may_cut = truncates and _textual(response.content_type, response.charset) and not _is_json(response.content_type)
    if may_cut:
        limit += LOOK_AHEAD_BYTES
    elif declared is not None and declared > limit:
        raise _too_large()
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "", *_CODINGS}:
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "unknown content coding")
    plain = coding in {"identity", ""}
    try:
        return await (_plain(response, limit) if plain else _inflated(response, limit, _CODINGS[coding])), None
    except _Over as over:
        if not may_cut:
            raise _too_large() from None
        body = over.read[:limit]
        return body, Truncation(declared - len(body) if plain and declared is not None else None)


async def _plain(response: aiohttp.ClientResponse, limit: int) -> bytes:
    first = await response.content.readany()
    if response.content.at_eof():
        if len(first) > limit:
            raise _Over(first)
        return first
    chunks, size = [first], len(first)
    while size <= limit:
        chunk = await response.content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    raise _Over(b"".join(chunks))


async def _inflated(response: aiohttp.ClientResponse, limit: int, wbits: int) -> bytes:
    inflater = zlib.decompressobj(wbits)
    out = bytearray()
    received = 0
    while chunk := await response.content.readany():
        received += len(chunk)
        if received > limit:
            raise _Over(bytes(out))
        while chunk:
            try:
                out += inflater.decompress(chunk, limit + 1 - len(out))
            except zlib.error:
                raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "content coding") from None
            if len(out) > limit:
                raise _Over(bytes(out))
            chunk = inflater.unconsumed_tail
    if received and not inflater.eof:
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "content coding is cut short")
    return bytes(out)


def result(response: aiohttp.ClientResponse, body: bytes, truncated: Truncation | None = None) -> HandResult:
    """Content blocks and structured data of an answer.

    2xx: a JSON body is ``structured`` and one text block; other UTF-8 text is one text block; anything else is one
    embedded resource with a base64 ``blob`` (the shape of MCP's ``EmbeddedResource``). Any other status is an error
    result: the body as a text block or blob, and ``structured`` is ``{"status": <code>}``. 502 and 504 tell nothing.

    Of a body that was not read to its end, what was read is one text block.

    429 and 503 say when to ask again (RFC 6585 section 4, RFC 9110 section 10.2.3).

    Raises:
        HandError: ``hand.protocol``, executed: JSON that is not strict JSON. ``hand.result_too_large``, executed: what
            was read of a longer body is no text. ``hand.lost_reply``, unknown: 502, 504.
    """
    status = response.status
    told(status)
    media = response.content_type
    ok = 200 <= status < 300
    structured: Any = None if ok else {"status": status}
    if ok and body and _is_json(media):
        try:
            structured = parse(body)
        except Refused as refused:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, refused.detail) from None
        return HandResult(({"type": "text", "text": body.decode("utf-8")},), structured)
    content = blocks(body, media, response.charset) if truncated is None else _beginning(body)
    return HandResult(content, structured, is_error=not ok, retry_after_seconds=wait(response), truncated=truncated)


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def wait(response: aiohttp.ClientResponse) -> float | None:
    """Seconds that an answer asks to wait before another request; ``None`` where it says nothing of that."""
    if response.status not in _LATER_STATUSES:
        return None
    return retry_after(response.headers.get("Retry-After", ""), time.time())


def retry_after(said: str, now: float) -> float:
    """Seconds from ``now`` (since the epoch) that a ``Retry-After`` asks to wait: a number of them, or a date
    (RFC 9110 section 10.2.3). 0 where it says neither."""
    text = said.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        return 0.0
    return max(0.0, moment.timestamp() - now)


def blocks(body: bytes, media: str, charset: str | None) -> tuple[dict[str, Any], ...]:
    """A body as content blocks: text where it says that it is, and is; else a blob."""
    if not body:
        return ()
    if _textual(media, charset):
        try:
            return ({"type": "text", "text": body.decode("utf-8")},)
        except UnicodeDecodeError:
            pass
    blob = base64.b64encode(body).decode("ascii")
    return ({"type": "resource", "resource": {"uri": "urn:handrail:body", "mimeType": media, "blob": blob}},)


def _textual(media: str, charset: str | None) -> bool:
    textual = media.startswith("text/") or media.endswith(("json", "xml", "x-www-form-urlencoded", "javascript"))
    return textual and (charset or "utf-8").lower() in _UTF8


def _beginning(body: bytes) -> tuple[dict[str, Any], ...]:
    """The text that a body begins with; it may end within a character."""
    try:
        return ({"type": "text", "text": getincrementaldecoder("utf-8")().decode(body)},)
    except UnicodeDecodeError:
        raise _too_large() from None


def _too_large() -> HandError:
    return HandError(Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED)
