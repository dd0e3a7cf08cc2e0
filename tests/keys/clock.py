"""A clock that the tests of keys set by hand."""

from typing import Final

from keys.stores.master import MasterKey

T0: Final = 1_800_000_000.0
MASTER: Final = MasterKey(bytes(range(32)))


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now
