"""What the analysis says of a statement is what the database does: held against what each database itself says.

PostgreSQL keeps what a view depends on, and plans every change; SQLite asks before it touches anything; MariaDB writes
a statement out with every name in full.
"""

import contextlib
import json
import re
import sqlite3
from typing import Any

import pytest

from hand_adapters.sql.facts import EVERY, Facts
from hand_adapters.sql.mariadb import with_values
from hand_adapters.sql.problems import NotTaken
from hand_adapters.sql.reading import Grammar, Statement
from hand_adapters.sql.sqlite import Authorizer
from hand_adapters.sql.words import FUNCTIONS
from tests import mariadb, postgres
from tests.sql import corpus
from tests.sql.conftest import Database, make_mariadb, make_postgresql, make_sqlite

ALL_ATTACKS = [text for text, _ in corpus.ATTACKS]


@pytest.fixture(scope="module")
def postgresql(tcp_postgres: tuple[postgres.Server, int]) -> Database:
    """One for all: nothing of these tests stays in it."""
    return make_postgresql(*tcp_postgres)


@pytest.fixture(scope="module")
def mariadb_database(mariadb_server: mariadb.MariadbServer) -> Database:
    return make_mariadb(mariadb_server)


@pytest.fixture(scope="module")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_sqlite(tmp_path_factory.mktemp("truth"))


def understood(database: Database, text: str) -> Statement:
    return Grammar(database.dialect, (database.schema,)).read(text)


