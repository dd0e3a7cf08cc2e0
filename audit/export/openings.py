"""The values that entries commit to, as an evidence bundle encloses them: a line each, in parts of bounded size.

A value may be large. It is opened once, and its line is made piece by piece as it is written, so that no second copy of
it is held.
"""

import base64
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from audit.verifier.segment import LINE_MAX_BYTES
from gateway.canonical import b64url_encode, canonical

VALUE_MAX_BYTES: Final = LINE_MAX_BYTES // 2
"""A value that is larger stays out: its line would be longer than a reader takes."""
OPENINGS_MAX_BYTES: Final = 8 << 20
"""Values that are opened at a time, and what one part of their lines holds; a value that is larger comes alone."""
PIECE_BYTES: Final = 1 << 20
"""Of a part, about as much as is written at a time."""
_SEALED_BYTES: Final = 1_024
"""More than nonce, salt and tag add to a value where it is stored."""
_SIZES_AT_ONCE: Final = 500
_RAW_BYTES: Final = PIECE_BYTES // 4 * 3
"""What base64 makes a piece of; divisible by three, so that pieces of base64 follow each other without padding."""
_CLOSE: Final = b'"}\n'


class Payloads(Protocol):
    """Opens what entries commit to."""

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value), of those that are still there."""

    async def sealed_bytes(self, commitments: Sequence[str]) -> Mapping[str, int]:
        """Commitment -> how many bytes are read to open it, of those that are still there."""


@dataclass(slots=True)
class _Line:
    """``{"commitment", "salt", "value"}`` in canonical JSON; ``head`` ends where the value's base64url begins."""

    head: bytes
    value: bytes

    @classmethod
    def of(cls, commitment: str, salt: bytes, value: bytes) -> "_Line":
        empty = canonical({"commitment": commitment, "salt": b64url_encode(salt), "value": ""})
        return cls(empty.removesuffix(b'"}'), value)

    @property
    def size(self) -> int:
        """Bytes of the line, with its end."""
        return len(self.head) + -(-len(self.value) * 4 // 3) + len(_CLOSE)

    def pieces(self) -> Iterator[bytes]:
        yield self.head
        view = memoryview(self.value)
        for start in range(0, len(view), _RAW_BYTES):
            yield base64.urlsafe_b64encode(view[start : start + _RAW_BYTES]).rstrip(b"=")
        yield _CLOSE


@dataclass(slots=True)
class Openings:
    """The lines of one part, ``size`` bytes in all. :meth:`pieces` can be read once, and lets go of what it gave."""

    size: int = 0
    _lines: deque[_Line] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: _Line) -> None:
        """Put a line behind the others."""
        self._lines.append(line)
        self.size += line.size

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the part, at most about :data:`PIECE_BYTES` at a time."""
        gathered: list[bytes] = []
        size = 0
        while self._lines:
            for piece in self._lines.popleft().pieces():
                gathered.append(piece)
                size += len(piece)
                if size >= PIECE_BYTES:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)


async def opened(payloads: Payloads, committed: Mapping[int, Mapping[str, str]]) -> AsyncIterator[Openings]:
    """The parts: a line for each value that is still there, in the order in which entries first commit to them. A part
    is of at most :data:`OPENINGS_MAX_BYTES`, or of one line."""
    part = Openings()
    wanted = list(dict.fromkeys(commitment for found in committed.values() for commitment in found.values()))
    async for some in _batches(payloads, wanted):
        found = dict(await payloads.open(some))
        for commitment in some:
            if commitment not in found:
                continue
            line = _Line.of(commitment, *found.pop(commitment))
            if len(line.value) > VALUE_MAX_BYTES:
                continue
            if part and part.size + line.size > OPENINGS_MAX_BYTES:
                yield part
                part = Openings()
            part.add(line)
            del line
            if part.size >= OPENINGS_MAX_BYTES:  # not only when the next is opened beside it
                yield part
                part = Openings()
    if part:
        yield part


async def _batches(payloads: Payloads, wanted: Sequence[str]) -> AsyncIterator[list[str]]:
    """The commitments in order, as many at a time as may be opened at once."""
    batch: list[str] = []
    size = 0
    for start in range(0, len(wanted), _SIZES_AT_ONCE):
        some = wanted[start : start + _SIZES_AT_ONCE]
        sizes = await payloads.sealed_bytes(some)
        for commitment in some:
            if commitment not in sizes or sizes[commitment] > VALUE_MAX_BYTES + _SEALED_BYTES:
                continue
            if batch and size + sizes[commitment] > OPENINGS_MAX_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(commitment)
            size += sizes[commitment]
    if batch:
        yield batch
