"""deploy/postgres/application-role.sql: a gateway works under that role, and whoever holds it cannot change the log."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

import migrations
from audit.database import make_engine
from audit.tables import metadata as log
from gateway.model import Answer
from gateway.store.tables import metadata
from migrations.defences import APPEND_ONLY, WITHHELD
from tests.meta.tree import ROOT
from tests.pipeline.house import APPROVER, close_house, open_house, step
from tests.postgres import Server

pytestmark = pytest.mark.postgres
ERASABLE = ("payloads", "payload_keys", "data_keys", "key_buckets", "key_epochs", "erased_keys", "erasures")
SCRIPT = ROOT / "deploy" / "postgres" / "application-role.sql"


def dsn(url: URL) -> str:
    return f"host={url.query['host']} user={url.username} dbname={url.database}"


@pytest.fixture
def application(postgres_server: Server) -> URL:
    """URL of a migrated database for the role that the script makes; running the script again changes nothing."""
    url = postgres_server.create_database()
    engine = make_engine(url)
    migrations.upgrade(engine)
    engine.dispose()
    with psycopg.connect(dsn(make_url(url)), autocommit=True) as owner:
        for _ in range(2):
            owner.execute(SCRIPT.read_bytes())
    return make_url(url).set(username="handrail_app")


async def test_a_gateway_works_under_the_role(application: URL, tmp_path: Path) -> None:
    house = await open_house(tmp_path, database={"url": application.render_as_string(hide_password=False)})
    try:
        done = await house.plan(step("read"), step("change", "write", depends_on=["read"]))
        assert [one["status"] for one in done["steps"]] == ["succeeded", "held"]
        await house.approvals.answer(done["steps"][1]["approval_id"], APPROVER, answer=Answer.APPROVE)
        settled = await house.until_settled(done["plan_id"])
        assert [one["status"] for one in settled["steps"]] == ["succeeded", "succeeded"]
    finally:
        await close_house(house)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"UPDATE {table} SET {(metadata.tables | log.tables)[table].c[0].name} = NULL" for table in APPEND_ONLY),
        *(f"DELETE FROM {table}" for table in (*APPEND_ONLY, "head", *ERASABLE)),
        "UPDATE data_keys SET wrapped = ''",
        "UPDATE payloads SET sealed = ''",
        "UPDATE holds SET until = 0",
        "TRUNCATE payloads",
        "TRUNCATE entries",
        "DROP TABLE entries",
        "DROP TRIGGER entries_no_change ON entries",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "CREATE OR REPLACE FUNCTION handrail_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "SET session_replication_role = replica",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE TEMP TABLE entries (idx int)",
        "CREATE TEMP VIEW entries AS SELECT 1",
        "CREATE RULE mine AS ON INSERT TO entries DO INSTEAD NOTHING",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE TRIGGER mine BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION handrail_append_only()",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "ALTER FUNCTION handrail_append_only() RENAME TO other",
        "DROP FUNCTION handrail_append_only() CASCADE",
        "ALTER TABLE entries RENAME TO hidden",
        "ALTER TABLE entries OWNER TO handrail_app",
        "ALTER TABLE entries ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE entries INHERIT checkpoints",
        "ALTER TABLE entries DETACH PARTITION checkpoints",
        "CREATE INDEX mine ON entries (body)",
        "COPY checkpoints FROM PROGRAM 'true'",
        "COPY entries TO '/tmp/entries'",
        "SET ROLE handrail",
        "SET SESSION AUTHORIZATION handrail",
        "ALTER ROLE handrail_app SUPERUSER",
        "ALTER SYSTEM SET fsync = off",
        "CREATE EXTENSION dblink",
        "INSERT INTO entries SELECT * FROM entries ON CONFLICT (idx) DO UPDATE SET tenant = 'x'",
        "MERGE INTO entries e USING head h ON e.idx = h.id WHEN MATCHED THEN DELETE",
        "SELECT * FROM entries FOR UPDATE",
    ],
)
def test_the_role_may_not(application: URL, statement: str) -> None:
    with psycopg.connect(dsn(application), autocommit=True) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("handrail_app",)
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(statement.encode())
        assert refused.value.sqlstate == "42501"


def test_the_role_has_every_right_but_those_that_are_withheld(application: URL) -> None:
    """The list that posture checks and triggers follow, and the script: neither drifts from the other."""
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER")
    asked = "SELECT has_table_privilege(%s, %s)"
    with psycopg.connect(dsn(application), autocommit=True) as connection:
        tables = [*metadata.tables, *log.tables, "alembic_version"]
        held = {(table, right) for table in tables for right in rights
                if connection.execute(asked, (table, right)).fetchone() == (True,)}  # fmt: skip
    wanted = {
        (table, right)
        for table in tables
        for right in {"SELECT", "INSERT", "UPDATE", "DELETE"} - WITHHELD.get(table, frozenset())
    }
    assert held == wanted
    assert WITHHELD.keys() <= set(tables)


def test_the_role_gives_itself_nothing(application: URL) -> None:
    with psycopg.connect(dsn(application), autocommit=True) as connection:
        connection.execute("GRANT UPDATE, DELETE, TRUNCATE ON entries TO handrail_app")  # PostgreSQL only warns
        asked = "SELECT has_table_privilege('entries', 'UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')"
        assert connection.execute(asked.encode()).fetchone() == (False,)


def test_the_role_may_forget_what_expires(application: URL) -> None:
    with psycopg.connect(dsn(application), autocommit=True) as connection:
        for table in ("replays", "outbox", "sessions", "undelivered"):
            connection.execute(f"DELETE FROM {table}".encode())
