"""A bundle that broke off: how much of it can be gone on with.

Its content follows from the log, the request and the gateway's keys (``audit.export.bundle``), so that any number of
its bytes can be gone on from. What follows, the manifest, is made anew, and is cut off here.
"""

import hashlib
from typing import BinaryIO, Final

from audit.export.bundle import HISTORY, KEYS, MANIFEST
from audit.verifier.archive import BLOCK, header, padding

_READ_BYTES: Final = 1 << 20


def goes_on(stream: BinaryIO) -> tuple[int, str | None]:
    """How many bytes stay, and the hex SHA-256 of the parts about keys (``audit.export.bundle.keys_sha256``).

    Where those are not there whole, nobody could tell whether they are still the same: then nothing of them stays, and
    there is no digest. What is no bundle stays as it is; the gateway will not know it.
    """
    end = stream.seek(0, 2)
    digest = hashlib.sha256()
    about_keys: list[int] = []
    whole = place = 0
    while place < end:
        stream.seek(place)
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            end = place  # the size that it says is not known yet, and may be another now
            break
        name, size = _named(block)
        if name == MANIFEST:
            end = place
        if name in {"", MANIFEST}:
            break
        if name in {KEYS, HISTORY}:
            about_keys.append(place)
            if place + BLOCK + size > end:
                break
            _read(stream, size, digest)
            whole += 1
        place += BLOCK + size + len(padding(size))
    if len(about_keys) == whole == len((KEYS, HISTORY)):
        return end, digest.hexdigest()
    return (about_keys[0] if about_keys else end), None


def _named(block: bytes) -> tuple[str, int]:
    """Name and size of a part by its header; no name where it is none."""
    try:
        name, size = block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
        return (name, size) if block == header(name, size) else ("", 0)
    except ValueError:
        return "", 0


def _read(stream: BinaryIO, size: int, digest: "hashlib._Hash") -> None:
    while size and (piece := stream.read(min(size, _READ_BYTES))):
        digest.update(piece)
        size -= len(piece)
