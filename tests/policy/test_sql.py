"""What the rule ``sql`` calls clean, run on databases: it changes no row but the one that it names, and no table.

The statements are those of the rule's own tests (sql_clean_test.rego), and such as a generator makes of parts that
attackers use: where one of these changes several rows, the rule must have seen it. Parameters are bound to 7.
"""

import contextlib
import json
import random
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.policy.bundle import load
from tests.policy.support import SHIPPED
from tests.postgres import Server
from tests.regorus_engine import engine_of

TABLES = """
CREATE TABLE users (id integer PRIMARY KEY, name text, role text, age integer, x text);
CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, total integer, placed date, doc {json});
"""
ROWS = [
    *(f"INSERT INTO users VALUES ({n}, 'n{n}', 'r{n}', {20 + n}, 'x{n}')" for n in range(1, 10)),
    *(f"INSERT INTO orders VALUES ({n}, {n}, {n * 10}, '2026-01-0{n}', '{{}}')" for n in range(1, 10)),
]
_PARAMETER = re.compile(r"%\(\w+\)s|%s|\?|(?<!:):\w+|\$\d+")
GENERATED = 4000


@pytest.fixture(scope="module")
def engine() -> Any:
    """The bundle with its tests, and a way to ask the rule."""
    tests = {path.name: path.read_text(encoding="utf-8") for path in SHIPPED.glob("handrail/sql/*_test.rego")}
    asked = "package handrail.asked\n\ncodes := data.handrail.sql.verdicts(input.statement)\n"
    return engine_of(load(SHIPPED), asked=asked, **tests)


def codes(engine: Any, statement: str) -> set[str]:
    """What the rule has to say against a statement."""
    engine.set_input_json(json.dumps({"statement": statement}))
    return set(json.loads(engine.eval_rule_as_json("data.handrail.asked.codes")))


def statements(engine: Any, name: str) -> list[str]:
    """A list of the rule's tests."""
    engine.set_input_json("{}")
    found: list[str] = json.loads(engine.eval_rule_as_json(f"data.handrail.sql_test.{name}"))
    return found


def bound(statement: str) -> str:
    """The statement with 7 for each parameter outside of quoted texts."""
    pieces = re.split(r"('(?:[^']|'')*')", statement)
    return "".join(piece if piece.startswith("'") else _PARAMETER.sub("7", piece) for piece in pieces)


