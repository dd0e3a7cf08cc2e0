"""A statement runs in a transaction of its own, within its limits, and how it ended is told as it was."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.sql import SqlAdapter
from hand_adapters.sql.adapter import file_of, resolve
from hand_adapters.sql.session import DatabaseLost
from tests import mariadb
from tests.hands.testing_only_plain_jail import PlainJail
from tests.sql.conftest import ACTIONS, PASSWORD, Database
from tests.until import until

HEAVY = "SELECT count(*) AS n FROM " + ", ".join(f"users AS u{number}" for number in range(8))
"""Too much work for the deadlines of these tests in PostgreSQL and SQLite once the table has some hundred rows."""


def fill(database: Database) -> None:
    for start in range(100, 400, 100):
        rows = ", ".join(f"({number}, 'x', 'y', 1, 1)" for number in range(start, start + 100))
        database.ask(f"INSERT INTO users VALUES {rows}")


async def refused(awaitable: Any) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandrailError) as refusal:
        await awaitable
    return refusal.value.reason, refusal.value.failure  # type: ignore[attr-defined]


async def test_a_query_gives_columns_and_rows(database: Database, connect: Any) -> None:
    hand = await connect(database)
    result = await hand.run("query", "SELECT id, name FROM users WHERE id = :id OR name = :name", id=1, name="Bob")
    assert result.structured == {
        "columns": ["id", "name"],
        "rows": [[1, "Ann"], [2, "Bob"]],
        "truncated": False,
        "changed": None,
    }


@pytest.mark.parametrize(
    "value", ["O'Neil", "\\", "\\'; DELETE FROM users; -- ", "%s %(x)s :id $1", "ünï💥", "", "' OR '1'='1", "a\nb"]
)
async def test_a_value_stays_a_value(database: Database, connect: Any, value: str) -> None:
    hand = await connect(database)
    await hand.run("execute", "INSERT INTO users (id, name) VALUES (:id, :name)", id=50, name=value)
    found = await hand.run("query", "SELECT name FROM users WHERE name = :name", name=value)
    assert found.structured["rows"] == [[value]]
    assert database.ask("SELECT count(*) FROM users")[0][0] == 5


async def test_what_a_change_did_stays_and_a_query_leaves_nothing(database: Database, connect: Any) -> None:
    hand = await connect(database)
    changed = await hand.run("execute", "UPDATE users SET age = :age WHERE id = 1", age=32)
    assert changed.structured["changed"] == 1
    assert database.ask("SELECT age FROM users WHERE id = 1")[0][0] == 32


async def test_a_query_takes_no_change_and_execute_no_query(database: Database, connect: Any) -> None:
    hand = await connect(database)
    for action, text in (("query", "DELETE FROM users WHERE id = 1"), ("execute", "SELECT 1 AS a")):
        assert await refused(hand.run(action, text)) == (Reason.SCHEMA_ANALYSIS, HandFailure.NOT_EXECUTED)
    narrow = await connect(database, writes=("insert",))
    for text in ("DELETE FROM users WHERE id = 1", "UPDATE users SET age = 1 WHERE id = 1"):
        assert (await refused(narrow.run("execute", text)))[0] is Reason.SCHEMA_ANALYSIS


async def test_a_change_of_too_many_rows_is_undone(database: Database, connect: Any) -> None:
    hand = await connect(database, changed_rows_max=3)
    for text in ("UPDATE users SET age = 1 WHERE id > 0", "DELETE FROM users WHERE id > 0"):
        result = await hand.run("execute", text)
        assert result.is_error
        assert result.structured["error"] == "too_many_rows"
    assert database.ask("SELECT count(*) FROM users WHERE age = 31")[0][0] == 1
    assert (await hand.run("execute", "DELETE FROM users WHERE id < 4")).structured["changed"] == 3


@pytest.mark.parametrize("number", [2, 3])
async def test_rows_that_come_back_from_a_change_count_too(database: Database, connect: Any, number: int) -> None:
    hand = await connect(database, changed_rows_max=2, rows_max=1)
    result = await hand.run("execute", "DELETE FROM users WHERE id <= :id RETURNING id, name", id=number)
    assert result.is_error is (number == 3)
    assert database.ask("SELECT count(*) FROM users")[0][0] == (4 if result.is_error else 2)
    if not result.is_error:
        assert (result.structured["rows"], result.structured["truncated"]) == ([[1, "Ann"]], True)


async def test_rows_and_bytes_are_cut_and_that_is_said(database: Database, connect: Any) -> None:
    fill(database)
    hand = await connect(database, rows_max=5)
    result = await hand.run("query", "SELECT id FROM users ORDER BY id")
    assert [row[0] for row in result.structured["rows"]] == [1, 2, 3, 4, 100]
    assert result.structured["truncated"] is True
    roomy = await connect(database)
    small = await roomy.call("query", {"sql": "SELECT id, name, email FROM users"}, result_max_bytes=2_000)
    assert small.structured["truncated"] is True
    assert 0 < len(small.structured["rows"]) < 300
    assert (await roomy.run("query", "SELECT count(*) AS n FROM users")).structured["rows"] == [[304]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("INSERT INTO users (id) VALUES (1)", "constraint"),
        ("INSERT INTO users (id, nothing) VALUES (8, 1)", "statement"),
    ],
)
async def test_what_the_database_refuses_is_a_result_of_a_closed_kind(
    database: Database, connect: Any, text: str, error: str
) -> None:
    hand = await connect(database)
    result = await hand.run("execute", text)
    assert result.is_error
    assert result.structured["error"] == error
    assert (await hand.run("query", "SELECT count(*) AS n FROM users")).structured["rows"] == [[4]]


async def test_the_database_ends_a_statement_at_the_deadline_and_nothing_happened(
    database: Database, connect: Any
) -> None:
    fill(database)
    hand = await connect(database)
    ended = await refused(hand.call("query", {"sql": HEAVY}, deadline_seconds=3.0))
    assert ended == (Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED)
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]


def running(database: Database) -> int:
    if database.dialect == "postgresql":
        text = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND datname = %s"
        return int(database.ask(text, database.place["name"])[0][0])
    text = "SELECT count(*) FROM information_schema.processlist WHERE user = %s AND command = 'Query' AND db = %s"
    return int(database.ask(text, mariadb.USER, database.place["name"])[0][0])


@pytest.mark.parametrize("which", ["postgresql", "mariadb_database"])
async def test_a_call_that_is_given_up_is_ended_in_the_database_too(
    request: pytest.FixtureRequest, connect: Any, which: str
) -> None:
    """As a freeze does it."""
    database: Database = request.getfixturevalue(which)
    fill(database)
    hand = await connect(database, connections_max=1)
    task = asyncio.create_task(hand.call("query", {"sql": HEAVY}, deadline_seconds=600))
    await until(lambda: running(database) > 0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: running(database) == 0)
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]


async def test_a_given_up_call_of_sqlite_ends(sqlite_database: Database, connect: Any) -> None:
    fill(sqlite_database)
    hand = await connect(sqlite_database, connections_max=1)
    task = asyncio.create_task(hand.call("query", {"sql": HEAVY}, deadline_seconds=600))
    pool = await until(lambda: hand.adapter._pool)
    await until(pool._slots.locked)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]


async def test_callers_wait_for_a_connection_and_no_longer_than_their_deadline(
    postgresql: Database, connect: Any
) -> None:
    fill(postgresql)
    hand = await connect(postgresql, connections_max=1)
    busy = asyncio.create_task(hand.call("query", {"sql": HEAVY}, deadline_seconds=600))
    await until(lambda: running(postgresql) > 0)
    waited = await refused(hand.call("query", {"sql": "SELECT 1 AS a"}, deadline_seconds=0.1))
    assert waited == (Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED)
    busy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await busy


async def test_a_connection_that_is_lost_after_the_statement_left_is_ambiguous(
    postgresql: Database, connect: Any
) -> None:
    fill(postgresql)
    hand = await connect(postgresql)
    task = asyncio.create_task(hand.call("query", {"sql": HEAVY}, deadline_seconds=600))
    await until(lambda: running(postgresql) > 0)
    postgresql.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'")
    assert await refused(task) == (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)


async def test_an_idle_connection_that_died_is_replaced_before_anything_is_sent(
    postgresql: Database, connect: Any
) -> None:
    hand = await connect(postgresql)
    await hand.run("query", "SELECT 1 AS a")
    postgresql.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND datname = %s",
        postgresql.place["name"],
    )
    assert (await hand.run("query", "SELECT 2 AS a")).structured["rows"] == [[2]]


async def test_a_wrong_password_and_a_closed_port_are_not_executed(
    postgresql: Database, mariadb_database: Database, connect: Any
) -> None:
    for database in (postgresql, mariadb_database):
        hand = await connect(database)
        hand.passwords.append("another-password")
        assert await refused(hand.run("query", "SELECT 1 AS a")) == (
            Reason.HAND_UNAVAILABLE,
            HandFailure.NOT_EXECUTED,
        )
        gone = await connect(database, port=1)
        gone.passwords.append(PASSWORD)
        assert (await refused(gone.run("query", "SELECT 1 AS a")))[0] is Reason.HAND_UNAVAILABLE


async def test_a_new_password_is_used_at_once_and_the_old_connection_by_nobody(
    postgresql: Database, connect: Any
) -> None:
    hand = await connect(postgresql)
    await hand.run("query", "SELECT 1 AS a")
    hand.passwords.append("not-the-password")
    assert (await refused(hand.run("query", "SELECT 1 AS a")))[0] is Reason.HAND_UNAVAILABLE
    hand.passwords.append(PASSWORD)
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]


async def test_tenants_share_no_connection(postgresql: Database, connect: Any) -> None:
    hand = await connect(postgresql)
    for tenant in ("acme", "globex", "acme"):
        await hand.call("query", {"sql": "SELECT 1 AS a"}, tenant=tenant)
    assert {key[0] for key, _ in hand.adapter._pool._idle} == {"acme", "globex"}


async def test_nothing_of_a_call_is_left_for_the_next(postgresql: Database, connect: Any) -> None:
    """Not even what a function that the operator vouched for sets: the connection is made new."""
    hand = await connect(postgresql, functions=("set_config", "current_setting", "pg_backend_pid"), connections_max=1)
    text = "SELECT set_config('search_path', 'evil', false) AS a, pg_backend_pid() AS pid"
    first = await hand.run("query", text)
    role = await hand.run("query", "SELECT current_setting('search_path') AS a, pg_backend_pid() AS pid")
    assert role.structured["rows"][0][1] == first.structured["rows"][0][1]
    assert "evil" not in role.structured["rows"][0][0]


async def test_a_query_cannot_write_even_through_a_function(postgresql: Database, connect: Any) -> None:
    """The second wall: the transaction is read-only."""
    postgresql.ask("CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM users; SELECT 1'")
    hand = await connect(postgresql, functions=("public.wipe",))
    result = await hand.run("query", "SELECT public.wipe() AS a")
    assert result.structured["error"] == "read_only"
    assert postgresql.ask("SELECT count(*) FROM users")[0][0] == 4


async def test_a_column_that_is_a_function_is_none(postgresql: Database, connect: Any) -> None:
    """``u.f`` calls f(u) in PostgreSQL where the table has no such column."""
    postgresql.ask("CREATE FUNCTION peek(users) RETURNS text LANGUAGE sql AS 'SELECT token FROM secrets LIMIT 1'")
    postgresql.ask("GRANT EXECUTE ON FUNCTION peek(users) TO app")
    assert postgresql.ask("SELECT u.peek FROM users u LIMIT 1") == [("hush",)], "PostgreSQL does that"
    hand = await connect(postgresql)
    for text in ("SELECT u.peek FROM users AS u", "SELECT u.row_to_json FROM users AS u"):
        result = await hand.run("query", text)
        assert (result.is_error, result.structured) == (True, {"error": "statement", "code": "42703"})


async def test_a_table_on_the_way_does_not_stand_for_another(postgresql: Database, connect: Any) -> None:
    """Neither the server's search path nor a temporary table decides which table a name is."""
    postgresql.ask("CREATE SCHEMA app AUTHORIZATION app")
    postgresql.ask("CREATE TABLE app.users (id int); GRANT SELECT ON app.users TO app")
    postgresql.ask("ALTER ROLE app SET search_path = app, public")
    hand = await connect(postgresql)
    assert (await hand.run("query", "SELECT count(*) AS n FROM users")).structured["rows"] == [[4]]
    postgresql.ask("ALTER ROLE app RESET search_path")


