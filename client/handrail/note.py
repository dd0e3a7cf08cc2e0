"""Signed notes, checkpoints, cosignatures and inclusion proofs as text: C2SP signed-note, tlog-checkpoint,
tlog-cosignature, tlog-proof v1.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from handrail.errors import MalformedError
from handrail.keys import VerifyKey
from handrail.merkle import HASH_BYTES
from handrail.post_quantum import PostQuantumKey, require
from handrail.strict import b64_decode
from handrail.vkey import key_id_of, taken_apart

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
NOTE_MAX_BYTES: Final = 1_048_576
SIGNATURES_MAX: Final = 64
PATH_MAX: Final = 63

_ED25519: Final = 0x01
_COSIGNATURE: Final = 0x04
_TIME_BYTES: Final = 8
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE: Final = re.compile(r"\u2014 (\S+) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class _NoteKey:
    """A verifier key: ``name+hex(keyID)+base64(type || key)``."""

    name: str
    key_id: bytes
    key: VerifyKey

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read an Ed25519 vkey.

        Raises:
            MalformedError: for another type, or a key id that does not belong to name and key.
        """
        name, key_id, material = taken_apart(vkey)
        if material[0] != cls._type():
            raise MalformedError(f"not an Ed25519 {cls._what()}")
        key = VerifyKey(material[1:])
        return cls(name, key_id, key)

    @classmethod
    def of(cls, name: str, key: VerifyKey) -> Self:
        """The verifier key of a name and a public key."""
        material = bytes([cls._type()]) + key.raw
        return cls(name, key_id_of(name, material), key)

    @staticmethod
    def _type() -> int:
        return _ED25519

    @staticmethod
    def _what() -> str:
        return "verifier key"


@dataclass(frozen=True, slots=True)
class LogKey(_NoteKey):
    """A verifier key of a log (signature type 01)."""


