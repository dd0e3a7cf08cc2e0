"""The one file that a bundle is: a POSIX ustar archive of which every byte is determined by its members.

A header is never interpreted: name and size are taken from it, the header that belongs to them is made, and both must
be the same 512 bytes. So there are no links, owners, modes, times, long names, sparse files or extensions to be careful
about, no two spellings of one member, and nothing to unpack: parts are read from the file where they stand.
Nothing is compressed, so nothing can unfold to more than the file holds.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from .errors import EvidenceError

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
NAME_MAX: Final = 99
PART_MAX_BYTES: Final = 0o77777777777
"""What eleven octal digits say."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?(\.[a-z]+)?")
_SIZE: Final = re.compile(rb"[0-7]{11}\x00")
_READ_BYTES: Final = 1 << 20


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a part (POSIX.1-1988 ustar): a regular file, mode 0644, of nobody, at time 0.

    Raises:
        ValueError: a name or a size that a bundle cannot have.
    """
    if len(name) > NAME_MAX or _NAME.fullmatch(name) is None:
        raise ValueError(f"not the name of a part: {name!r}")
    if not 0 <= size <= PART_MAX_BYTES:
        raise ValueError(f"not the size of a part: {size}")
    zero, tail = b"0000000\0", b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
    raw = name.encode().ljust(100, b"\0") + b"0000644\0" + zero * 2 + b"%011o\0" % size + b"%011o\0" % 0
    raw += b" " * 8 + b"0" + bytes(100) + tail
    raw = raw.ljust(BLOCK, b"\0")
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def padding(size: int) -> bytes:
    """What follows a part, up to the next whole block."""
    return bytes(-size % BLOCK)


@dataclass(slots=True)
class Part:
    """One part as it is met; :meth:`chunks` must be read to its end before the next is asked for."""

    name: str
    size: int
    _stream: BinaryIO
    _left: int
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        """Hex digest of what was read."""
        return str(self._digest.hexdigest())

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, in pieces of at most a mebibyte. Raises ``EvidenceError`` where the file ends too early."""
        while self._left:
            piece = self._stream.read(min(self._left, _READ_BYTES))
            if not piece:
                raise EvidenceError(f"{self.name}: the file ends in the middle of it")
            self._left -= len(piece)
            self._digest.update(piece)
            yield piece

    def whole(self, limit: int) -> bytes:
        """All of its bytes. Raises ``EvidenceError`` for a part of more than ``limit``."""
        if self.size > limit:
            raise EvidenceError(f"{self.name}: larger than the {limit} bytes that it may have")
        return b"".join(self.chunks())


def parts(stream: BinaryIO) -> Iterator[Part]:
    """The parts of a bundle, in order, each once.

    Raises:
        EvidenceError: for the first byte that is not as it must be; the file ends early, or does not end.
    """
    seen: set[str] = set()
    while True:
        block = _block(stream, "the file ends without the two empty blocks that end a bundle")
        if block == END[:BLOCK]:
            if _block(stream, "the file ends in its last block") != END[:BLOCK] or stream.read(1):
                raise EvidenceError("something follows the end of the bundle")
            return
        part = _part(block, stream)
        if part.name in seen:
            raise EvidenceError(f"{part.name}: stands in the bundle twice")
        seen.add(part.name)
        yield part
        for _ in part.chunks():
            raise EvidenceError(f"{part.name}: was not read")
        rest = padding(part.size)
        if stream.read(len(rest)) != rest:
            raise EvidenceError(f"{part.name}: something stands behind it, where nothing may")


def _block(stream: BinaryIO, missing: str) -> bytes:
    block = stream.read(BLOCK)
    if len(block) != BLOCK:
        raise EvidenceError(missing)
    return block


def _part(block: bytes, stream: BinaryIO) -> Part:
    raw = block[:100].rstrip(b"\0")
    name = raw.decode("ascii", errors="replace")
    if _NAME.fullmatch(name) is None or len(raw) > NAME_MAX:
        raise EvidenceError("a part has a name that no part of a bundle has")
    if _SIZE.fullmatch(block[124:136]) is None:
        raise EvidenceError(f"{name}: its size cannot be read")
    size = int(block[124:135], 8)
    if block != header(name, size):
        raise EvidenceError(f"{name}: its header is not the one that a bundle has")
    return Part(name, size, stream, size)
