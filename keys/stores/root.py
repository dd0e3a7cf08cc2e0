"""The data root: 32 random bytes from which every seal and MAC is derived, and which the master key wraps, or a key in
a service (:mod:`keys.stores.wrapping`).

What wraps it opens one small file and nothing else, so a new master key is a new wrapping of that file, written whole
or not at all; no seal, no row and no epoch key changes. The file is ``{v, id, generation, by, wrapped}``; everything
but ``wrapped`` is bound to the wrapping.

Who can unwrap it *and* has a copy of the file from before has the root for good: a new wrapping does not help against
that (docs/key-stores.md).
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.files import make_directory, write
from keys.errors import KeyUnavailable, SealBroken
from keys.stores.master import PREVIOUS
from keys.stores.private_files import read_named
from keys.stores.wrapping import Wrapper, Wrappers

VERSION: Final = 2
ROOT_BYTES: Final = 32
FILE_MAX_BYTES: Final = 1024
_MEMBERS: Final = frozenset({"v", "id", "generation", "by", "wrapped"})
_ID: Final = re.compile(r"[0-9a-f]{16}")
_PROBE: Final = "handrail root/probe v1"


class Derives(Protocol):
    """Something from which keys for single uses are made."""

    def derive(self, label: str) -> bytes:
        """32 bytes for one use; ``label`` names the use, and no two uses share one."""


class DataRoot:
    """The opened root. It is never used itself, only keys derived from it, and never shown.

    Attributes:
        id: its random name, 16 hex digits; the same under every wrapping.
        generation: how often it was wrapped, from 1.
    """

    __slots__ = ("_secret", "generation", "id")

    def __init__(self, secret: bytes, id_: str, generation: int) -> None:
        if len(secret) != ROOT_BYTES:
            raise SealBroken("a data root is 32 bytes")
        self._secret = secret
        self.id = id_
        self.generation = generation

    def __repr__(self) -> str:
        return f"DataRoot(id={self.id!r}, generation={self.generation}, ...)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a data root is not serialised")

    def derive(self, label: str) -> bytes:
        """32 bytes for one use (HKDF-SHA256, RFC 5869)."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=label.encode()).derive(self._secret)

    @classmethod
    def generate(cls) -> Self:
        """A new one."""
        return cls(secrets.token_bytes(ROOT_BYTES), secrets.token_hex(8), 1)

    def wrap(self, wrapper: Wrapper) -> bytes:
        """The file's content under ``wrapper``. Raises ``KeyUnavailable``."""
        context = _context(self.id, self.generation, wrapper.kind)
        document = {
            "v": VERSION,
            "id": self.id,
            "generation": self.generation,
            "by": wrapper.kind,
            "wrapped": wrapper.wrap(self._secret, context),
        }
        return orjson.dumps(document)

    def rewrapped(self) -> Self:
        """The same root, one generation on."""
        return type(self)(self._secret, self.id, self.generation + 1)


def open_root(file: Path, wrappers: Wrappers) -> DataRoot:
    """The root that is in ``file``, under what wraps it now or what did before.

    Raises:
        SealBroken: the file was changed, or is wrapped under neither.
        KeyUnavailable: it is not there, cannot be read, others can read it, or what wraps it is out of reach.
    """
    return _opened(file, wrappers).root


def make_root(file: Path, wrapper: Wrapper) -> DataRoot:
    """A new root in ``file``, unless another process was faster: then that one's.

    Raises:
        KeyUnavailable: the file cannot be written or read, or what wraps it is out of reach.
    """
    root = DataRoot.generate()
    content = root.wrap(wrapper)
    if not _opens(content, wrapper, root, file):
        raise KeyUnavailable(f"{wrapper.place} does not open what it wrapped; no root was made")
    try:
        make_directory(file.parent)
        write(file, content, replace=False)
    except FileExistsError:
        return open_root(file, Wrappers(wrapper))
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    return root


def rewrap(file: Path, wrappers: Wrappers) -> DataRoot | None:
    """Wrap the root under the current wrapper, whichever of the two opens it now.

    A process that stops anywhere in this leaves the file under one of the two, whole. What the new wrapping opens to is
    looked at before it is written: a service that answers wrongly leaves the old one.

    Returns:
        The root in its new wrapping; ``None`` where the newest version of the current wrapper opens it already.

    Raises:
        SealBroken: the file was changed, or is wrapped under neither.
        KeyUnavailable: it cannot be read or written; what wraps it is out of reach, or does not open what it wrapped.
    """
    found = _opened(file, wrappers)
    if found.by is wrappers.current and found.by.is_newest(found.wrapped):
        return None
    again = found.root.rewrapped()
    content = again.wrap(wrappers.current)
    if not _opens(content, wrappers.current, again, file):
        raise KeyUnavailable(f"{wrappers.current.place} does not open what it wrapped; nothing was changed")
    try:
        write(file.resolve(), content, replace=True)  # where the name is a link, the file at its end is the root
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    return again


def _opens(content: bytes, wrapper: Wrapper, root: DataRoot, file: Path) -> bool:
    try:
        return _unwrap(_parsed(content, file), wrapper).derive(_PROBE) == root.derive(_PROBE)
    except SealBroken:
        return False


@dataclass(frozen=True, slots=True)
class _Opened:
    """A root, and the wrapping that was opened."""

    root: DataRoot
    by: Wrapper
    wrapped: str


def _opened(file: Path, wrappers: Wrappers) -> _Opened:
    document = _parsed(read_named(file, FILE_MAX_BYTES, "data root"), file)
    said = []
    for wrapper in (wrappers.current, wrappers.previous):
        if wrapper is not None:
            try:
                return _Opened(_unwrap(document, wrapper), wrapper, document["wrapped"])
            except SealBroken as exc:
                said.append(exc.detail)
    raise SealBroken(
        f"{file}: changed, or wrapped under another master key or another key of a service ({'; '.join(said)}); during "
        f"a change give the one before too ({PREVIOUS}, or root_key_previous), then run 'handrail keys rewrap'"
    )


def _unwrap(document: Mapping[str, Any], wrapper: Wrapper) -> DataRoot:
    id_, generation, by = document["id"], document["generation"], document["by"]
    if by != wrapper.kind:
        raise SealBroken(f"it is wrapped by {by[:32]}, not by {wrapper.place}")
    return DataRoot(wrapper.unwrap(document["wrapped"], _context(id_, generation, by)), id_, generation)


def _parsed(content: bytes, file: Path) -> Mapping[str, Any]:
    try:
        document = parse(content)
    except Refused:
        document = None
    if not isinstance(document, dict) or document.keys() != _MEMBERS or type(document["v"]) is not int:
        raise SealBroken(f"{file}: not a data root")
    id_, generation = document["id"], document["generation"]
    if document["v"] != VERSION or type(generation) is not int or not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise SealBroken(f"{file}: another version, or not a data root")
    if not all(isinstance(document[name], str) and document[name].isascii() for name in ("by", "wrapped")):
        raise SealBroken(f"{file}: not a data root")
    return document


def _context(id_: str, generation: int, by: str) -> dict[str, str]:
    """What the wrapping is bound to."""
    return {"handrail": "root", "v": str(VERSION), "id": id_, "generation": str(generation), "by": by}
