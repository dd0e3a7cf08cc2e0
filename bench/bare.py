"""What the database does alone: rows of 1 KiB in one table, as many to a commit as callers wait for one append.

The log's rate divided by this one says what the tree, canonical entries, indexes, checkpoints and callers cost, on a
machine of any speed.
"""

import os
import time
from typing import Any

from sqlalchemy import Column, LargeBinary, MetaData, Table

from audit.database import changing_schema, make_engine, writing
from audit.driver import BulkInsert, Driver
from audit.tables import entries

ROW_BYTES = 1_024
_table = Table("bare", MetaData(), Column("idx", entries.c.idx.type, primary_key=True), Column("body", LargeBinary))


def measure(url: str, seconds: float, rows: int) -> dict[str, Any]:
    """Insert ``rows`` to a commit, with the same settings of durability as the log's; rows a second."""
    engine = make_engine(url)
    with engine.begin() as connection, changing_schema(connection):
        _table.create(connection)
    body, count = os.urandom(ROW_BYTES), 0
    with writing(engine.connect()) as connection:
        driver, insert = Driver(connection), BulkInsert(engine.dialect, _table, ("idx", "body"))
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            with connection.begin():
                insert.execute(driver, [(count + number, body) for number in range(rows)])
            count += rows
        took = time.perf_counter() - began
    engine.dispose()
    return {"rows_per_second": round(count / took), "rows_per_commit": rows}