async def test_values_that_json_has_no_type_for_are_text(postgresql: Database, connect: Any) -> None:
    hand = await connect(postgresql)
    text = (
        "SELECT CAST('1.50' AS numeric) AS n, CAST('infinity' AS timestamptz) AS i, CAST('x' AS bytea) AS b, "
        "CAST('2026-11-26 12:00:00.5+01' AS timestamptz) AS t, CAST('12000-01-01' AS date) AS d, "
        "CAST(9007199254740993 AS bigint) AS l, CAST('NaN' AS double precision) AS f, ARRAY[1, 2] AS a, "
        "CAST('{\"a\": 1}' AS jsonb) AS j, CAST('1 day' AS interval) AS v"
    )
    (row,) = (await hand.run("query", text)).structured["rows"]
    assert row == [
        "1.50", "infinity", "eA==", "2026-11-26T11:00:00.5Z", "12000-01-01", "9007199254740993", "nan", [1, 2],
        {"a": 1}, "P1D",
    ]  # fmt: skip


async def test_values_of_mariadb_keep_all_their_digits(mariadb_database: Database, connect: Any) -> None:
    hand = await connect(mariadb_database)
    text = "SELECT budget, CAST('2026-11-26 12:00:00' AS datetime) AS t, unhex('00ff') AS b FROM teams WHERE id = 1"
    (row,) = (await hand.run("query", text)).structured["rows"]
    assert row == ["10.50", "2026-11-26T12:00:00", "AP8="]