@dataclass(frozen=True, slots=True)
class WitnessKey(_NoteKey):
    """A verifier key of a witness (signature type 04, timestamped cosignatures)."""

    @staticmethod
    def _type() -> int:
        return _COSIGNATURE

    @staticmethod
    def _what() -> str:
        return "key for cosignatures (type 04)"


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of which witnesses must have cosigned a checkpoint. Which these are is for the verifier to say."""

    keys: tuple[WitnessKey, ...] = ()
    needed: int = 0

    @classmethod
    def parse(cls, vkeys: Sequence[str], needed: int | None = None) -> "Quorum":
        """Read the witnesses' verifier keys.

        Args:
            needed: how many of them; ``None`` for all.

        Raises:
            MalformedError: a key cannot be used, one is there twice, or there are fewer than are needed.
        """
        keys = tuple(WitnessKey.parse(vkey) for vkey in vkeys)
        if len({key.key.raw for key in keys}) != len(keys):
            raise MalformedError("one key is one witness: it counts once")
        if needed is not None and not 0 < needed <= len(keys):
            raise MalformedError(f"a quorum of {needed} of {len(keys)} witnesses")
        return cls(keys, len(keys) if needed is None else needed)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head that a trusted key signed."""

    origin: str
    size: int
    root: bytes
    signers: tuple[str, ...]
    """Key ids (hex) of the log whose signatures were checked."""
    witnesses: tuple[str, ...] = ()
    """Names of the known witnesses whose cosignatures were checked."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A parsed, *unverified* ``c2sp.org/tlog-proof@v1``."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str


NO_QUORUM: Final = Quorum()
NOTHING_STOLEN: Final[Mapping[LogKey, float]] = MappingProxyType({})


def open_checkpoint(
    note: str,
    keys: Iterable[LogKey],
    quorum: Quorum = NO_QUORUM,
    second: Sequence[PostQuantumKey] = (),
    stolen: Mapping[LogKey, float] = NOTHING_STOLEN,
) -> Checkpoint:
    """Verify a signed note and read its body as a checkpoint.

    Args:
        stolen: keys of the log that were revoked -> since when they may have been in wrong hands. A note that none but
            such a key signed counts only where ``quorum`` witnesses, at least one, say that they saw it before.

    Signatures of unknown keys are ignored; a known key whose signature fails refuses the whole note. The text is not
    looked at before a signature holds, and the key's name must equal the checkpoint's origin.

    Args:
        second: with these, one of them must have signed by ML-DSA-44 as well.

    Raises:
        MalformedError: where the note or its body is malformed, no known key signed it, or fewer witnesses cosigned it
            than ``quorum`` needs.
    """
    text, signatures = _split(note)
    known = {(key.name, key.key_id): key for key in [*keys, *stolen]}
    signers: list[LogKey] = []
    for name, blob in signatures:
        key = known.get((name, blob[:4]))
        if key is None:
            continue
        try:
            key.key.verify(blob[4:], text.encode())
        except MalformedError:
            raise MalformedError(f"the checkpoint's signature by {name} does not verify") from None
        signers.append(key)
    if not signers:
        raise MalformedError("no trusted key signed the checkpoint")
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise MalformedError("the checkpoint has fewer than three lines, or an empty one")
    if not _DECIMAL.fullmatch(lines[1]):
        raise MalformedError("the checkpoint's tree size is not a decimal number")
    root = b64_decode(lines[2])
    if len(root) != HASH_BYTES:
        raise MalformedError("the checkpoint's root is not 32 bytes long")
    if any(key.name != lines[0] for key in signers):
        raise MalformedError("the checkpoint was signed by a key of another log")
    require((lines[0], int(lines[1]), root), signatures, second)
    found = _witnesses(text, signatures, quorum)
    witnesses = tuple(key.name for key in found)
    if all(key in stolen for key in signers):
        since = min(stolen[key] for key in signers)
        if sum(time < since for time in found.values()) < max(1, quorum.needed):
            raise MalformedError(
                "the checkpoint was signed by a key that was stolen, and not enough of your witnesses saw it before: "
                "fetch the proof anew"
            )
    return Checkpoint(lines[0], int(lines[1]), root, tuple(key.key_id.hex() for key in signers), witnesses)


def _witnesses(text: str, signatures: Sequence[tuple[str, bytes]], quorum: Quorum) -> dict[WitnessKey, int]:
    """The witnesses that cosigned, and when first, as tlog-cosignature has Ed25519 witnesses do it; a line of a
    stranger is ignored, and one of a known witness that fails refuses the note.
    """
    known = {(key.name, key.key_id): key for key in quorum.keys}
    found: dict[WitnessKey, int] = {}
    for name, blob in signatures:
        key = known.get((name, blob[:4]))
        if key is None:
            continue
        time, signature = int.from_bytes(blob[4 : 4 + _TIME_BYTES]), blob[4 + _TIME_BYTES :]
        try:
            key.key.verify(signature, f"cosignature/v1\ntime {time}\n{text}".encode())
        except MalformedError:
            raise MalformedError(f"the cosignature by {name} does not verify") from None
        if not 0 < time < 2**63:
            raise MalformedError(f"the cosignature by {name} has no time")
        found[key] = min(time, found.get(key, time))
    if len(found) < quorum.needed:
        raise MalformedError(f"{len(found)} of {len(quorum.keys)} witnesses cosigned it; {quorum.needed} are needed")
    return found


def parse_proof(text: str) -> Proof:
    """Read a tlog-proof. The ``extra`` line is skipped: nothing authenticates it.

    Raises:
        MalformedError: where the text departs from the format.
    """
    if len(text) > NOTE_MAX_BYTES:
        raise MalformedError("the proof is too long")
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != PROOF_HEADER:
        raise MalformedError(f"the proof does not start with {PROOF_HEADER}")
    rest = lines[1:]
    if rest and rest[0].startswith("extra "):
        b64_decode(rest[0].removeprefix("extra "))
        rest = rest[1:]
    if not rest or not rest[0].startswith("index ") or not _DECIMAL.fullmatch(rest[0].removeprefix("index ")):
        raise MalformedError("the proof has no index line")
    if len(rest) - 1 > PATH_MAX:
        raise MalformedError("the proof has more hashes than any tree is high")
    path = tuple(b64_decode(line) for line in rest[1:])
    if any(len(item) != HASH_BYTES for item in path):
        raise MalformedError("a hash of the proof is not 32 bytes long")
    return Proof(int(rest[0].removeprefix("index ")), path, checkpoint)


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The note's text (with its last newline) and its signatures as (name, keyID || signature)."""
    if len(note) > NOTE_MAX_BYTES:
        raise MalformedError("the note is too long")
    if _CONTROL.search(note):
        raise MalformedError("the note has control characters")
    body, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise MalformedError("the note has no signatures, or does not end in a newline")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise MalformedError("the note has too many signatures")
    signatures = []
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        if match is None or "+" in match[1]:
            raise MalformedError("the note has a malformed signature line")
        blob = b64_decode(match[2])
        if len(blob) <= 4:
            raise MalformedError("the note has a signature that is too short")
        signatures.append((match[1], blob))
    return body + "\n", signatures
