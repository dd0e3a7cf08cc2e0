"""Whom a TLS greeting is for: the ClientHello of a connection that the proxy does not look into (RFC 8446, 6066)."""

from typing import Final

from gateway.manifest import HOST
from hand_adapters.egress.causes import Cause, Denied

HELLO_MAX_BYTES: Final = 16_384
RECORDS_MAX: Final = 8
"""Of one greeting. Clients say it in one, a few in two or three; thousands of a byte each, read again as each
byte comes, would cost this process minutes."""
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_ENCRYPTED_HELLO: Final = frozenset({0xFE0D, 0xFFCE})
"""Encrypted ClientHello (RFC 9849), and the encrypted server name of its drafts: the name that can be read is not the
one that is meant. Greased ones, which mean nothing, cannot be told from real ones and are refused as well."""


class _Reader:
    """A TLS structure, read from its start; every shortfall is :class:`Denied`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise Denied(Cause.GREETING)
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> "_Reader":
        return _Reader(self.take(self.number(size)))


def server_name(data: bytes) -> str | None:
    """The one server name in the ClientHello that ``data`` begins with; ``None`` where more has to come first.

    Raises:
        Denied: ``greeting``: no TLS, no name or several, or one that is encrypted.
    """
    message = b""
    records = data
    for _ in range(RECORDS_MAX):
        if records and records[0] != _HANDSHAKE:
            raise Denied(Cause.GREETING)
        if len(records) < 5:
            break
        if records[1] != 3:
            raise Denied(Cause.GREETING)
        size = int.from_bytes(records[3:5])
        if not size:
            raise Denied(Cause.GREETING)
        message += records[5 : 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            raise Denied(Cause.GREETING)
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            return _name(_Reader(message[4 : 4 + int.from_bytes(message[1:4])]))
        if len(records) < 5 + size:
            break
        records = records[5 + size :]
    else:
        raise Denied(Cause.GREETING)
    if len(data) >= HELLO_MAX_BYTES:
        raise Denied(Cause.GREETING)
    return None


def _name(hello: _Reader) -> str:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    extensions = hello.vector(2)
    names: list[str] = []
    seen: set[int] = set()
    while extensions.left:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind in seen or kind in _ENCRYPTED_HELLO:
            raise Denied(Cause.GREETING)
        seen.add(kind)
        if kind == _SERVER_NAME:
            listed = body.vector(2)
            while listed.left:
                if listed.number(1) != _HOST_NAME:
                    raise Denied(Cause.GREETING)
                name = listed.take(listed.number(2))
                names.append(name.decode("ascii", "replace"))
            if body.left:
                raise Denied(Cause.GREETING)
    if hello.left or len(names) != 1 or not HOST.fullmatch(names[0].lower()):
        raise Denied(Cause.GREETING)
    return names[0].lower()
