"""A stream of server-sent events, taken apart while it arrives (HTML Living Standard, section 9.2), and bounded."""

import re
from collections.abc import Iterator
from typing import Final

_LINE_END: Final = re.compile(rb"[\r\n]")
_ID: Final = re.compile(rb"[\x21-\x7e]{1,1024}")
"""Ids that can go into a header."""
_RETRY: Final = re.compile(rb"[0-9]{1,9}")
_BOM: Final = b"\xef\xbb\xbf"


class TooLong(Exception):
    """An event, or a line, of more bytes than are held."""


class EventStream:
    """One stream. Comments are read over.

    Attributes:
        last_id: of the newest event that had one; ``None`` before, and where it cannot be a header.
        retry_seconds: after which the server wants to be asked for more, where it said so.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry_seconds: float | None = None
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._kind = b""
        self._after_return = False
        self._begun = False

    def feed(self, chunk: bytes, max_bytes: int) -> Iterator[bytes]:
        """The data of every ``message`` event that is complete with ``chunk``.

        Args:
            max_bytes: of the data of an event, and of a line.

        Raises:
            TooLong: one of them has more; the stream is of no more use.
        """
        searched = len(self._buffer)
        self._buffer += chunk
        if not self._begun and len(self._buffer) >= len(_BOM):
            self._begun = True
            if self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
                searched = 0
        while (found := _LINE_END.search(self._buffer, searched)) is not None:
            line, end = bytes(self._buffer[: found.start()]), found[0]
            del self._buffer[: found.end()]
            searched = 0
            if self._after_return and end == b"\n" and not line:
                self._after_return = False  # the second half of one line end
                continue
            self._after_return = end == b"\r"
            if len(line) > max_bytes:
                raise TooLong
            if line:
                self._field(line, max_bytes)
            elif (event := self._dispatched()) is not None:
                yield event
        if len(self._buffer) > max_bytes:
            raise TooLong

    def _field(self, line: bytes, max_bytes: int) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size - 1 > max_bytes:
                raise TooLong
        elif name == b"event":
            self._kind = value
        elif name == b"id":
            self.last_id = value.decode("ascii") if _ID.fullmatch(value) else None
        elif name == b"retry" and _RETRY.fullmatch(value):
            self.retry_seconds = int(value) / 1000

    def _dispatched(self) -> bytes | None:
        event = b"\n".join(self._data) if self._data and self._kind in {b"", b"message"} else None
        self._data, self._size, self._kind = [], 0, b""
        return event