async def test_tables_lists_the_tables_that_are_seen(database: Database, connect: Any) -> None:
    hand = await connect(database)
    result = await hand.run("tables")
    assert {row[1] for row in result.structured["rows"]} == {"users", "teams", "secrets", "people"}


async def test_a_statement_of_the_operators_takes_its_parameters_and_no_text(database: Database, connect: Any) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    actions = {"mail_of": {"statement": "SELECT email FROM users WHERE id = :id", "args_schema": schema}}
    hand = await connect(database, actions)
    assert (await hand.call("mail_of", {"id": 1})).structured["rows"] == [["ann@example.org"]]
    assert hand.adapter.analyse("mail_of", {"id": 1})["columns"] == [
        f"{database.schema}.users.email",
        f"{database.schema}.users.id",
    ]


async def test_another_pin_runs_nothing(sqlite_database: Database, connect: Any) -> None:
    hand = await connect(sqlite_database)
    with pytest.raises(HandDrifted):
        await hand.call("query", {"sql": "SELECT 1 AS a"}, manifest_digest="0" * 64)


async def test_a_frozen_hand_closes_and_starts_anew(database: Database, connect: Any) -> None:
    hand = await connect(database)
    await hand.run("query", "SELECT 1 AS a")
    await hand.adapter.close()
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]


