"""What the gauge of backups shows: when the newest one on record was made, by whichever program made it."""

from audit.history import newest_time
from audit.log import Log
from gateway.entries import EntryType
from gateway.telemetry import Metrics

LOOK_SECONDS = 60.0
"""How often the log is asked."""


class BackupGauge:
    """Belongs to one event loop."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._at = 0.0

    async def look(self, now: float) -> None:
        """Ask the log, unless that was done within :data:`LOOK_SECONDS`.

        Args:
            now: seconds since the epoch.

        Raises:
            Unavailable: ``log.unavailable``; the gauge stays as it was.
        """
        if now < self._at:
            return
        made_at = await self._log.reads.run(self._newest)
        self._metrics.backup_made.set(made_at or 0.0)
        self._at = now + LOOK_SECONDS

    def _newest(self) -> float | None:
        with self._log.reader.connect() as connection:
            return newest_time(connection, EntryType.BACKUP_MADE)
