"""How far a long look through the log is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told steps done and steps in all; what it raises ends the work."""


def unseen(_done: int, _total: int) -> None:
    """For work that nobody watches."""


class Steps:
    """Counts steps, and says so.

    Attributes:
        done: steps that are.
    """

    def __init__(self, total: int, progress: Progress) -> None:
        self.done = 0
        self._total = total
        self._progress = progress

    def say(self) -> None:
        """Say how far it is. Raises what the watcher raises."""
        self._progress(self.done, self._total)
