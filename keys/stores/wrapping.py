"""What wraps the data root: the master key, or a key that stays in a service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Wrapper(Protocol):
    """A key that wraps the root. Methods may block, and raise ``KeyUnavailable`` where the key is out of reach."""

    @property
    def kind(self) -> str:
        """One word that stands in the root's file: what wraps it."""

    @property
    def place(self) -> str:
        """Which key this is, for people."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        """``secret`` under this key, bound to ``context``; at most 700 characters of ASCII."""

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> bytes:
        """What :meth:`wrap` was given.

        Raises:
            SealBroken: it was changed, or this key or context is another.
        """

    def is_newest(self, wrapped: str) -> bool:
        """Whether a wrapping made now would be under the same version of the key."""


@dataclass(frozen=True, slots=True)
class Wrappers:
    """What wraps the root, and what did before while that is being changed."""

    current: Wrapper
    previous: Wrapper | None = None
