"""The index of the log as tests look at it and tamper with it."""

from audit import indexing
from audit.database import changing_schema


def missing(reader):
    """The full blocks without postings."""
    with reader.connect() as connection:
        return indexing.missing(connection)


def disarm(connection):
    """What only the owner of the tables can do."""
    if connection.dialect.name == "sqlite":
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
        with changing_schema(connection):
            for name in names:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
    else:
        for table in ("entries", "postings", "posting_blocks"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