class Sqlite:
    """SQLite in memory; nothing is ever committed."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(TABLES.format(json="text"))
        for row in ROWS:
            self._connection.execute(row)

    def rows(self) -> Counter[Any]:
        """What there is, and the tables."""
        found = [
            *self._connection.execute("SELECT 'users', * FROM users"),
            *self._connection.execute("SELECT 'orders', * FROM orders"),
            *self._connection.execute("SELECT 'schema', name, sql FROM sqlite_master"),
        ]
        return Counter(found)

    @contextlib.contextmanager
    def ran(self, statement: str) -> Iterator[bool]:
        """Inside, what the statement has done can be seen; yields whether it ran."""
        self._connection.execute("BEGIN")
        try:
            try:
                list(self._connection.execute(statement))
            except sqlite3.Error:
                yield False
            else:
                yield True
        finally:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class Postgres:
    """PostgreSQL, asked with as many statements in one text as it likes."""

    def __init__(self, server: Server) -> None:
        name = server.create_database().partition("@/")[2].partition("?")[0]
        self._connection = psycopg.connect(server.dsn(name), autocommit=True)
        self._connection.execute(TABLES.format(json="jsonb").encode())
        for row in ROWS:
            self._connection.execute(row.encode())

    def rows(self) -> Counter[Any]:
        """What there is, and the tables."""
        found: list[Any] = []
        for query in (
            "SELECT 'users', u::text FROM users AS u",
            "SELECT 'orders', o::text FROM orders AS o",
            "SELECT 'schema', relname FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        ):
            found += self._connection.execute(query.encode()).fetchall()
        return Counter(found)

    @contextlib.contextmanager
    def ran(self, statement: str) -> Iterator[bool]:
        self._connection.execute(b"BEGIN")
        try:
            self._connection.execute(b"SAVEPOINT before")
            try:
                self._connection.execute(statement.encode())
            except psycopg.Error:
                self._connection.execute(b"ROLLBACK TO SAVEPOINT before")
                yield False
            else:
                yield True
        finally:
            self._connection.execute(b"ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Sqlite | Postgres]:
    made = Sqlite() if request.param == "sqlite" else Postgres(request.getfixturevalue("postgres_server"))
    yield made
    made.close()


def lost(database: Sqlite | Postgres, statement: str) -> int | None:
    """How many rows and tables are not any more what they were; ``None`` where the statement does not run."""
    before = database.rows()
    with database.ran(bound(statement)) as ran:
        gone = (before - database.rows()).total() if ran else None
    assert database.rows() == before, f"not undone: {statement}"
    return gone


def test_a_clean_statement_changes_at_most_the_row_that_it_names(engine: Any, database: Sqlite | Postgres) -> None:
    found = {statement: lost(database, statement) for statement in statements(engine, "clean")}
    assert {statement: gone for statement, gone in found.items() if (gone or 0) > 1} == {}
    assert [statement for statement, gone in found.items() if gone and statement.split()[0].upper() == "SELECT"] == []
    # The rest is of other dialects.
    assert sum(gone is not None for gone in found.values()) >= 60
    assert sum(gone == 1 for gone in found.values()) >= 10


def test_the_databases_show_harm(database: Sqlite | Postgres) -> None:
    """Otherwise the tests here would pass whatever the rule says."""
    for statement in ("DELETE FROM users", "UPDATE users SET role = 'x' WHERE id = id"):
        assert lost(database, statement) == 9


PARTS = {
    "statement": ["{read}", "{change}", "{insert}", "{change} {tail}", "{read} {tail}", "{insert} {tail}", "{with}"],
    "read": [
        "SELECT {items} FROM {source} WHERE {condition}",
        "SELECT {items} FROM {source}",
        "SELECT {items}",
        "{read} UNION {read}",
        "({read})",
        "EXPLAIN ANALYZE {change}",
    ],
    "change": [
        "DELETE FROM {table} WHERE {condition}",
        "DELETE FROM {table} {word} WHERE {condition}",
        "UPDATE {table} SET {assignment} WHERE {condition}",
        "UPDATE {table} SET {assignment} {word} WHERE {condition}",
        "DELETE FROM {table} USING {source} WHERE {condition}",
        "UPDATE {table} SET {assignment} FROM {source} WHERE {condition}",
        "DELETE FROM {table}",
        "UPDATE {table} SET {assignment}",
    ],
    "insert": [
        "INSERT INTO {table} ({column}) VALUES ({value})",
        "INSERT INTO {table} ({column}) VALUES ({value}), ({value})",
        "INSERT INTO {table} ({column}) {read}",
        "INSERT INTO {table} ({column}) VALUES ({value}) ON CONFLICT ({column}) DO UPDATE SET {assignment}",
        "INSERT INTO {table} ({column}) {read} ON CONFLICT ({column}) DO UPDATE SET {assignment}",
        "INSERT OR REPLACE INTO {table} ({column}) VALUES ({value})",
    ],
    "with": ["WITH w AS ({statement}) {read}", "WITH w AS ({read}) {statement}"],
    "tail": ["; {statement}", "{statement}", "RETURNING {items}", "LIMIT 5", "-- {word}", "{word}", ";", "FOR UPDATE"],
    "items": ["*", "{value}", "{column}, {value}", "{value} AS {column}", "{value} {word}", "count(*)"],
    "source": ["{table}", "{table}, {table} AS t", "(SELECT 1 AS k) AS s", "({read}) AS s", "lower('x') AS x"],
    "table": ["users", "orders", '"users"', "public.users", "main.users"],
    "column": [
        "id",
        "name",
        "role",
        "age",
        "total",
        "users.id",
        '"id"',
        "`id`",
        "[id]",
        "k",
        "xmax",
        "current_user",
        "users.{word}",
    ],
    "assignment": ["{column} = {value}", "{column} = {value}, {column} = {value}", "role = 'x'"],
    "condition": [
        "{comparison}",
        "{comparison}",
        "{comparison} AND {comparison}",
        "{comparison} OR {comparison}",
        "NOT {comparison}",
        "({comparison})",
        "EXISTS ({read})",
        "{value}",
    ],
    "comparison": [
        "{column} = {literal}",
        "{column} = {literal}",
        "{column} = {value}",
        "{value} = {value}",
        "{column}::text = {value}",
        "{column} {operator} {value}",
    ],
    "operator": ["=", "<>", ">", "<", "LIKE", "IS NOT", "IN", "==", "= -", "= +", "||"],
    "literal": ["1", "7", "0", "'n3'", "'r3'", "?", "%s", "$1", ":p", "true", "'t'", "-3", "1 ", "''"],
    "value": [
        "{literal}",
        "{literal}",
        "{column}",
        "({read})",
        "{function}({value})",
        "({value})",
        "{value} + {value}",
        "CASE WHEN {condition} THEN {value} ELSE {value} END",
        "({value}).lower",
        "{value}::int",
    ],
    "function": ["lower", "max", "abs", '"lower"', "pg_catalog.lower", "count", "coalesce"],
    "word": ["x", "EXEC", "id", "users", "USING", "WHERE", "DELETE", "SET", ",", "(", ")", "'", '"', "1"],
}


def generated(dice: random.Random, part: str = "statement", depth: int = 0) -> str:
    """A statement of parts, most of which are no good."""
    choices = PARTS[part]
    text = dice.choice(choices if depth < 6 else choices[:1])
    if depth > 12:
        return "1"
    return re.sub(r"\{(\w+)\}", lambda found: generated(dice, found[1], depth + 1), text)


def test_a_generated_statement_that_changes_other_rows_is_not_clean(engine: Any, database: Sqlite | Postgres) -> None:
    """No two rows have a value in common, so that a column that equals a value names one row at most."""
    dice = random.Random(20261126)
    harmful = []
    ran = 0
    for _ in range(GENERATED):
        statement = generated(dice)
        gone = lost(database, statement)
        ran += gone is not None
        # An insertion of two rows may update both.
        if gone is not None and gone > 1 + ("), (" in statement):
            harmful.append(statement)
    assert ran >= 50
    assert len(harmful) >= 20
    assert [statement for statement in harmful if codes(engine, statement) == set()] == []


SIGNS = [
    *("'", '"', "`", ";", "--", "/*", "\\", "$$", "$1", ":a", "::", "%s", "%", "%(a)s", "?", "[", "]", "(", ")"),
    *(
        ",",
        ".",
        "=",
        "0",
        "0.0",
        "1",
        "1e5",
        "a",
        "A1",
        "_",
        "\u00e9",
        "\u00df",
        "\u017f",
        "\u212a",
        "\u00a0",
        "\u200b",
    ),
    *("\u02bc", "\uff07", "\u0000", "\u0001", "\t", "\n", "\r", "\u000b", "\u2028", "\U0001f600", " ", " ", " "),
    *("SELECT ", "DELETE FROM t WHERE "),
]


@pytest.mark.opa
def test_both_engines_read_alike(engine: Any, opa_program: Path) -> None:
    """Battery, generated statements, and signs in any order: the kinds of the words, and what is said against them."""
    dice = random.Random(20261126)
    asked = [*statements(engine, "clean"), *statements(engine, "unclean")]
    asked += ["".join(dice.choices(SIGNS, k=dice.randrange(1, 9))) for _ in range(1500)]
    asked += [text for text in (generated(dice) for _ in range(500)) if len(text) < 300]
    query = "[[data.handrail.sql.kinds(s), sort(data.handrail.sql.verdicts(s))] | some s in input.statements]"
    done = subprocess.run(
        [opa_program, "eval", "--bundle", str(SHIPPED), "--stdin-input", "--format", "raw", query],
        input=json.dumps({"statements": asked}),
        capture_output=True,
        text=True,
        check=True,
    )
    engine.set_input_json(json.dumps({"statements": asked}))
    found = json.loads(engine.eval_query_as_json(query))["result"][0]["expressions"][0]["value"]
    assert found == json.loads(done.stdout)
    assert len(found) == len(asked) >= 2000
