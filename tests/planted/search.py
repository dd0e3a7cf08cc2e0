"""The search for marked secrets in files and texts."""

import mmap
import re
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tests.planted.marks import KINDS, STEM, spellings

_MAPPED_FROM_BYTES: Final = 1 << 20
_MARKS: Final = spellings(STEM)
_EXACT: Final = {kind: tuple(spellings(STEM + kind)) for kind in KINDS}
_POSTGRES_FILE: Final = re.compile(r"(\d+)(_fsm|_vm|_init)?(\.\d+)?")
_FIRST_OF_USERS: Final = 16_384
"""PostgreSQL's own tables have file numbers below it; each of hundreds of databases has them all."""

HOMES: Final = {
    "master.key": {b"m"},
    "cli.json": {b"t"},
    "*.jwk": {b"S"},
    "me.key": {b"t"},  # "handrail keys api --out me.key"
    "cat.key": {b"t"},  # the same, as docs/trust.md has it
    "ben-2.key": {b"t"},
    "written": {b"t", b"S"},  # what any command of tests/cli/commands.py writes with --out
    "master.key.old": {b"m"},  # the master key before the one that "keys rewrap" changes to
    "old": {b"m"},
    "one": {b"K", b"S"},  # copies of tests/cli/test_ceremony.py
    "two": {b"K", b"S"},
    "copy-[12].key": {b"K"},  # the same, as docs/keys.md has them
    "key": {b"S"},  # a witness's, which tests/audit/interop starts
    "*.header": {b"t"},  # what docs/api.md has curl send
    "tokens.json": {b"t"},  # what tests give the processes of their gateways
    "people.json": {b"t"},  # what tests/approvals gives the process of its gateway
    "said.html": {b"t"},  # what slowhttptest tells of its own command line, which holds its API key
}
"""Files in which a secret lies because that is what they are for -> kinds of secret that may."""
_UNDER_WAY: Final = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""A file while it is written (``gateway.files``)."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret where none may be."""

    where: str
    offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}, byte {self.offset}: {self.what}"


@dataclass(slots=True)
class Search:
    """What was searched, and what was found.

    Attributes:
        also: what else to look for in a content: names each thing that it finds. For what stays to the end alone.
    """

    also: list[Callable[[bytes | mmap.mmap], list[str]]] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    files: int = 0
    _at_the_end: bool = False

    def content(self, where: str, content: bytes | mmap.mmap, homes: Collection[bytes] = ()) -> None:
        """Search some bytes.

        Args:
            homes: kinds of secret that may be there.
        """
        if self._at_the_end:
            self.hits += [Hit(where, 0, what) for look in self.also for what in look(content)]
        for pattern, spelling in _MARKS.items():
            at = content.find(pattern)
            while at >= 0:
                kind = _kind(content[max(0, at - 4) : at + 48])
                if kind not in homes:
                    self.hits.append(Hit(where, at, f"{KINDS.get(kind, 'a secret')}, {spelling}"))
                    break
                at = content.find(pattern, at + 1)

    def what_stayed(self, directory: Path) -> None:
        """Search every file below a directory when nothing is written any more."""
        self._at_the_end = True
        self.tree(directory)

    def file(self, path: Path) -> None:
        """Search a file. What vanishes meanwhile is a server's own."""
        if _is_postgres_own(path):
            return
        with suppress(FileNotFoundError, NotADirectoryError):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or not status.st_size:
                return
            self.files += 1
            homes = _homes(path.name)
            if status.st_size < _MAPPED_FROM_BYTES:
                self.content(str(path), path.read_bytes(), homes)
                return
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                self.content(str(path), content, homes)

    def tree(self, directory: Path) -> None:
        """Search every file below a directory; links are not followed."""
        for path in directory.rglob("*"):
            self.file(path)


def _kind(around: bytes) -> bytes:
    found = [kind for kind, exact in _EXACT.items() if any(spelling in around for spelling in exact)]
    return found[0] if len(found) == 1 else b""


def _homes(name: str) -> set[bytes]:
    whole = found[1] if (found := _UNDER_WAY.fullmatch(name)) else name
    return set().union(*(kinds for home, kinds in HOMES.items() if fnmatchcase(whole, home)))


def _is_postgres_own(path: Path) -> bool:
    found = _POSTGRES_FILE.fullmatch(path.name)
    return found is not None and int(found[1]) < _FIRST_OF_USERS and "base" in path.parts[-3:-1]
