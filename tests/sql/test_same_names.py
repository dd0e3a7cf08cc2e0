"""What a name means to the database is what it means to the analysis, whatever a statement does to part the two."""

import contextlib
import sqlite3
from typing import Any

import pytest

from hand_adapters.sql.problems import NotTaken, Problem
from hand_adapters.sql.reading import Grammar
from hand_adapters.sql.sqlite import Authorizer
from tests.sql.conftest import Database

POSTGRESQL = Grammar("postgresql", ("public",))
MARIADB = Grammar("mariadb", ("app",))
SQLITE = Grammar("sqlite", ("main",))


@pytest.mark.parametrize(
    ("text", "where", "equals"),
    [
        ("DELETE FROM t USING u WHERE u.id = 1", False, ()),
        ("UPDATE t SET a = 1 FROM u WHERE u.id = 1", False, ()),
        ("UPDATE t SET a = 1 FROM u WHERE id = 1", False, ()),
        ("UPDATE t SET a = 1 FROM u WHERE u.id = t.u_id", True, ()),
        ("UPDATE t SET a = 1 FROM u WHERE u.id = t.u_id AND t.id = 1", True, ("id",)),
        ("UPDATE t AS x SET a = 1 FROM t AS y WHERE y.id = 1", False, ()),
        ("UPDATE t AS x SET a = 1 FROM t AS y WHERE x.id = 1", True, ("id",)),
        ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = 1)", False, ()),
        ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)", True, ()),
        ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u AS t WHERE t.id = 1)", False, ()),
        ("DELETE FROM t WHERE id = CAST(random() * 9 AS int)", True, ()),
        ("DELETE FROM t WHERE id = CAST((SELECT 1) AS int)", True, ()),
        ("DELETE FROM t WHERE id = CAST(-(:n) AS int)", True, ("id",)),
    ],
)
def test_a_condition_on_another_table_is_none_on_the_one_that_changes(
    text: str, where: bool, equals: tuple[str, ...]
) -> None:
    facts = POSTGRESQL.read(text).facts
    (change,) = facts.changes
    assert (change.where, change.equals, facts.where) == (where, equals, where)


def test_and_is_before_xor() -> None:
    """MariaDB reads ``a XOR (b AND c)``: the condition on the key need not hold."""
    (change,) = MARIADB.read("DELETE FROM t WHERE 1 XOR 0 AND id = 5").facts.changes
    assert change.equals == ()


async def test_every_row_is_changed_by_a_condition_on_another_table(postgresql: Database, connect: Any) -> None:
    """That is why: the database changes every row of the one for each of the other."""
    hand = await connect(postgresql)
    result = await hand.run("execute", "UPDATE users SET age = 1 FROM teams WHERE teams.id = 1")
    assert result.structured["changed"] == postgresql.ask("SELECT count(*) FROM users")[0][0] > 1


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        (POSTGRESQL, 'SELECT (SELECT "a".name FROM teams AS "A" LIMIT 1) FROM users AS "a"'),
        (POSTGRESQL, 'SELECT (SELECT "k".name FROM teams AS "\u212a" LIMIT 1) FROM users AS "k"'),
        (POSTGRESQL, 'SELECT (SELECT "users".name FROM "Users" LIMIT 1) FROM users'),
        (MARIADB, "SELECT (SELECT a.name FROM teams AS A LIMIT 1) FROM users AS a"),
        (SQLITE, 'SELECT (SELECT "k".name FROM teams AS "\u212a" LIMIT 1) FROM users AS "k"'),
    ],
)
def test_a_prefix_is_not_taken_for_one_of_other_case(grammar: Grammar, text: str) -> None:
    """The database reads the outer table's column, and the inner table has one of that name."""
    with pytest.raises(NotTaken) as refusal:
        grammar.read(text)
    assert refusal.value.problem is Problem.NAME


def test_sqlite_may_spell_a_table_in_two_ways() -> None:
    facts = SQLITE.read("SELECT (SELECT USERS.name FROM teams LIMIT 1) FROM Users WHERE users.id = 1").facts
    assert facts.columns == ("main.users.id", "main.users.name")


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE users SET home.street = 'x' WHERE id = 1",
        "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET home.street = 'x'",
    ],
)
def test_a_field_is_not_told_as_the_column(text: str) -> None:
    """PostgreSQL writes the column ``home``."""
    with pytest.raises(NotTaken) as refusal:
        POSTGRESQL.read(text)
    assert refusal.value.problem is Problem.PART


ROWS = (
    "SELECT (users).{} AS x FROM users",
    "SELECT (u).{} AS x FROM users AS u",
    "SELECT ((SELECT u FROM users AS u LIMIT 1)).{} AS x",
    "SELECT (q.u).{} AS x FROM (SELECT u FROM users AS u) AS q",
    "SELECT q.{} AS x FROM (SELECT * FROM users) AS q",
    "WITH q AS (SELECT * FROM users) SELECT q.{} AS x FROM q",
)


@pytest.mark.parametrize("text", ROWS)
async def test_a_name_after_a_row_calls_no_function(postgresql: Database, connect: Any, text: str) -> None:
    """``(row).name`` calls ``name(row)`` where the row has no such column, and that may read anything."""
    for kind in ("users", "anyelement"):
        postgresql.ask(
            f"CREATE FUNCTION leak({kind}) RETURNS text LANGUAGE sql STABLE AS $$ SELECT min(token) FROM secrets $$"
        )
    hand = await connect(postgresql)
    result = await hand.run("query", text.format("leak"))
    assert result.is_error
    assert result.structured == {"error": "statement", "code": "42883"}
    result = await hand.run("query", text.format("name"))
    assert not result.is_error
    assert result.structured["rows"]


def test_a_query_in_with_asks_sqlite_as_any_other(sqlite_database: Database) -> None:
    """SQLite names a query of WITH as the source of what it reads, as it does a view."""
    told = SQLITE.read("WITH q AS (SELECT name FROM users) SELECT name FROM q")
    ran = (
        "WITH q AS (SELECT email AS name FROM users) SELECT name FROM q",
        "WITH q AS (SELECT token AS name FROM secrets) SELECT name FROM q",
        "WITH q AS (SELECT load_extension(name) AS name FROM users) SELECT name FROM q",
    )
    with contextlib.closing(sqlite3.connect(sqlite_database.place["path"])) as connection:
        connection.set_authorizer(Authorizer(told, frozenset()))
        assert connection.execute(told.text).fetchall()
        for text in ran:
            with pytest.raises(sqlite3.DatabaseError, match=r"prohibited|not authorized"):
                connection.execute(text)
