"""A jail's request as this proxy reads it: one plain HTTP/1.1 head, or none (RFC 9112, without its leniencies).

What two readers could take for different requests is refused and not repaired: whoever stands behind the proxy must see
the request that was judged. Bodies are framed by one ``Content-Length`` or by chunks, never by both.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.manifest import HOST
from hand_adapters.egress.causes import Cause, Denied

HEAD_MAX_BYTES: Final = 16_384
HEADERS_MAX: Final = 100
END: Final = b"\r\n\r\n"
METHODS: Final = frozenset({"CONNECT", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LINE: Final = re.compile(r"([A-Z]{1,16}) ([\x21-\x7e]{1,8192}) HTTP/1\.([01])")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*")
_QUERY: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""What never needs to be escaped (RFC 3986 section 2.3): escaped, it is a second spelling of the same path."""
_DIVIDING: Final = frozenset(b"/\\;%?#")
"""What some servers take for a divider or for another escape once it is unescaped."""
_OVERRIDES: Final = frozenset(
    {
        "x-http-method", "x-http-method-override", "x-method-override", "x-original-method", "x-original-uri",
        "x-original-url", "x-rewrite-uri", "x-rewrite-url",
    }
)  # fmt: skip
"""Headers by which some frameworks take a request for another than its first line says."""
_NOT_WORD: Final = re.compile("[^0-9a-z]")


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body.

    Attributes:
        headers: name in lower case, value; in their order.
        length: bytes of the body that follow; ``None`` where it comes in chunks.
    """

    method: str
    target: str
    minor: int
    headers: tuple[tuple[str, str], ...]
    length: int | None = 0

    def all(self, name: str) -> list[str]:
        """The values of a header (``name`` in lower case)."""
        return [value for known, value in self.headers if known == name]

    @property
    def connection(self) -> frozenset[str]:
        """What ``Connection`` lists, in lower case."""
        return frozenset(word.strip().lower() for value in self.all("connection") for word in value.split(","))


def parse(raw: bytes) -> Head:
    """The head in ``raw``, which ends with its empty line.

    Raises:
        Denied: ``malformed``.
    """
    if len(raw) > HEAD_MAX_BYTES or not raw.endswith(END):
        raise Denied(Cause.MALFORMED)
    try:
        lines = raw[: -len(END)].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise Denied(Cause.MALFORMED) from None
    first = _LINE.fullmatch(lines[0])
    if first is None or len(lines) > HEADERS_MAX + 1 or first[1] not in METHODS:
        raise Denied(Cause.MALFORMED)
    headers = tuple(map(_field, lines[1:]))
    head = Head(first[1], first[2], int(first[3]), headers)
    return Head(head.method, head.target, head.minor, headers, _length(head))


def _field(line: str) -> tuple[str, str]:
    """Name in lower case and value of a header. Raises Denied."""
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Denied(Cause.MALFORMED)
    return name.lower(), value.strip(" \t")


def _length(head: Head) -> int | None:
    """How the body ends, once everything is settled that speaks of it. Raises Denied."""
    lengths, codings, names = (
        head.all("content-length"),
        head.all("transfer-encoding"),
        {spelling(name) for name, _ in head.headers},
    )
    if names & _OVERRIDES or "upgrade" in names or "upgrade" in head.connection or "trailer" in names:
        raise Denied(Cause.MALFORMED)
    if head.minor == 0 and head.method != "CONNECT":
        raise Denied(Cause.MALFORMED)
    if len(lengths) + len(codings) > 1 or any(value.lower() != "chunked" for value in codings):
        raise Denied(Cause.MALFORMED)
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise Denied(Cause.MALFORMED)
    if any(value.lower() != "100-continue" for value in head.all("expect")):
        raise Denied(Cause.MALFORMED)
    length = None if codings else int(lengths[0]) if lengths else 0
    if length != 0 and head.method in {"CONNECT", "GET", "HEAD"}:
        raise Denied(Cause.MALFORMED)  # some servers would take such a body for the next request
    return length


def authority(text: str, default_port: int | None) -> tuple[str, int]:
    """Host in lower case and port of ``host[:port]`` or ``[address][:port]``.

    Raises:
        Denied: ``malformed``, also where there is neither a port nor a default.
    """
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        separator, port = rest[:1], rest[1:]
        if not closed or ":" not in host or separator not in {"", ":"}:
            raise Denied(Cause.MALFORMED)
    else:
        host, separator, port = text.partition(":")
    host = host.lower()
    if not HOST.fullmatch(host) or (":" in host) != text.startswith("["):
        raise Denied(Cause.MALFORMED)
    if not separator and default_port is not None:
        return host, default_port
    if not _LENGTH.fullmatch(port) or len(port) > 5 or not 0 < int(port) < 65_536:
        raise Denied(Cause.MALFORMED)
    return host, int(port)


def split(target: str) -> tuple[str, str]:
    """Path and query of a request target in origin form.

    Raises:
        Denied: ``malformed``: not in the one spelling that everybody reads alike (dot segments, empty segments, path
            parameters, escapes of dividers, of controls, of what needs none, or of no UTF-8: some servers read overlong
            forms, as ``%c0%af``, as the divider or dot that they stand for).
    """
    path, _, query = target.partition("?")
    first, *segments = path.split("/")
    if first or not segments or not _QUERY.fullmatch(query):
        raise Denied(Cause.MALFORMED)
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if not _SEGMENT.fullmatch(segment) or segment in {".", ".."} or (not segment and not last):
            raise Denied(Cause.MALFORMED)
        for escaped in _ESCAPE.findall(segment):
            octet = int(escaped, 16)
            if octet in _PLAIN or octet in _DIVIDING or octet < 0x20 or octet == 0x7F:
                raise Denied(Cause.MALFORMED)
        try:
            unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            raise Denied(Cause.MALFORMED) from None
    return path, query


def spelling(name: str) -> str:
    """A header's name (in lower case) as those servers know it that hand headers on as variables (RFC 3875 section
    4.1.18): ``x_api_key`` and ``x-api-key`` are one to them, and so are names with other marks to some."""
    return _NOT_WORD.sub("-", name)


def chunk_size(line: bytes) -> int:
    """The size that a chunk's first line says, without extensions (RFC 9112 section 7.1). Raises Denied."""
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", line):
        raise Denied(Cause.MALFORMED)
    return int(line, 16)