async def test_a_full_disk_of_sqlite_is_told_and_undone(sqlite_database: Database, connect: Any) -> None:
    hand = await connect(sqlite_database)
    (pages,) = sqlite_database.ask("PRAGMA page_count")[0]
    big = "x" * 4_000
    original = hand.adapter._connect

    def small(password: str | None) -> Any:
        session = original(password)
        session._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        return session

    hand.adapter._connect = small
    results = [
        await hand.run("execute", "INSERT INTO users (id, name) VALUES (:id, :name)", id=60 + number, name=big)
        for number in range(8)
    ]
    assert results[-1].is_error
    kept = sqlite_database.ask("SELECT count(*) FROM users WHERE id >= 60")[0][0]
    assert kept == sum(not result.is_error for result in results)


def test_a_file_of_sqlite_is_a_plain_file_outside_of_the_home(tmp_path: Path) -> None:
    home = tmp_path.resolve() / "home"
    home.mkdir()
    mine, other = home / "handrail.db", tmp_path.resolve() / "a.db"
    for one in (mine, other):
        one.write_bytes(b"")
    link, hard = tmp_path.resolve() / "link.db", tmp_path.resolve() / "hard.db"
    link.symlink_to(other)
    os.link(mine, hard)

    def opened(path: Path) -> Path:
        settings = HandSettings(adapter="sql", database={"dialect": "sqlite", "path": path})
        assert settings.database is not None
        return file_of(settings.database, home)

    assert opened(other) == other
    for path in (mine, link, hard, tmp_path / "missing.db", tmp_path.resolve()):
        with pytest.raises(DatabaseLost):
            opened(path)


async def test_a_hand_without_its_file_says_so_before_anybody_pins_it(tmp_path: Path) -> None:
    path = tmp_path.resolve() / "shop.db"
    settings = HandSettings(adapter="sql", database={"dialect": "sqlite", "path": path}, actions={"tables": {}})
    adapter = SqlAdapter("db", settings, PlainJail())  # type: ignore[arg-type]
    with pytest.raises(HandError, match=f"{path}: FileNotFoundError") as refused:
        await adapter.manifest()
    assert (refused.value.reason, refused.value.failure) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
    path.write_bytes(b"")
    assert (await adapter.manifest()).hand == "db"


