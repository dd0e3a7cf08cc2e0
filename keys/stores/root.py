"""The data root: 32 random bytes from which every seal and MAC is derived, and which the master key wraps.

The master key opens one small file and nothing else, so a new master key is a new wrapping of that file, written whole
or not at all; no seal, no row and no epoch key changes. The file is ``{v, id, generation, nonce, wrapped}``, where
``wrapped`` is AES-256-GCM under a key derived from the master key, with everything but itself as associated data.

Who has the old master key *and* a copy of the file from before has the root for good: a new wrapping does not help
against that (docs/key-stores.md).
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.errors import Refused
from gateway.files import make_directory, write
from keys.errors import KeyUnavailable, SealBroken
from keys.stores.master import PREVIOUS, MasterKey
from keys.stores.private_files import read_private

VERSION: Final = 1
ROOT_BYTES: Final = 32
FILE_MAX_BYTES: Final = 1024
_NONCE_BYTES: Final = 12
_LABEL: Final = "handrail root/wrap v1"
_MEMBERS: Final = frozenset({"v", "id", "generation", "nonce", "wrapped"})
_ID: Final = re.compile(r"[0-9a-f]{16}")


class Derives(Protocol):
    """Something from which keys for single uses are made."""

    def derive(self, label: str) -> bytes:
        """32 bytes for one use; ``label`` names the use, and no two uses share one."""


class DataRoot:
    """The opened root. It is never used itself, only keys derived from it, and never shown.

    Attributes:
        id: its random name, 16 hex digits; the same under every master key.
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

    def wrap(self, master: MasterKey) -> bytes:
        """The file's content under ``master``."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        wrapped = _aead(master).encrypt(nonce, self._secret, _bound(self.id, self.generation))
        return orjson.dumps(
            {
                "v": VERSION,
                "id": self.id,
                "generation": self.generation,
                "nonce": b64url_encode(nonce),
                "wrapped": b64url_encode(wrapped),
            }
        )

    def rewrapped(self) -> Self:
        """The same root, one generation on."""
        return type(self)(self._secret, self.id, self.generation + 1)


@dataclass(frozen=True, slots=True)
class Masters:
    """The master key, and the one before it while the master key is being changed."""

    current: MasterKey
    previous: MasterKey | None = None


def open_root(file: Path, masters: Masters) -> DataRoot:
    """The root that is in ``file``, under the current master key or the one before.

    Raises:
        SealBroken: the file was changed, or is wrapped under neither.
        KeyUnavailable: it is not there, cannot be read, or others can read it.
    """
    return _opened(file, masters)[0]


def make_root(file: Path, master: MasterKey) -> DataRoot:
    """A new root in ``file``, unless another process was faster: then that one's.

    Raises:
        KeyUnavailable: the file cannot be written or read.
    """
    root = DataRoot.generate()
    try:
        make_directory(file.parent)
        write(file, root.wrap(master), replace=False)
    except FileExistsError:
        return open_root(file, Masters(master))
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    return root


def rewrap(file: Path, masters: Masters) -> DataRoot | None:
    """Wrap the root under the current master key, whichever of the two opens it now.

    A process that stops anywhere in this leaves the file under one of the two, whole.

    Returns:
        The root in its new wrapping; ``None`` where the current master key opens it already.

    Raises:
        SealBroken: the file was changed, or is wrapped under neither.
        KeyUnavailable: it cannot be read or written.
    """
    root, under_current = _opened(file, masters)
    if under_current:
        return None
    again = root.rewrapped()
    try:
        write(file, again.wrap(masters.current), replace=True)
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    return again


def _opened(file: Path, masters: Masters) -> tuple[DataRoot, bool]:
    document = _read(file)
    for master in (masters.current, masters.previous):
        if master is not None and (root := _unwrap(document, master, file)) is not None:
            return root, master is masters.current
    raise SealBroken(
        f"{file}: changed, or wrapped under another master key; during a change of the master key give the old one as "
        f"{PREVIOUS}, then run 'handrail keys rewrap'"
    )


def _unwrap(document: Mapping[str, Any], master: MasterKey, file: Path) -> DataRoot | None:
    id_, generation = document["id"], document["generation"]
    try:
        secret = _aead(master).decrypt(
            b64url_decode(document["nonce"]), b64url_decode(document["wrapped"]), _bound(id_, generation)
        )
        return DataRoot(secret, id_, generation)
    except InvalidTag:
        return None
    except (Refused, TypeError, ValueError, AttributeError) as exc:
        raise SealBroken(f"{file}: unreadable ({type(exc).__name__})") from None


def _read(file: Path) -> Mapping[str, Any]:
    content = read_private(file, FILE_MAX_BYTES, "data root")
    try:
        document = parse(content)
    except Refused:
        document = None
    if not isinstance(document, dict) or document.keys() != _MEMBERS or type(document["v"]) is not int:
        raise SealBroken(f"{file}: not a data root")
    id_, generation = document["id"], document["generation"]
    if document["v"] != VERSION or type(generation) is not int or not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise SealBroken(f"{file}: another version, or not a data root")
    return document


def _aead(master: MasterKey) -> AESGCM:
    return AESGCM(master.derive(_LABEL))


def _bound(id_: str, generation: int) -> bytes:
    return orjson.dumps(["handrail root", VERSION, id_, generation])
