"""Looking for what must not be there: a text in every byte of a directory, however it may have been written."""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def spellings(text: str) -> Iterator[bytes]:
    """The text as a program may have written it: raw, in hex, base64 at each alignment, JSON and UTF-16."""
    raw = text.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield json.dumps(text)[1:-1].encode()
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Characters at the edges depend on what stands beside the text.
            yield encode(b"\0" * before + raw)[(before + 2) // 3 * 4 if before else 0 : -4]


def found_in(files: Iterable[Path], texts: Iterable[str]) -> list[tuple[str, bytes]]:
    """Where any spelling of any text is."""
    wanted = [spelling for text in texts for spelling in spellings(text)]
    found = []
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue  # a server's own, gone since it was listed
        found.extend((str(file), spelling) for spelling in wanted if spelling in content)
    return found


def files_of(*places: Path) -> list[Path]:
    """Every regular file below."""
    return [file for place in places for file in place.rglob("*") if file.is_file() and not file.is_symlink()]