def test_an_address_is_resolved_once_and_judged() -> None:
    assert resolve("127.0.0.1", 5432, private_network=True) == "127.0.0.1"
    for host in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
        with pytest.raises(DatabaseLost):
            resolve(host, 5432, private_network=False)


SERVER = {"dialect": "postgresql", "host": "db.example", "name": "shop", "user": "agent"}
ONE = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"database": {**SERVER, "tls": False}}, "private_network"),
        ({"database": {**SERVER, "host": "169.254.169.254"}}, "does not dial"),
        ({"actions": {}}, "declares no action"),
        ({"actions": {"other": {}}}, "statement is missing"),
        ({"actions": {"query": {"statement": "SELECT 1"}}}, "choose another name"),
        ({"actions": {"query": {"args_schema": ONE}}}, "the adapter's"),
        ({"actions": {"execute": {}}}, "writes"),
        ({"actions": {"a": {"statement": "DELETE FROM users WHERE id = :id", "args_schema": ONE}}}, "does not name"),
        ({"actions": {"a": {"statement": "SELECT 1; SELECT 2"}}}, "one statement"),
        ({"actions": {"a": {"statement": "SELECT 1 AS a", "args_schema": ONE}}}, "parameters of the statement"),
        ({"actions": {"a": {"statement": "SELECT id FROM users WHERE id = :id"}}}, "parameters of the statement"),
        (
            {
                "actions": {"a": {"statement": "DELETE FROM users", "side_effects": "none"}},
                "database": {**SERVER, "writes": ("delete",)},
            },
            "changes rows",
        ),
        (
            {"actions": {"execute": {"side_effects": "none"}}, "database": {**SERVER, "writes": ("delete",)}},
            "changes rows",
        ),
        (
            {"database": {"dialect": "sqlite", "path": "/srv/a.db"}, "secrets": {"x": {"place": "password"}}},
            "no password",
        ),
    ],
)
def test_a_careless_declaration_does_not_start(changes: dict[str, Any], what: str) -> None:
    settings = HandSettings(**{"adapter": "sql", "database": SERVER, "actions": ACTIONS_READ, **changes})
    with pytest.raises(SettingsError, match=what):
        SqlAdapter.validate("db", settings)


ACTIONS_READ = {"query": ACTIONS["query"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"database": None},
        {"adapter": "http", "base_url": "https://a.example"},
        {"database": {"dialect": "sqlite"}},
        {"database": {"dialect": "sqlite", "path": "relative.db"}},
        {"database": {**SERVER, "path": "/srv/a.db"}},
        {"database": {"dialect": "mariadb", "host": "db.example"}},
        {"secrets": {"x": {"place": "bearer"}}},
        {"secrets": {"x": {"place": "password", "targets": ("https://evil.example",)}}},
        {"database": {**SERVER, "functions": ("Lower",)}},
        {"database": {**SERVER, "writes": ("drop",)}},
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        HandSettings(**{"adapter": "sql", "database": SERVER, "actions": ACTIONS_READ, **changes})


async def test_a_password_goes_to_its_database_and_is_part_of_the_pin(postgresql: Database, connect: Any) -> None:
    hand = await connect(postgresql)
    (use,) = (await hand.adapter.manifest()).secrets
    assert (str(use.place), use.targets) == ("password", (f"postgresql://127.0.0.1:{postgresql.place['port']}",))


@pytest.mark.parametrize("change", [{"schemas": ("public", "other")}, {"rows_max": 7}, {"functions": ("area",)}])
async def test_how_far_statements_may_go_is_part_of_the_pin(
    postgresql: Database, connect: Any, change: dict[str, Any]
) -> None:
    one, other = await connect(postgresql), await connect(postgresql, **change)
    assert one.digest != other.digest


@pytest.mark.parametrize("dialect", ["postgresql", "mariadb"])
async def test_a_server_without_tls_is_not_given_the_password(
    request: pytest.FixtureRequest, connect: Any, dialect: str
) -> None:
    """Neither server of these tests speaks TLS: with ``tls`` on, as it is without a word, nothing is sent to them."""
    database: Database = request.getfixturevalue("postgresql" if dialect == "postgresql" else "mariadb_database")
    hand = await connect(database, tls=True)
    assert await refused(hand.run("query", "SELECT 1 AS a")) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)
