"""Where private keys live. A store makes keys, keeps their records, and never hands a private key out."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.ports import Purpose
from keys.rotation import KeyRecord


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as its store gives it: the record, and the use of the private half while there is one.

    Attributes:
        sign: message -> 64-byte Ed25519 signature (RFC 8032); ``None`` once the private half is destroyed.
    """

    record: KeyRecord
    sign: Callable[[bytes], bytes] | None = field(repr=False, default=None)


class KeyStore(Protocol):
    """Durable keys. Every method may block and raises ``keys.errors.KeyUnavailable`` where the store cannot be used.

    ``create`` and ``update`` are called under :meth:`lock` only; each is durable, and all or nothing, when it returns.
    """

    def lock(self) -> AbstractContextManager[None]:
        """Keep every other process from changing keys."""

    def version(self) -> Hashable:
        """Something cheap that differs after any change by anybody."""

    def load(self) -> Sequence[StoredKey]:
        """Every key. One that cannot be read is an error, never left out."""

    def create(self, purpose: Purpose, now: float) -> StoredKey:
        """Make a key in state ``next``."""

    def update(self, record: KeyRecord) -> None:
        """Replace a key's record; where ``record.state.private`` is false, destroy the private half with it."""
