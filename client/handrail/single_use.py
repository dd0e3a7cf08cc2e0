"""Which step credentials were used already: in this process's memory, or in a file that several processes share."""

import os
import sqlite3
import threading
from contextlib import closing
from typing import Final, Protocol

from handrail.errors import StepRefused

LATE_SECONDS: Final = 5
"""How long after its ``exp`` a credential is still taken (clocks differ), and so remembered."""


class Uses(Protocol):
    """Takes each credential once. Thread-safe."""

    def claim(self, jti: str, expires_at: int, now: float) -> None:
        """Take ``jti``. Times are seconds since the epoch.

        Raises:
            StepRefused: ``verify.replayed``; ``credential.refused`` where it cannot be remembered.
        """


class MemoryUses:
    """For a hand of one process. A restart forgets; a hand for which 65 seconds of that matter takes
    :class:`FileUses`."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._ends: dict[str, int] = {}
        self._lock = threading.Lock()

    def claim(self, jti: str, expires_at: int, now: float) -> None:
        """See :class:`Uses`. More live credentials than fit are refused: forgetting one would let it in again."""
        with self._lock:
            if jti in self._ends:
                raise StepRefused("verify.replayed", "used already")
            if len(self._ends) >= self._capacity:
                self._ends = {known: end for known, end in self._ends.items() if end + LATE_SECONDS >= now}
                if len(self._ends) >= self._capacity:
                    raise StepRefused("credential.refused", "too many live credentials")
            self._ends[jti] = expires_at


class FileUses:
    """For a hand of several processes on one machine, or one that is restarted: an SQLite file.

    A use is on disk before it counts, so neither a crash nor a second process lets a credential in again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or make the file. Raises ``StepRefused`` (``credential.refused``) where that fails."""
        self._path = os.fspath(path)
        try:
            with closing(self._open()) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS used (jti TEXT PRIMARY KEY, ends INTEGER NOT NULL)")
        except sqlite3.Error as exc:
            raise StepRefused("credential.refused", f"no memory of uses: {exc}") from None

    def claim(self, jti: str, expires_at: int, now: float) -> None:
        """See :class:`Uses`."""
        try:
            with closing(self._open()) as connection, connection:
                connection.execute("INSERT INTO used VALUES (?, ?)", (jti, expires_at))
                connection.execute("DELETE FROM used WHERE ends < ?", (int(now) - LATE_SECONDS,))
        except sqlite3.IntegrityError:
            raise StepRefused("verify.replayed", "used already") from None
        except sqlite3.Error as exc:
            raise StepRefused("credential.refused", f"no memory of uses: {exc}") from None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5)
        connection.execute("PRAGMA synchronous=FULL")
        return connection
