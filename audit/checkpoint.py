"""C2SP text formats: signed notes, checkpoints, verifier keys and proofs. No database, network or clock.

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-proof.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.errors import NoteInvalid
from audit.merkle import HASH_BYTES, verify_inclusion
from gateway.reasons import Reason

ED25519: Final = b"\x01"
"""Signature type byte of a plain Ed25519 note signature."""
KEY_ID_BYTES: Final = 4
NOTE_MAX_BYTES: Final = 1_000_000
SIGNATURES_MAX: Final = 100
PROOF_MAGIC: Final = "c2sp.org/tlog-proof@v1"
_DASH: Final = "\u2014 "
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that a verifier trusts: ``<name>+hex(key id)+base64(0x01 || public key)``."""

    name: str
    public: bytes
    """32-byte Ed25519 public key (RFC 8032)."""

    def __post_init__(self) -> None:
        if len(self.public) != 32:
            raise NoteInvalid("an Ed25519 public key has 32 bytes")
        _check_name(self.name)

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x01 || key)[:4]."""
        return key_id(self.name, ED25519 + self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Raises ``NoteInvalid`` unless name, id and key belong together."""
        name, material = parse_vkey(text)
        if material[:1] != ED25519:
            raise NoteInvalid("not an Ed25519 verifier key")
        return cls(name, material[1:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified tree head."""

    origin: str
    tree_size: int
    root: bytes


def key_id(name: str, material: bytes) -> bytes:
    """SHA-256(name || 0x0A || signature type || public key)[:4].

    Args:
        material: the signature type byte and the public key.
    """
    return hashlib.sha256(name.encode() + b"\n" + material).digest()[:KEY_ID_BYTES]


def parse_vkey(text: str) -> tuple[str, bytes]:
    """Name and material (signature type byte and public key) of a verifier key of any type.

    Raises:
        NoteInvalid: unless name, id and key belong together.
    """
    # The base64 of the key may hold a plus; a name cannot.
    name, _, rest = text.partition("+")
    claimed, _, encoded = rest.partition("+")
    material = _decode(encoded)
    _check_name(name)
    if claimed != key_id(name, material).hex():
        raise NoteInvalid("key id and key do not belong together")
    return name, material


def checkpoint_text(origin: str, tree_size: int, root: bytes) -> str:
    """The note text that is signed; ends in a newline."""
    return f"{origin}\n{tree_size}\n{encode(root)}\n"


def sign_note(text: str, key: VerifierKey, sign: Callable[[bytes], bytes]) -> str:
    """``text`` with one signature line by ``key``'s private half.

    Raises:
        NoteInvalid: ``sign`` answered with a signature that ``key`` does not verify (it was rotated meanwhile).
    """
    _check_text(text)
    signature = sign(text.encode())
    _verify(key, signature, text)
    return f"{text}\n{signature_line(key.name, key.key_id + signature)}"


def signature_line(name: str, blob: bytes) -> str:
    """One signature line with its newline; ``blob`` is the key id and the signature."""
    return f"{_DASH}{name} {encode(blob)}\n"


def verify_note(note: str, keys: Iterable[VerifierKey]) -> str:
    """The text of a note that at least one of ``keys`` signed.

    Signatures of unknown keys are ignored; one by a known key that does not verify refuses the whole note.

    Raises:
        NoteInvalid: malformed, or no known key signed it.
    """
    text, lines = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified = False
    for name, raw in lines:
        key = known.get((name, raw[:KEY_ID_BYTES]))
        if key is not None:
            _verify(key, raw[KEY_ID_BYTES:], text)
            verified = True
    if not verified:
        raise NoteInvalid("no known key signed the note", Reason.VERIFY_SIGNATURE)
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint's note text (already verified). Extension lines are allowed and ignored.

    Raises:
        NoteInvalid: not a checkpoint.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteInvalid("a checkpoint has at least three lines")
    if not _NUMBER.fullmatch(lines[1]):
        raise NoteInvalid("tree size is no decimal number")
    root = _decode(lines[2])
    if len(root) != HASH_BYTES:
        raise NoteInvalid("a root has 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def verify_checkpoint(note: str, keys: Iterable[VerifierKey], origin: str | None = None) -> Checkpoint:
    """A checkpoint signed by one of ``keys``, of the log ``origin`` where that is given. Raises ``NoteInvalid``."""
    checkpoint = parse_checkpoint(verify_note(note, keys))
    if origin is not None and checkpoint.origin != origin:
        raise NoteInvalid("a checkpoint of another log", Reason.VERIFY_AUDIENCE)
    return checkpoint


def note_text(note: str) -> str:
    """The text of a note *without* verifying anything; for finding out what it claims. Raises ``NoteInvalid``."""
    return split_note(note)[0]


def tlog_proof(index: int, path: Sequence[bytes], note: str) -> str:
    """``c2sp.org/tlog-proof@v1``: an inclusion proof with its checkpoint, leaf's sibling first."""
    lines = [PROOF_MAGIC, f"index {index}", *(encode(value) for value in path)]
    return "\n".join(lines) + "\n\n" + note


def verify_tlog_proof(
    proof: str, leaf: bytes, keys: Iterable[VerifierKey], origin: str | None = None
) -> tuple[int, Checkpoint]:
    """Check that ``leaf`` (a leaf hash) is in the log under a checkpoint signed by one of ``keys``.

    Returns:
        Its index, and the checkpoint. The ``extra`` line is not authenticated and is ignored.

    Raises:
        NoteInvalid: malformed, or not signed by a known key.
        ProofInvalid: the path does not lead from the leaf to the root.
    """
    top, blank, note = proof.partition("\n\n")
    lines = top.split("\n")
    if not blank or lines.pop(0) != PROOF_MAGIC:
        raise NoteInvalid("not a tlog-proof")
    if lines and lines[0].startswith("extra "):
        _decode(lines.pop(0).removeprefix("extra "))
    number = lines.pop(0) if lines else ""
    if not number.startswith("index ") or not _NUMBER.fullmatch(number.removeprefix("index ")):
        raise NoteInvalid("a proof needs its index")
    path = [_decode(line) for line in lines]
    if any(len(value) != HASH_BYTES for value in path):
        raise NoteInvalid("a hash has 32 bytes")
    index = int(number.removeprefix("index "))
    checkpoint = verify_checkpoint(note, keys, origin)
    verify_inclusion(leaf, index, checkpoint.tree_size, path, checkpoint.root)
    return index, checkpoint


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Text, and name and blob of each signature line; nothing is verified. The *last* empty line parts them.

    Raises:
        NoteInvalid: not a note.
    """
    if len(note.encode(errors="replace")) > NOTE_MAX_BYTES:
        raise NoteInvalid("note too large")
    _check_text(note)
    text, parting, block = note.rpartition("\n\n")
    if not parting or not block:
        raise NoteInvalid("a note has a blank line before its signatures")
    return text + "\n", signature_lines(block)


def signature_lines(block: str) -> list[tuple[str, bytes]]:
    """Name and blob of each line of a block that ends in a newline; nothing is verified.

    Raises:
        NoteInvalid: a line is malformed, or there are too many.
    """
    if not block.endswith("\n"):
        raise NoteInvalid("signatures end in a newline")
    lines = block[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteInvalid("too many signatures")
    return [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise NoteInvalid("malformed signature line")
    _check_name(name)
    raw = _decode(encoded)
    if len(raw) <= KEY_ID_BYTES:
        raise NoteInvalid("signature too short")
    return name, raw


def _verify(key: VerifierKey, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise NoteInvalid(f"the signature of {key.name} does not verify", Reason.VERIFY_SIGNATURE) from None


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteInvalid("a note ends in a newline")
    if any(char < " " and char != "\n" for char in text):
        raise NoteInvalid("a note has no control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteInvalid("a note is UTF-8") from None


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() for char in name):
        raise NoteInvalid("not a key name")


def encode(raw: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(raw).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid("not base64") from None
    if encode(raw) != text:
        raise NoteInvalid("not canonical base64")
    return raw
