"""Random bytes for the hot path: salts, nonces and single-use ids.

Asking the system gives up the interpreter's lock, and getting that back from a busy thread costs far more than the
bytes do. So 4 KiB are asked for at a time. Keys are not made of these: they are asked for one by one.
"""

import os
from typing import Final

UNIT_BYTES: Final = 16
_UNITS: Final = 256


class _Pool:
    """Units of the system's random bytes, each given out once. Thread-safe; a forked child starts with none."""

    def __init__(self) -> None:
        self._units: list[bytes] = []
        os.register_at_fork(after_in_child=self._units.clear)

    def take(self) -> bytes:
        while True:
            try:
                return self._units.pop()
            except IndexError:
                block = os.urandom(_UNITS * UNIT_BYTES)
                self._units.extend(block[at : at + UNIT_BYTES] for at in range(0, len(block), UNIT_BYTES))


_pool = _Pool()


def random_16_bytes() -> bytes:
    """16 bytes (128 bits) that nobody else gets."""
    return _pool.take()


def random_id() -> str:
    """32 hexadecimal digits that nobody can guess."""
    return _pool.take().hex()
