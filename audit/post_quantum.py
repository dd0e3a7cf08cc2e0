"""The log's second signature, by ML-DSA-44, for the day on which Ed25519 can be forged. No database, network or clock.

Source: c2sp.org/tlog-cosignature, the ML-DSA-44 form (signature type 0x06 over ``cosigned_message``), which a log makes
of its own checkpoints as a cosigner of its own name. Its time is 0, which claims nothing about time. Verifiers that do
not know the line ignore it.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from audit.checkpoint import (
    KEY_ID_BYTES,
    Checkpoint,
    encode,
    key_id,
    parse_checkpoint,
    parse_vkey,
    signature_line,
    split_note,
)
from audit.errors import NoteInvalid
from gateway.reasons import Reason

ML_DSA_44: Final = b"\x06"
"""Signature type byte of an ML-DSA-44 cosignature."""
PUBLIC_BYTES: Final = 1312
SIGNATURE_BYTES: Final = 2420
TIME_MAX: Final = 2**63 - 1
_LABEL: Final = b"subtree/v1\n\0"
_NAME_MAX_BYTES: Final = 255
_NUMBER: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class PostQuantumKey:
    """A key that a verifier trusts: ``<name>+hex(key id)+base64(0x06 || public key)``."""

    name: str
    public: bytes
    """1,312 bytes (FIPS 204)."""

    def __post_init__(self) -> None:
        if len(self.public) != PUBLIC_BYTES:
            raise NoteInvalid("an ML-DSA-44 public key has 1,312 bytes")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x06 || key)[:4]."""
        return key_id(self.name, ML_DSA_44 + self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode(ML_DSA_44 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "PostQuantumKey":
        """Raises ``NoteInvalid`` unless name, id and key belong together, and the key is of this type."""
        name, material = parse_vkey(text)
        if material[:1] != ML_DSA_44:
            raise NoteInvalid("not an ML-DSA-44 verifier key (type 06)")
        return cls(name, material[1:])

    def verify(self, checkpoint: Checkpoint, blob: bytes) -> None:
        """Raises ``NoteInvalid`` unless ``blob`` (key id, time, signature) is this key's over ``checkpoint``."""
        if len(blob) != KEY_ID_BYTES + _NUMBER.size + SIGNATURE_BYTES:
            raise NoteInvalid(f"the ML-DSA-44 signature of {self.name} has a wrong length")
        (time,) = _NUMBER.unpack_from(blob, KEY_ID_BYTES)
        if time > TIME_MAX:
            raise NoteInvalid(f"the ML-DSA-44 signature of {self.name} has no time")
        try:
            key = MLDSA44PublicKey.from_public_bytes(self.public)
            key.verify(blob[KEY_ID_BYTES + _NUMBER.size :], message(self.name, checkpoint, time))
        except (InvalidSignature, ValueError):
            what = f"the ML-DSA-44 signature of {self.name} does not verify"
            raise NoteInvalid(what, Reason.VERIFY_SIGNATURE) from None


def message(name: str, checkpoint: Checkpoint, time: int = 0) -> bytes:
    """What is signed: ``cosigned_message`` of the tree from its first leaf.

    Raises:
        NoteInvalid: a name is empty or has more than 255 bytes.
    """
    parts = [_LABEL]
    for text, after in ((name, _NUMBER.pack(time)), (checkpoint.origin, _NUMBER.pack(0))):
        raw = text.encode()
        if not 0 < len(raw) <= _NAME_MAX_BYTES:
            raise NoteInvalid("a name has 1 to 255 bytes")
        parts += [bytes([len(raw)]), raw, after]
    return b"".join([*parts, _NUMBER.pack(checkpoint.tree_size), checkpoint.root])


def line(text: str, key: PostQuantumKey, sign: Callable[[bytes], bytes]) -> str:
    """The signature line of ``key`` under the checkpoint with this note text.

    Raises:
        NoteInvalid: ``sign`` answered with a signature that ``key`` does not verify (it was rotated meanwhile).
    """
    checkpoint = parse_checkpoint(text)
    blob = key.key_id + _NUMBER.pack(0) + sign(message(key.name, checkpoint))
    key.verify(checkpoint, blob)
    return signature_line(key.name, blob)


def require(note: str, keys: Sequence[PostQuantumKey]) -> None:
    """That one of ``keys`` signed the checkpoint, beside whoever signed it by Ed25519. Does nothing without keys.

    Raises:
        NoteInvalid: none did, or a line of one of them does not verify.
    """
    if keys and not signers(note, keys):
        raise NoteInvalid("no known ML-DSA-44 key signed the checkpoint, and one is required", Reason.VERIFY_SIGNATURE)


def signers(note: str, keys: Iterable[PostQuantumKey]) -> list[PostQuantumKey]:
    """Those of the log's own ``keys`` that signed; lines of others are ignored.

    Raises:
        NoteInvalid: a line of one of them does not verify.
    """
    text, lines = split_note(note)
    checkpoint = parse_checkpoint(text)
    known = {(key.name, key.key_id): key for key in keys if key.name == checkpoint.origin}
    found: dict[PostQuantumKey, None] = {}
    for name, blob in lines:
        key = known.get((name, blob[:KEY_ID_BYTES]))
        if key is not None:
            key.verify(checkpoint, blob)
            found[key] = None
    return list(found)
