"""The receipts that entries of the log are named by. A receipt is signed, so its row needs no belief."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, select

from gateway.store.reading import reading
from gateway.store.tables import steps


class SqlReceipts:
    """Reads block in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def naming(self, entries: Sequence[tuple[int, str]]) -> Sequence[str]:
        """``receipt+jws`` of each step that names one of these entries, in the entries' order.

        Args:
            entries: (log index, plan id).

        Raises:
            Unavailable: ``log.unavailable``.
        """
        wanted = {index for index, _ in entries}

        def read(connection: Connection) -> Sequence[str]:
            query = select(steps.c.log_index, steps.c.receipt).where(
                steps.c.plan_id.in_({plan_id for _, plan_id in entries}), steps.c.receipt.is_not(None)
            )
            found = {index: receipt for index, receipt in connection.execute(query) if index in wanted}
            return [found[index] for index in sorted(found)]

        return await reading(self._engine, "receipts", read) if wanted else ()
