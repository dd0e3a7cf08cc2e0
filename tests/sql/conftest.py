"""Real databases with the tables of the corpus, each for one test, and hands that speak to them."""

import contextlib
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.calls import HandResult, Injections
from gateway.settings import HandSettings
from hand_adapters.sql import SqlAdapter
from tests import mariadb, postgres
from tests.hands.hands_support import call
from tests.hands.testing_only_plain_jail import PlainJail
from tests.ports import free_port
from tests.sql import corpus

ACTIONS = {"query": {"side_effects": "none"}, "execute": {}, "tables": {"side_effects": "none"}}
WRITES = ("insert", "update", "delete")
PASSWORD = "a-password-of-tests"


@dataclass
class Database:
    """One database of the corpus.

    Attributes:
        ask: runs a statement as the administrator and gives its rows.
    """

    dialect: str
    place: dict[str, Any]
    schema: str
    ask: Callable[..., list[Any]]
    password: str | None = None


@dataclass
class Hand:
    """A hand to it."""

    adapter: SqlAdapter
    database: Database
    digest: str
    passwords: list[str | None] = field(default_factory=list)

    async def run(self, action: str, sql: str | None = None, /, **parameters: Any) -> HandResult:
        return await self.call(action, {} if sql is None else {"sql": sql, "parameters": parameters})

    async def call(self, action: str, args: dict[str, Any], **changes: Any) -> HandResult:
        async def inject(scheme: str, host: str, port: int) -> Injections:
            assert f"{scheme}://{host}:{port}" == self.adapter._declared.database.origin
            return Injections(password=self.passwords[-1])

        return await self.adapter.run(call("db", action, args, self.digest, **{"inject": inject, **changes}))


@pytest.fixture(scope="session")
def tcp_postgres() -> Iterator[tuple[postgres.Server, int]]:
    """A PostgreSQL that listens on loopback, and its port; its user logs in with a password."""
    home = Path(tempfile.mkdtemp(prefix="hrpg"))
    try:
        cluster = postgres.Cluster(home)
        cluster.initialise()
        port = free_port()
        rules = cluster.data / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server = cluster.start("listen_addresses='127.0.0.1'", f"port={port}")
        with psycopg.connect(f"{server.dsn('postgres')} port={port}", autocommit=True) as connection:
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        try:
            yield server, port
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgresql(tcp_postgres: tuple[postgres.Server, int]) -> Database:
    """A PostgreSQL for one test."""
    return make_postgresql(*tcp_postgres)


def make_postgresql(server: postgres.Server, port: int) -> Database:
    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(f"{server.dsn('postgres')} port={port}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")

    def ask(text: str, *values: Any) -> list[Any]:
        with psycopg.connect(f"{server.dsn(name)} port={port}", autocommit=True) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    ask(";".join(corpus.TABLES))
    ask("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app")
    place = {"host": "127.0.0.1", "port": port, "name": name, "user": "app", "tls": False}
    return Database("postgresql", place, "public", ask, PASSWORD)


@pytest.fixture
def mariadb_database(mariadb_server: mariadb.MariadbServer) -> Database:
    """A MariaDB for one test."""
    return make_mariadb(mariadb_server)


def make_mariadb(mariadb_server: mariadb.MariadbServer) -> Database:
    name = mariadb_server.create_database(*corpus.TABLES)

    def ask(text: str, *values: Any) -> list[Any]:
        with contextlib.closing(mariadb_server.administer(name)) as connection, connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return list(cursor.fetchall())

    place = {"host": "127.0.0.1", "port": mariadb_server.port, "name": name, "user": mariadb.USER, "tls": False}
    return Database("mariadb", place, name, ask, mariadb.PASSWORD)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Database:
    """A SQLite for one test."""
    return make_sqlite(tmp_path)


def make_sqlite(directory: Path) -> Database:
    path = directory.resolve() / "a.db"

    def ask(text: str, *values: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(text, values).fetchall()

    for statement in corpus.TABLES:
        ask(statement)
    return Database("sqlite", {"path": path}, "main", ask)


@pytest.fixture(params=["postgresql", "mariadb_database", "sqlite_database"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of the three."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Hand]]]:
    """``await connect(database, actions=..., **of the database)`` -> a hand."""
    opened: list[SqlAdapter] = []

    async def make(database: Database, actions: dict[str, Any] = ACTIONS, **more: Any) -> Hand:
        settings = HandSettings(
            adapter="sql",
            private_network=True,
            database={"dialect": database.dialect, "writes": WRITES, **database.place, **more},
            actions=actions,
            secrets={"database": {"place": "password"}} if database.password else {},
        )
        SqlAdapter.validate("db", settings)
        adapter = SqlAdapter("db", settings, PlainJail())
        opened.append(adapter)
        return Hand(adapter, database, (await adapter.manifest()).digest, [database.password])

    yield make
    for adapter in opened:
        await adapter.close()
