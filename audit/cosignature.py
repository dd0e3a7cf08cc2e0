"""Cosignatures: what witnesses say of a checkpoint, and how many of them are enough. No database, network or clock.

Sources: c2sp.org/tlog-cosignature (type 0x04, Ed25519), c2sp.org/tlog-policy (k of n).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.checkpoint import KEY_ID_BYTES, key_id, parse_vkey, signature_line, signature_lines, split_note
from audit.errors import NoteInvalid
from gateway.reasons import Reason

ED25519: Final = b"\x04"
"""Signature type byte of a timestamped Ed25519 cosignature."""
TIME_MAX: Final = 2**63 - 1
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's key: ``<name>+hex(key id)+base64(0x04 || public key)``. Another type of key is another class."""

    name: str
    public: bytes
    """32-byte Ed25519 public key (RFC 8032)."""

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x04 || key)[:4]."""
        return key_id(self.name, ED25519 + self.public)

    @classmethod
    def parse(cls, text: str) -> "WitnessKey":
        """Raises ``NoteInvalid`` for another type of key, or where name, id and key do not belong together."""
        name, material = parse_vkey(text)
        if material[:1] != ED25519 or len(material) != 1 + _KEY_BYTES:
            raise NoteInvalid("not an Ed25519 key for cosignatures (type 04)")
        return cls(name, material[1:])

    def verify(self, text: str, blob: bytes) -> int:
        """The time, in seconds since the epoch, at which the witness says that it saw the checkpoint.

        Args:
            text: the checkpoint's note text.
            blob: of the signature line: key id, time and signature.

        Raises:
            NoteInvalid: it is not this key's cosignature of ``text``.
        """
        time = time_of(self.name, blob)
        try:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(blob[KEY_ID_BYTES + _TIME.size :], cosigned_message(text, time))
        except (InvalidSignature, ValueError):
            raise NoteInvalid(f"the cosignature of {self.name} does not verify", Reason.VERIFY_SIGNATURE) from None
        return time


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One verified cosignature."""

    witness: str
    """Name of the key."""
    key_id: bytes
    time: int
    """Seconds since the epoch, as the witness says."""
    line: str
    """The signature line, with its newline."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of which witnesses are enough.

    Attributes:
        needed: 0 where no witness is needed.
    """

    keys: tuple[WitnessKey, ...] = ()
    needed: int = 0

    def __post_init__(self) -> None:
        if len({key.public for key in self.keys}) != len(self.keys):
            raise NoteInvalid("one key is one witness, whatever its names")
        if not 0 <= self.needed <= len(self.keys):
            raise NoteInvalid(f"{self.needed} of {len(self.keys)} witnesses")

    def verify(self, note: str) -> list[Cosignature]:
        """The newest cosignature of each witness under the note.

        Raises:
            NoteInvalid: fewer than needed, or one by a known key does not verify.
        """
        text, lines = split_note(note)
        newest = _newest(verified(text, lines, self.keys))
        if len(newest) < self.needed:
            raise NoteInvalid(
                f"{len(newest)} of {len(self.keys)} witnesses cosigned it; {self.needed} are needed",
                Reason.VERIFY_SIGNATURE,
            )
        return list(newest.values())


def time_of(name: str, blob: bytes) -> int:
    """The time in the signature line of the witness ``name``, unverified. Raises ``NoteInvalid`` where it has none."""
    if len(blob) != KEY_ID_BYTES + _TIME.size + _SIGNATURE_BYTES:
        raise NoteInvalid(f"the cosignature of {name} has a wrong length")
    (time,) = _TIME.unpack_from(blob, KEY_ID_BYTES)
    if not 0 < time <= TIME_MAX:
        raise NoteInvalid(f"the cosignature of {name} has no time")
    return int(time)


def cosigned_message(text: str, time: int) -> bytes:
    """What an Ed25519 witness signs: a header line, a time line, and the checkpoint's note text."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def verified(text: str, lines: Iterable[tuple[str, bytes]], keys: Iterable[WitnessKey]) -> list[Cosignature]:
    """The cosignatures by ``keys`` among signature lines; lines of unknown keys are ignored.

    Raises:
        NoteInvalid: a known key's does not verify.
    """
    known: Mapping[tuple[str, bytes], WitnessKey] = {(key.name, key.key_id): key for key in keys}
    found = []
    for name, blob in lines:
        key = known.get((name, blob[:KEY_ID_BYTES]))
        if key is not None:
            found.append(Cosignature(name, key.key_id, key.verify(text, blob), signature_line(name, blob)))
    return found


def from_answer(text: str, answer: str, key: WitnessKey) -> Cosignature:
    """The cosignature in what a witness answered to a checkpoint: one or more signature lines.

    Raises:
        NoteInvalid: none is by ``key``, or one of that key does not verify.
    """
    found = verified(text, signature_lines(answer), [key])
    if not found:
        raise NoteInvalid(f"no cosignature by {key.name}")
    return max(found, key=lambda one: one.time)


def _newest(found: Sequence[Cosignature]) -> dict[tuple[str, bytes], Cosignature]:
    newest: dict[tuple[str, bytes], Cosignature] = {}
    for one in sorted(found, key=lambda each: each.time):
        newest[one.witness, one.key_id] = one
    return newest
