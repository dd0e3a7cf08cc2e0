"""Keys that wrap other keys, and hash the names of data subjects."""

import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.epochs import KEY_BYTES, NONCE_BYTES, EpochKeys
from audit.errors import SealBroken

Subject = tuple[str, str]
"""``(tenant, subject)``."""


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """An epoch key or a bucket key in its two uses: it wraps keys, and hashes the names of their subjects."""

    name: str
    wrapper: AESGCM = field(repr=False)
    _tag_key: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, key: bytes) -> "WrappingKey":
        """From its 32 bytes."""
        return cls(name, AESGCM(key), hmac.digest(key, b"handrail subject tag", "sha256"))

    def tag(self, subject: Subject) -> str:
        """The keyed hash by which rows under this key name a subject, in hex."""
        return hmac.digest(self._tag_key, "\0".join(subject).encode(), "sha256").hex()

    def wrap(self, key_id: str, key: bytes, subject: str) -> bytes:
        """``key`` and its subject's name for the row ``key_id``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self.wrapper.encrypt(nonce, key + subject.encode(), key_id.encode("ascii"))

    def unwrap(self, key_id: str, wrapped: bytes) -> tuple[bytes, str]:
        """What :meth:`wrap` wrapped. Raises ``SealBroken``."""
        if not isinstance(wrapped, bytes):  # SQLite's columns take any type, and a flipped bit changes it
            raise SealBroken(f"key {key_id} is no wrapped key")
        try:
            plain = self.wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], key_id.encode("ascii"))
        except (InvalidTag, ValueError):
            raise SealBroken(f"key {key_id} does not unwrap") from None
        return plain[:KEY_BYTES], plain[KEY_BYTES:].decode()


def every_epoch(epochs: EpochKeys) -> list[WrappingKey]:
    """The epochs whose keys are there, oldest first: more than one only while one takes over from another.

    Raises:
        SealBroken: the keys cannot be used.
    """
    epochs.current()
    found = [(name, epochs.get(name)) for name in epochs.names()]
    return [WrappingKey.of(name, key) for name, key in found if key is not None]
