"""The database itself refuses to rewrite the log, and the schema is what the tables say."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

import migrations
from audit.checkpoint import signature_line
from audit.database import changing_schema, make_engine, make_owner, writing
from audit.findings import Fault
from audit.fsck import check
from audit.rights import DROPPABLE, ERASABLE
from audit.tables import checkpoints, cosignatures, metadata
from gateway.errors import Unavailable
from gateway.ports import Append
from tests.audit.conftest import draft

ATTACKS = [
    "UPDATE entries SET principal = 'x' WHERE idx = 1",
    "UPDATE entries SET hashes = hashes",
    "UPDATE checkpoints SET note = 'x'",
    "DELETE FROM entries WHERE idx = 2",
    "DELETE FROM checkpoints",
    "UPDATE cosignatures SET line = 'x'",
    "DELETE FROM cosignatures",
    "DELETE FROM head",
    "UPDATE head SET tree_size = 1",
    "UPDATE head SET origin = 'other'",
    "UPDATE head SET id = 2",
    "DELETE FROM fates",
    "UPDATE fates SET step_id = 'another'",
    "DELETE FROM erased_keys",
    "UPDATE erased_keys SET key_id = 'b'",
    "DELETE FROM key_epochs",
    "UPDATE key_epochs SET epoch = 'y'",
]
SQLITE = [
    "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE idx = 1",
    "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
    "INSERT OR REPLACE INTO cosignatures SELECT tree_size, witness, key_id, time, 'x' FROM cosignatures",
    "INSERT OR REPLACE INTO erased_keys VALUES ('a', 'another')",
    "INSERT OR REPLACE INTO key_epochs VALUES ('x', 1)",
    "INSERT OR REPLACE INTO head SELECT 1, 0, root, origin FROM head",
    "UPDATE OR REPLACE entries SET idx = 1 WHERE idx = 2",
    "UPDATE OR REPLACE fates SET step_id = 't' WHERE step_id = 's'",
    "INSERT INTO entries SELECT * FROM entries WHERE idx = 1 ON CONFLICT (idx) DO UPDATE SET principal = 'x'",
]
SCHEMA = [
    "DROP TRIGGER entries_no_update",
    "DROP TABLE entries",
    "DROP INDEX ix_entries_time",
    "ALTER TABLE entries RENAME TO hidden",
    "ALTER TABLE entries ADD COLUMN mine TEXT",
    "ALTER TABLE entries DROP COLUMN fields",
    "CREATE TABLE mine (x)",
    "CREATE TEMP TABLE entries (idx)",
    "CREATE TEMP VIEW entries AS SELECT 1",
    "CREATE TEMP TRIGGER mine BEFORE INSERT ON main.entries BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER mine BEFORE INSERT ON entries BEGIN SELECT RAISE(IGNORE); END",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE INDEX mine ON entries (body)",
    "CREATE VIRTUAL TABLE mine USING fts5(x)",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "REINDEX",
    "ANALYZE",
    "PRAGMA writable_schema = ON",
    "PRAGMA trusted_schema = ON",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA main.writable_schema = ON",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA secure_delete = OFF",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA user_version = 7",
    "DELETE FROM sqlite_master",
    "UPDATE sqlite_master SET sql = NULL WHERE type = 'trigger'",
    "INSERT INTO sqlite_master (type) VALUES ('trigger')",
    "DELETE FROM sqlite_temp_master",
    "SELECT load_extension('/tmp/evil.so')",
]
"""What SQLite's authorizer denies to the gateway's own connections."""
POSTGRESQL = [
    "TRUNCATE entries",
    "TRUNCATE checkpoints, entries",
    "TRUNCATE head",
    "TRUNCATE checkpoints",
    "TRUNCATE fates",
    "TRUNCATE cosignatures",
    "TRUNCATE erased_keys, key_epochs",
    "INSERT INTO entries SELECT * FROM entries WHERE idx = 1 ON CONFLICT (idx) DO UPDATE SET principal = 'x'",
    "SET session_replication_role = replica; DELETE FROM entries",
    "SET session_replication_role = replica; TRUNCATE entries",
]


LINE = signature_line("w.example", bytes(4) + (1).to_bytes(8, "big") + bytes(64))


@pytest.fixture
async def logged(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(5)]))
        await log.checkpoint()
    with writing(engine.connect()) as connection, connection.begin():
        connection.execute(text("INSERT INTO fates (plan_id, step_id) VALUES ('p', 's'), ('p', 't')"))
        row = {"witness": "w.example", "key_id": "00000000", "time": 1, "line": LINE}
        size = connection.execute(select(func.max(checkpoints.c.tree_size))).scalar()
        connection.execute(insert(cosignatures).values(tree_size=size, **row))
        connection.execute(text("INSERT INTO erased_keys VALUES ('a', 'erasure')"))
        connection.execute(text("INSERT INTO key_epochs VALUES ('x', 0)"))
    return engine


async def test_the_log_cannot_be_rewritten_in_sql(logged):
    before = list(check(logged))
    assert [finding.fault for finding in before] == [Fault.ERASURE]  # of the mark that the fixture made of nothing
    owner = make_owner(logged.url.render_as_string(hide_password=False))  # whom no authorizer keeps from deleting
    for attack in ATTACKS + (SQLITE if logged.dialect.name == "sqlite" else POSTGRESQL):
        for engine, words in ((owner, "append-only"), (logged, "append-only|not authorized")):
            with writing(engine.connect()) as connection, pytest.raises(DBAPIError, match=words):
                connection.execute(text(attack))
        assert list(check(logged)) == before, attack
    owner.dispose()


@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL"])
def test_a_name_of_a_call_is_not_given_to_another_one_in_sqlite(sqlite_engine, verb):
    with writing(sqlite_engine.connect()) as connection, connection.begin():
        for step in "ab":
            connection.execute(text(f"{verb} INTO client_calls VALUES ('t', 'c', 'toolu_1', 'plan', '{step}')"))
        assert connection.execute(text("SELECT step_id FROM client_calls")).all() == [("a",)]


@pytest.mark.parametrize("attack", SCHEMA)
def test_a_gateways_connection_cannot_change_the_schema_of_sqlite(sqlite_engine, attack):
    before = schema(sqlite_engine)
    words = r"not authorized|prohibited|authorization denied|may not be modified"
    with sqlite_engine.connect() as connection, pytest.raises(sqlite3.DatabaseError, match=words):
        connection.connection.cursor().execute(attack)  # outside of a transaction, which alone would stop some
    assert schema(sqlite_engine) == before


@pytest.mark.parametrize(
    "attack",
    [f"{right} {table}" for every in (ERASABLE, DROPPABLE) for table in every for right in sorted(every[table])],
)
def test_a_gateways_connection_cannot_take_away_what_is_the_erasers_or_the_owners(sqlite_engine, attack):
    right, table = attack.split()
    columns = [column.name for column in metadata.tables[table].c]
    statement = {
        "DELETE": f"DELETE FROM {table}",
        "UPDATE": f"UPDATE {table} SET {columns[0]} = {columns[0]}",
        "INSERT": f"INSERT INTO {table} VALUES ({', '.join('7' for _ in columns)})",
    }[right]
    with sqlite_engine.connect() as connection, pytest.raises(DBAPIError, match="not authorized"):
        connection.exec_driver_sql(statement)
    with sqlite_engine.connect() as connection, changing_schema(connection):
        connection.exec_driver_sql(statement)  # a good one where nothing guards it


async def test_a_statement_in_the_gateway_cannot_let_go_of_the_log_by_saying_that_it_was_dropped(
    sqlite_engine, open_log
):
    """Two steps, and the triggers stop neither: the first makes them let the second pass."""
    steps = ["INSERT INTO dropped_partitions VALUES (0, 1)", "DELETE FROM entries WHERE idx > 0"]
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft(number) for number in range(5)]))
        committer = log._writer._committer.connection
        with sqlite_engine.connect() as reader:
            for connection in (reader, committer):
                for statement in steps:
                    with pytest.raises(DBAPIError, match="not authorized"):
                        connection.exec_driver_sql(statement)
    assert list(check(sqlite_engine)) == []
    owner = make_owner(str(sqlite_engine.url))
    with writing(owner.connect()) as connection, connection.begin():
        for statement in steps:
            assert connection.exec_driver_sql(statement).rowcount  # and the owner can
    owner.dispose()
    assert {finding.fault for finding in check(sqlite_engine)} == {Fault.TRUNCATED, Fault.RETENTION}


def test_the_owners_connections_stay_the_owners_and_change_no_schema(sqlite_engine):
    owner = make_owner(str(sqlite_engine.url))
    for _ in range(2):
        with owner.connect() as connection:
            connection.exec_driver_sql("DELETE FROM retained_hashes")
            for statement in ("DROP TRIGGER entries_no_update", "DELETE FROM payloads", "PRAGMA writable_schema = ON"):
                with pytest.raises(DBAPIError, match="not authorized"):
                    connection.exec_driver_sql(statement)
            with changing_schema(connection):
                pass
    owner.dispose()


def test_the_authorizer_is_back_after_a_migration_and_on_every_connection(sqlite_engine):
    migrations.upgrade(sqlite_engine)
    with sqlite_engine.connect() as one, sqlite_engine.connect() as other:
        for connection in (one, other):
            with pytest.raises(DBAPIError, match="not authorized"):
                connection.exec_driver_sql("DROP TRIGGER entries_no_update")
            with pytest.raises(RuntimeError), changing_schema(connection):
                raise RuntimeError
            with pytest.raises(DBAPIError, match="not authorized"):
                connection.exec_driver_sql("DROP TRIGGER entries_no_update")
    # Positive control: the same statement is a good one where nothing guards it.
    with sqlite_engine.connect() as connection, changing_schema(connection):
        connection.exec_driver_sql("DROP TRIGGER entries_no_update")


def test_functions_that_give_tables_are_there_under_the_authorizer(sqlite_engine):
    with sqlite_engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT value FROM json_each('[1, 2]')").scalars().all() == [1, 2]


def schema(engine):
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master ORDER BY name").all()


@pytest.mark.migrates
async def test_migrating_twice_changes_nothing_and_leaves_no_drift(empty_url):
    engine = make_engine(empty_url)
    assert migrations.current(engine) is None
    migrations.upgrade(engine)
    first = migrations.current(engine)
    migrations.upgrade(engine)
    assert migrations.current(engine) == first is not None
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, list(migrations.TARGETS)) == []
    engine.dispose()


def test_a_database_from_before_the_first_release_is_refused_and_says_what_to_do(engine):
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        connection.execute(text("ALTER TABLE steps DROP COLUMN mac"))
    with pytest.raises(Unavailable, match=r"table steps lacks mac.*handrail init"):
        migrations.upgrade(engine)


def test_a_column_of_a_newer_version_is_no_reason_to_refuse(engine):
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        connection.execute(text("ALTER TABLE steps ADD COLUMN later TEXT"))
    migrations.upgrade(engine)


@pytest.mark.migrates
async def test_a_migration_that_fails_leaves_nothing(empty_url, monkeypatch):
    engine = make_engine(empty_url)

    def broken():
        return ["CREATE TRIGGER nonsense"]

    monkeypatch.setattr(migrations.defences, "sqlite", broken)
    monkeypatch.setattr(migrations.defences, "postgresql", broken)
    with pytest.raises(DBAPIError):
        migrations.upgrade(engine)
    monkeypatch.undo()
    assert migrations.current(engine) is None
    migrations.upgrade(engine)
    engine.dispose()


@pytest.mark.limits
async def test_commits_are_durable_and_waits_are_bounded(engine):
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            pragmas = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in
                       ("journal_mode", "synchronous", "busy_timeout", "secure_delete", "foreign_keys")}  # fmt: skip
            assert pragmas == {
                "journal_mode": "wal", "synchronous": 2, "busy_timeout": 1500, "secure_delete": 1, "foreign_keys": 1,
            }  # fmt: skip
        else:
            shown = [
                connection.execute(text(f"SHOW {name}")).scalar() for name in ("synchronous_commit", "lock_timeout")
            ]
            assert shown == ["on", "1500ms"]