def covers(facts: Facts, touched: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Columns that the database read and the facts do not name; ``touched`` has (schema.table, column)."""
    return [
        (table, column)
        for table, column in touched
        if not {f"{table}.{column}", f"{table}.{EVERY}"} & set(facts.columns)
    ]


@pytest.mark.parametrize("text", [*corpus.QUERIES, *corpus.POSTGRESQL])
def test_postgresql_reads_no_column_that_is_not_told(postgresql: Database, text: str) -> None:
    found = understood(postgresql, text)
    postgresql.ask(f"CREATE OR REPLACE VIEW witness AS SELECT count(x) AS n FROM ({found.text}) AS x")
    touched = postgresql.ask(
        "SELECT DISTINCT n.nspname || '.' || c.relname, a.attname FROM pg_rewrite r "
        "JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refobjsubid > 0 "
        "JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid "
        "WHERE r.ev_class = 'witness'::regclass AND c.relname <> 'witness'"
    )
    assert covers(found.facts, set(touched)) == []
    assert {table for table, _ in touched} <= set(found.facts.reads)


def plan_tables(node: Any) -> set[tuple[str, str]]:
    """(operation, table) of a plan of EXPLAIN (VERBOSE, FORMAT JSON)."""
    found: set[tuple[str, str]] = set()
    if isinstance(node, list):
        for one in node:
            found |= plan_tables(one)
    elif isinstance(node, dict):
        if "Relation Name" in node:
            verb = node.get("Operation", "Select").lower() if node["Node Type"] == "ModifyTable" else "select"
            found.add((verb, f"{node['Schema']}.{node['Relation Name']}"))
        for one in node.values():
            found |= plan_tables(one)
    return found


@pytest.mark.parametrize("text", [*corpus.QUERIES, *corpus.CHANGES, *corpus.UPSERTS])
def test_postgresql_plans_no_table_and_no_change_that_is_not_told(postgresql: Database, text: str) -> None:
    found = understood(postgresql, text)
    (plan,) = postgresql.ask(f"EXPLAIN (VERBOSE, FORMAT JSON) {found.text}")
    planned = plan_tables(plan[0] if not isinstance(plan[0], str) else json.loads(plan[0]))
    changed = {(verb, table) for verb, table in planned if verb != "select"}
    told = {(change.verb, change.table) for change in found.facts.changes}
    views = {"public.users"} if "public.people" in found.facts.reads else set()
    assert changed <= told
    assert {table for _, table in planned} <= found.facts.tables | views
    assert {verb for verb, _ in told} - {"update"} <= {verb for verb, _ in changed} | {"update"}


@pytest.mark.parametrize("text", [*corpus.QUERIES, *corpus.CHANGES, *corpus.UPSERTS])
def test_sqlite_asks_for_nothing_that_is_not_told(sqlite_database: Database, text: str) -> None:
    found = understood(sqlite_database, text)
    connection = sqlite3.connect(sqlite_database.place["path"], isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.set_authorizer(Authorizer(found, FUNCTIONS["sqlite"]))
        connection.execute(found.text).fetchall()
        connection.set_authorizer(None)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("told", "done"),
    [
        ("SELECT id FROM users", "SELECT token FROM secrets"),
        ("SELECT id FROM users", "SELECT id, email FROM users"),
        ("SELECT id FROM users", "DELETE FROM users"),
        ("SELECT id FROM users", "SELECT load_extension('x') FROM users"),
        ("SELECT id FROM users", "SELECT sql FROM sqlite_master"),
        ("SELECT id FROM users", "ATTACH ':memory:' AS other"),
        ("SELECT id FROM users", "PRAGMA writable_schema = 1"),
        ("SELECT id FROM users", "CREATE TEMP TABLE x (a)"),
        ("UPDATE users SET age = 1 WHERE id = 1", "UPDATE users SET email = '' WHERE id = 1"),
        ("UPDATE users SET age = 1 WHERE id = 1", "DELETE FROM users WHERE id = 1"),
        ("DELETE FROM users WHERE id = 1", "DELETE FROM secrets WHERE id = 1"),
    ],
)
def test_sqlite_would_refuse_what_the_analysis_missed(sqlite_database: Database, told: str, done: str) -> None:
    """The second wall: were a statement to do something else than was told, the library denies it."""
    found = understood(sqlite_database, told)
    connection = sqlite3.connect(sqlite_database.place["path"], isolation_level=None)
    try:
        connection.set_authorizer(Authorizer(found, FUNCTIONS["sqlite"]))
        with pytest.raises(sqlite3.DatabaseError, match=r"not authorized|prohibited"):
            connection.execute(done)
    finally:
        connection.close()


_TABLE = re.compile(r"`([^`]+)`\.`([^`]+)`(?: `([^`]+)`)?(?=[ )]|$|,)")


@pytest.mark.parametrize("text", corpus.QUERIES)
def test_mariadb_writes_out_no_column_that_is_not_told(
    mariadb_server: mariadb.MariadbServer, mariadb_database: Database, text: str
) -> None:
    found = understood(mariadb_database, text)
    written = explained(mariadb_server, mariadb_database, found)
    sources = {alias or table: f"{schema}.{table}" for schema, table, alias in _TABLE.findall(written)}
    real = {name: table for name, table in sources.items() if table.split(".")[0] == mariadb_database.schema}
    names = [row[0] for row in mariadb_database.ask("SHOW TABLES")]
    touched = {
        (real[alias], column)
        for alias, column in re.findall(r"`([^`]+)`\.`([^`]+)`", re.sub(r"`[^`]+`\.(?=`[^`]+`\.)", "", written))
        if alias in real and real[alias].split(".")[1] in names and "." not in column
    }
    hidden = {f"{mariadb_database.schema}.users"} if f"{mariadb_database.schema}.people" in found.facts.reads else set()
    assert [one for one in covers(found.facts, touched) if one[0] not in hidden and one[1] not in names] == []
    tables = {table for table in real.values() if table.split(".")[1] in names}
    assert tables <= set(found.facts.reads) | hidden


def explained(server: mariadb.MariadbServer, database: Database, found: Statement) -> str:
    """The statement as MariaDB writes it out."""
    with contextlib.closing(server.administer(database.place["name"])) as connection:
        cursor = connection.cursor()
        cursor.execute(f"EXPLAIN EXTENDED {with_values(found, {}, Grammar('mariadb', (database.schema,)))}")
        cursor.execute("SHOW WARNINGS")
        return " ".join(str(row[2]) for row in cursor.fetchall())


@pytest.mark.parametrize("text", corpus.QUERIES)
def test_what_is_sent_gives_the_rows_that_were_asked_for(database: Database, text: str) -> None:
    """Writing a statement out anew does not change what it means."""
    found = understood(database, text)
    assert database.ask(found.text) == database.ask(text)


@pytest.mark.parametrize("text", corpus.POSTGRESQL)
def test_what_is_sent_to_postgresql_gives_the_same_rows(postgresql: Database, text: str) -> None:
    assert postgresql.ask(understood(postgresql, text).text) == postgresql.ask(text)


def state(database: Database) -> list[list[Any]]:
    return [database.ask(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "teams", "secrets")]


@pytest.mark.parametrize("text", ALL_ATTACKS, ids=lambda text: str(text)[:50])
def test_no_attack_changes_a_row_through_any_grammar(sqlite_database: Database, text: str) -> None:
    """Whatever is refused is refused by the reading; what is not is held by the library."""
    before = state(sqlite_database)
    try:
        found = understood(sqlite_database, text)
    except NotTaken:
        return
    assert not found.facts.changes
    connection = sqlite3.connect(f"file:{sqlite_database.place['path']}?mode=ro", uri=True)
    connection.set_authorizer(Authorizer(found, FUNCTIONS["sqlite"]))
    with pytest.raises(sqlite3.Error):
        connection.execute(found.text).fetchall()
    connection.close()
    assert state(sqlite_database) == before
