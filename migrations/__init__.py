"""The database schema, version by version. ``upgrade`` is what a gateway runs before it starts."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, inspect

from audit.database import changing_schema, configure, writing
from audit.tables import metadata as audit_metadata
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.store.tables.offers import metadata as store_metadata

TARGETS: Final[tuple[MetaData, ...]] = (audit_metadata, store_metadata)
"""Everything that the newest version must have, no more and no less."""
_LOCK: Final = 0x48414E44
"""PostgreSQL advisory lock: gateways that start together migrate one after the other."""


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version, in one transaction; does nothing where it is there already.

    Raises:
        Unavailable: ``log.unavailable`` where tables lack columns although the version is the newest: they were made
            before the first release, and cannot be carried over.
    """
    configure(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).resolve().parent).replace("%", "%%"))
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        verify_columns(connection)


def newest() -> str:
    """The version of the tables that this program uses."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).resolve().parent).replace("%", "%%"))
    return str(ScriptDirectory.from_config(config).get_current_head())


def current(engine: Engine) -> str | None:
    """The version the database is at; ``None`` where it was never migrated."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def verify_columns(connection: Connection) -> None:
    """That every table has the columns that this version uses; more of them are a newer version's business.

    Raises:
        Unavailable: ``log.unavailable``, naming the first table and what it lacks.
    """
    found = {name: columns for (_, name), columns in inspect(connection).get_multi_columns().items()}
    for table in (table for target in TARGETS for table in target.sorted_tables):
        there = {column["name"] for column in found.get(table.name, ())}
        lacking = [column.name for column in table.c if column.name not in there]
        if lacking:
            raise Unavailable(
                Reason.LOG_UNAVAILABLE,
                f"the database is from before the first release (table {table.name} lacks {', '.join(lacking)}) and "
                "cannot be carried over: set another database or home, and run 'handrail init'",
            )
