"""C2SP signed notes, checkpoints and witness cosignatures, as a reader needs them. No file, network or clock.

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature. The gateway writes these with code
of its own (``audit.checkpoint``); a test holds both readings against each other.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from . import ed25519
from .errors import EvidenceError
from .strict import base64_bytes
from .tree import HASH_BYTES

NOTE_MAX_BYTES: Final = 1_000_000
SIGNATURES_MAX: Final = 100
LOG: Final = 1
"""Signature type of a log's plain Ed25519 signature."""
WITNESS: Final = 4
"""Signature type of a witness's timestamped Ed25519 cosignature."""
_DASH: Final = "\u2014 "
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Vkey:
    """A verifier key, ``<name>+<hex key id>+<base64(type || public key)>``: whom the reader believes.

    Attributes:
        kind: :data:`LOG` or :data:`WITNESS`.
        public: 32 bytes (RFC 8032).
    """

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || type || key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> "Vkey":
        """Raises ``EvidenceError`` unless name, id and key belong together."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = base64_bytes(encoded, "verifier key")
        if len(raw) != 33 or raw[0] not in {LOG, WITNESS} or not _is_name(name):
            raise EvidenceError("not a verifier key for Ed25519: NAME+ID+KEY")
        key = cls(name, raw[0], raw[1:])
        if key_id != key.key_id.hex():
            raise EvidenceError(f"the verifier key of {name} was mistyped: its id is not that of its key")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says of a log; believed only as far as :class:`Note` shows who signed it."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signature lines, taken apart and not verified."""

    text: str
    checkpoint: Checkpoint
    signatures: Sequence[tuple[str, bytes]]
    """(name, key id || signature) of each line."""

    @classmethod
    def parse(cls, raw: bytes, what: str) -> "Note":
        """Raises ``EvidenceError`` where it is no signed checkpoint."""
        if len(raw) > NOTE_MAX_BYTES:
            raise EvidenceError(f"{what}: too large for a signed note")
        try:
            whole = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise EvidenceError(f"{what}: not UTF-8") from None
        text, parting, block = whole.rpartition("\n\n")
        if not parting or not block.endswith("\n") or any(char < " " and char != "\n" for char in whole):
            raise EvidenceError(f"{what}: not a signed note")
        lines = block[:-1].split("\n")
        if len(lines) > SIGNATURES_MAX:
            raise EvidenceError(f"{what}: too many signatures")
        text += "\n"
        return cls(text, _checkpoint(text, what), [_signature(line, what) for line in lines])

    def signed_by(self, keys: Iterable[Vkey], what: str) -> list[Vkey]:
        """Those of the log's ``keys`` that signed.

        Raises:
            EvidenceError: none did, or a line that claims to be by one of them does not verify.
        """
        found = [key for key in keys for raw in self._lines(key) if _verify(key, raw[4:], self.text.encode(), what)]
        if not found:
            raise EvidenceError(f"{what}: not signed by any key that you gave")
        return found

    def cosigned_by(self, witnesses: Iterable[Vkey], what: str) -> dict[str, int]:
        """Witness -> when it cosigned, in seconds since the epoch, for those of ``witnesses`` that did.

        Raises:
            EvidenceError: a line that claims to be by one of them does not verify.
        """
        found: dict[str, int] = {}
        for key in witnesses:
            for raw in self._lines(key):
                if len(raw) != 4 + _TIME_BYTES + 64:
                    raise EvidenceError(f"{what}: the cosignature of {key.name} has another length")
                time = int.from_bytes(raw[4:12], "big")
                _verify(key, raw[12:], f"cosignature/v1\ntime {time}\n{self.text}".encode(), what)
                found[key.name] = time
        return found

    def _lines(self, key: Vkey) -> list[bytes]:
        return [raw for name, raw in self.signatures if (name, raw[:4]) == (key.name, key.key_id)]


def _checkpoint(text: str, what: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _NUMBER.fullmatch(lines[1]):
        raise EvidenceError(f"{what}: not a checkpoint")
    root = base64_bytes(lines[2], what)
    if len(root) != HASH_BYTES:
        raise EvidenceError(f"{what}: its root is not 32 bytes long")
    return Checkpoint(lines[0], int(lines[1]), root)


def _signature(line: str, what: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _is_name(name):
        raise EvidenceError(f"{what}: a signature line that is none")
    raw = base64_bytes(encoded, what)
    if len(raw) <= 4:
        raise EvidenceError(f"{what}: a signature that is too short")
    return name, raw


def _verify(key: Vkey, signature: bytes, message: bytes, what: str) -> bool:
    if not ed25519.verify(key.public, signature, message):
        raise EvidenceError(f"{what}: the signature of {key.name} does not verify")
    return True


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)
