"""C2SP signed notes, checkpoints and witness cosignatures, as a reader needs them. No file, network or clock.

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature. The gateway writes these with code
of its own (``audit.checkpoint``); a test holds both readings against each other.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

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
SECOND: Final = 6
"""Signature type of a log's own ML-DSA-44 signature, in the form of a cosignature."""
_PUBLIC_BYTES: Final = {LOG: 32, WITNESS: 32, SECOND: 1312}
_SECOND_BYTES: Final = 2420
_SECOND_LABEL: Final = b"subtree/v1\n\0"
_DASH: Final = "\u2014 "
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Vkey:
    """A verifier key, ``<name>+<hex key id>+<base64(type || public key)>``: whom the reader believes.

    Attributes:
        kind: :data:`LOG`, :data:`WITNESS` or :data:`SECOND`.
        public: 32 bytes (RFC 8032), or 1,312 of ML-DSA-44 (FIPS 204).
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
        if not raw or len(raw) - 1 != _PUBLIC_BYTES.get(raw[0]) or not _is_name(name):
            raise EvidenceError("not a verifier key for Ed25519 or ML-DSA-44: NAME+ID+KEY")
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
        """Those of the log's ``keys`` that signed. With a key of kind :data:`SECOND`, both kinds are required.

        Raises:
            EvidenceError: none did, none of a required kind did, or a line that claims to be by one of them does not
                verify.
        """
        keys = list(keys)
        first = [key for key in keys if key.kind == LOG]
        second = [key for key in keys if key.kind == SECOND]
        found = [key for key in first for raw in self._lines(key) if _verify(key, raw[4:], self.text.encode(), what)]
        if not found:
            raise EvidenceError(f"{what}: not signed by any key that you gave")
        own = [key for key in second if key.name == self.checkpoint.origin]
        also = [key for key in own for raw in self._lines(key) if self._verify_second(key, raw, what)]
        if second and not also:
            raise EvidenceError(f"{what}: not signed by any ML-DSA-44 key that you gave, and that is required")
        return [*found, *also]

    def _verify_second(self, key: Vkey, raw: bytes, what: str) -> bool:
        if len(raw) != 4 + _TIME_BYTES + _SECOND_BYTES or raw[4] & 0x80:
            raise EvidenceError(f"{what}: the ML-DSA-44 signature of {key.name} has another form")
        names = [name.encode() for name in (key.name, self.checkpoint.origin)]
        if not all(0 < len(name) < 256 for name in names):
            raise EvidenceError(f"{what}: a name has 1 to 255 bytes")
        name, origin = (bytes([len(name)]) + name for name in names)
        start, end = bytes(8), self.checkpoint.size.to_bytes(8, "big")
        message = _SECOND_LABEL + name + raw[4:12] + origin + start + end + self.checkpoint.root
        return _verify_ml_dsa(key, raw[12:], message, what)

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
    if not ed25519.holds(key.public, signature, message):
        raise EvidenceError(f"{what}: the signature of {key.name} does not verify")
    return True


def _verify_ml_dsa(key: Vkey, signature: bytes, message: bytes, what: str) -> bool:
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415 - may be missing

        MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (ImportError, UnsupportedAlgorithm):
        raise EvidenceError(
            f"{what}: this cryptography has no ML-DSA-44, so a required signature cannot be checked; take a newer one"
        ) from None
    except (InvalidSignature, ValueError):
        raise EvidenceError(f"{what}: the ML-DSA-44 signature of {key.name} does not verify") from None
    return True


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)
