"""The log's second signature, by ML-DSA-44: C2SP tlog-cosignature, signature type 06 over ``cosigned_message``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from handrail.errors import MalformedError
from handrail.vkey import taken_apart

_TYPE: Final = b"\x06"
_PUBLIC_BYTES: Final = 1312
_SIGNATURE_BYTES: Final = 2420
_TIME_BYTES: Final = 8
_LABEL: Final = b"subtree/v1\n\0"


@dataclass(frozen=True, slots=True)
class PostQuantumKey:
    """A verifier key ``name+hex(keyID)+base64(06 || key)``.

    Attributes:
        raw: 1,312 bytes (FIPS 204).
    """

    name: str
    key_id: bytes
    raw: bytes

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read one.

        Raises:
            MalformedError: for another type, or a key id that does not belong to name and key.
        """
        name, key_id, material = taken_apart(vkey)
        if material[:1] != _TYPE or len(material) != 1 + _PUBLIC_BYTES:
            raise MalformedError("not an ML-DSA-44 verifier key (type 06)")
        return cls(name, key_id, material[1:])

    def verify(self, origin: str, size: int, root: bytes, blob: bytes) -> None:
        """Raises ``MalformedError`` unless ``blob`` (key id, time, signature) is this key's over the checkpoint."""
        if len(blob) != 4 + _TIME_BYTES + _SIGNATURE_BYTES:
            raise MalformedError(f"the ML-DSA-44 signature by {self.name} has a wrong length")
        time = int.from_bytes(blob[4 : 4 + _TIME_BYTES])
        if time >= 2**63:
            raise MalformedError(f"the ML-DSA-44 signature by {self.name} has no time")
        names = [one.encode() for one in (self.name, origin)]
        if not all(0 < len(one) < 256 for one in names):
            raise MalformedError("a name has 1 to 255 bytes")
        message = b"".join(
            [
                _LABEL,
                *(bytes([len(names[0])]), names[0], time.to_bytes(8)),
                *(bytes([len(names[1])]), names[1], bytes(8)),
                *(size.to_bytes(8), root),
            ]
        )
        _verify(self.raw, blob[4 + _TIME_BYTES :], message, self.name)


def require(
    checkpoint: tuple[str, int, bytes], signatures: Iterable[tuple[str, bytes]], keys: Sequence[PostQuantumKey]
) -> None:
    """That one of ``keys`` signed. Does nothing without keys.

    Args:
        checkpoint: origin, size, root.
        signatures: name and blob of each signature line; those of others are ignored.

    Raises:
        MalformedError: none did, or a line of one of them does not verify.
    """
    known = {(key.name, key.key_id): key for key in keys if key.name == checkpoint[0]}
    found = False
    for name, blob in signatures:
        key = known.get((name, blob[:4]))
        if key is not None:
            key.verify(*checkpoint, blob)
            found = True
    if keys and not found:
        raise MalformedError("no trusted ML-DSA-44 key signed the checkpoint, and one is required")


def _verify(public: bytes, signature: bytes, message: bytes, name: str) -> None:
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415 - may be missing

        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (ImportError, UnsupportedAlgorithm):
        text = "this cryptography has no ML-DSA-44, so a required signature cannot be checked: install a newer one"
        raise MalformedError(text) from None
    except (InvalidSignature, ValueError):
        raise MalformedError(f"the ML-DSA-44 signature by {name} does not verify") from None
