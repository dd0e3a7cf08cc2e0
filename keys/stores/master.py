"""The master key, which wraps the data root (:mod:`keys.stores.root`): 32 bytes, in hex, from the environment or a
file."""

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.canonical import b64url_decode, b64url_encode, canonical
from gateway.errors import Refused
from gateway.files import make_directory, write
from keys.errors import KeyUnavailable, MasterKeyUnsafe, SealBroken
from keys.stores.private_files import read_named

VARIABLE: Final = "HANDRAIL_MASTER_KEY"
PREVIOUS: Final = "HANDRAIL_MASTER_KEY_PREVIOUS"
"""The master key before this one, while the root is not yet wrapped under this one alone."""
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_FILE_MAX_BYTES: Final = 128
_NONCE_BYTES: Final = 12
_WRAPS: Final = "handrail root/wrap v1"


class MasterKey:
    """A key that wraps another; a ``Wrapper``. It is never used itself, only keys derived from it, and never shown."""

    kind = "master"
    place = "the master key"
    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise MasterKeyUnsafe("a master key is 32 bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "MasterKey(...)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a master key is not serialised")

    def derive(self, label: str) -> bytes:
        """32 bytes for one use (HKDF-SHA256, RFC 5869); ``label`` names the use, and no two uses share one."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=label.encode()).derive(self._secret)

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        """See ``Wrapper.wrap``: base64url of nonce and AES-256-GCM, the context being associated data."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return b64url_encode(nonce + self._aead().encrypt(nonce, secret, canonical(dict(context))))

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> bytes:
        """See ``Wrapper.unwrap``."""
        try:
            raw = b64url_decode(wrapped)
            return self._aead().decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], canonical(dict(context)))
        except InvalidTag:
            raise SealBroken(f"{self.place} does not open it") from None
        except (Refused, ValueError) as exc:
            raise SealBroken(f"the wrapping is unreadable ({type(exc).__name__})") from None

    def is_newest(self, wrapped: str) -> bool:  # noqa: ARG002 - a master key has one version
        """See ``Wrapper.is_newest``."""
        return True

    def _aead(self) -> AESGCM:
        return AESGCM(self.derive(_WRAPS))

    @classmethod
    def load(cls, file: Path, environment: Mapping[str, str] = os.environ, *, make: bool = True) -> Self:
        """From ``HANDRAIL_MASTER_KEY`` if it is set, else from ``file``.

        Args:
            make: make the file (0600) if it is not there.

        Raises:
            MasterKeyUnsafe: it is not 64 hex digits, or not in a regular file.
            KeyUnavailable: the file cannot be read or made, is not ours, or the group or others can read it.
        """
        value = environment.get(VARIABLE)
        if value is not None:
            return cls._from_hex(value, VARIABLE)
        try:
            if make and not file.exists():
                _make(file)
            return cls._from_hex(_read(file), str(file))
        except OSError as exc:
            raise KeyUnavailable(f"{file}: {exc.strerror}") from None

    @classmethod
    def load_previous(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Self | None:
        """The one before: from ``HANDRAIL_MASTER_KEY_PREVIOUS``, else from ``file``; ``None`` where neither is given.

        Raises:
            MasterKeyUnsafe: as :meth:`load`.
            KeyUnavailable: the file cannot be read.
        """
        value = environment.get(PREVIOUS)
        if value is not None:
            return cls._from_hex(value, PREVIOUS)
        if file is None:
            return None
        try:
            return cls._from_hex(_read(file), str(file))
        except OSError as exc:
            raise KeyUnavailable(f"{file}: {exc.strerror}") from None

    @classmethod
    def _from_hex(cls, text: str, place: str) -> Self:
        if _HEX.fullmatch(text.strip()) is None:
            raise MasterKeyUnsafe(f"{place}: not 64 hex digits")
        return cls(bytes.fromhex(text.strip()))


def _read(file: Path) -> str:
    try:
        return read_named(file, _FILE_MAX_BYTES, "master key").decode("ascii", errors="replace")
    except SealBroken as exc:
        raise MasterKeyUnsafe(exc.detail) from None


def _make(file: Path) -> None:
    """Make the file whole or not at all; where another process was faster, its file stays."""
    make_directory(file.parent)
    with contextlib.suppress(FileExistsError):
        write(file, f"{secrets.token_hex(32)}\n".encode(), replace=False)
