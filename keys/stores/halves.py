"""How the private half of a key is kept, beside the sealed record of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.canonical import b64url_decode, b64url_encode
from gateway.ports import Purpose
from keys.rotation import KeyRecord

Sign = Callable[[bytes], bytes]
"""Message -> signature."""


@dataclass(frozen=True, slots=True)
class NewHalf:
    """A key that was just made.

    Attributes:
        public: 32 bytes of Ed25519 (RFC 8032), or 1,312 of ML-DSA-44 (FIPS 204).
        kept: what the sealed record holds, so that :meth:`Halves.use` finds the private half again.
    """

    public: bytes
    kept: str = field(repr=False)
    sign: Sign = field(repr=False)


class Halves(Protocol):
    """Where private halves are. Every method may block.

    Each raises ``KeyUnavailable`` where it cannot be reached, and ``ValueError`` where ``kept`` is no half of the key.
    """

    @property
    def kind(self) -> str:
        """One word that stands in the sealed record: halves of another kind are refused."""

    def make(self, purpose: Purpose) -> NewHalf:
        """Make a key."""

    def use(self, record: KeyRecord, kept: str) -> Sign:
        """The signing half of ``record``; its public half has been held against it."""

    def destroy(self, kept: str) -> None:
        """Destroy the half for good; does nothing where it is gone."""


class ByPurpose:
    """Which private halves are made where. Those that were made elsewhere are used there until their keys are done.

    Args:
        chosen: purpose -> where its keys are made from now on; all others are enclosed.
        others: further places whose keys are still in use.
    """

    def __init__(self, chosen: Mapping[Purpose, Halves] = MappingProxyType({}), others: Sequence[Halves] = ()) -> None:
        self._enclosed: Halves = Enclosed()
        self._chosen = chosen
        self._kinds = {halves.kind: halves for halves in (self._enclosed, *others, *chosen.values())}

    @property
    def elsewhere(self) -> bool:
        """Whether any half may be outside of its record."""
        return len(self._kinds) > 1

    def of(self, purpose: Purpose) -> Halves:
        """Where a new key is made."""
        return self._chosen.get(purpose, self._enclosed)

    def named(self, kind: str) -> Halves:
        """Where halves of this kind are. Raises ``ValueError`` where that is not configured."""
        found = self._kinds.get(kind)
        if found is None:
            raise ValueError(f"its private half is kept in another way ({kind}) that [keys] does not name")
        return found


class Enclosed:
    """In the sealed record itself: ``kept`` is the seed, and to write the record without it destroys it."""

    kind = "enclosed"

    def make(self, purpose: Purpose) -> NewHalf:
        """See ``Halves.make``."""
        private = (MLDSA44PrivateKey if purpose is Purpose.CHECKPOINT_PQ else Ed25519PrivateKey).generate()
        seed = b64url_encode(private.private_bytes_raw())
        return NewHalf(private.public_key().public_bytes_raw(), seed, private.sign)

    def use(self, record: KeyRecord, kept: str) -> Sign:
        """See ``Halves.use``."""
        seed = b64url_decode(kept)
        private: Ed25519PrivateKey | MLDSA44PrivateKey
        if record.purpose is Purpose.CHECKPOINT_PQ:
            private = MLDSA44PrivateKey.from_seed_bytes(seed)
        else:
            private = Ed25519PrivateKey.from_private_bytes(seed)
        if b64url_encode(private.public_key().public_bytes_raw()) != record.x:
            raise ValueError("the halves do not match")
        return private.sign

    def destroy(self, kept: str) -> None:
        """See ``Halves.destroy``. Nothing of it is elsewhere."""
