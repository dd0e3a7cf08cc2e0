"""Retention on PostgreSQL: the owner drops, and the gateway's own role cannot."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

import migrations
from audit.database import make_engine, writing
from audit.fsck import check
from audit.reader import Reader
from audit.retained import PARTITION
from audit.retention import State
from audit.tables import dropped_partitions, entries
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.retention.conftest import grow, retention

pytestmark = pytest.mark.postgres
ROLE = Path(__file__).parents[3] / "deploy" / "postgres" / "application-role.sql"


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = make_engine(postgres_url)
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


async def test_the_owner_drops_while_the_gateway_goes_on_and_its_role_cannot(engine, opened, clock):
    async with opened() as log:
        await grow(log, clock)
    raw = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(raw, autocommit=True) as connection:
        connection.execute(ROLE.read_text().encode())
    application = make_engine(engine.url.set(username="handrail_app").render_as_string(hide_password=False))
    async with opened(application) as gateway, opened() as owners:
        with pytest.raises(ProgrammingError, match="permission denied"), application.begin() as connection:
            connection.execute(text("DELETE FROM entries WHERE idx = 5"))
        with pytest.raises(ProgrammingError, match="permission denied"), application.begin() as connection:
            connection.execute(text("INSERT INTO dropped_partitions (partition, idx) VALUES (0, 5)"))
        one = retention(engine, owners, clock)
        assert [found.state for found in await one.survey()] == [State.DUE, State.DUE, State.YOUNG]
        await gateway.append(Append([draft(1)]))
        assert await one.drop(0) > 4000
        await gateway.append(Append([draft(2)]))
        assert await one.drop(1) > 4000
        await gateway.append(Append([draft(3)]))
        proof = await gateway.proof(17)
        assert "index 17" in proof
    assert list(check(engine)) == []
    with engine.connect() as connection:
        assert connection.execute(select(entries.c.idx).where(entries.c.idx == 6)).first() is None
        assert connection.execute(select(dropped_partitions.c.partition)).scalars().all() == [0, 1]
    assert Reader(engine).entry(7).code == "PRNCHG"

    for attack in (
        f"DELETE FROM entries WHERE idx >= {2 * PARTITION}",
        "DELETE FROM entries WHERE idx = 7",
        "DELETE FROM postings",
        "DELETE FROM dropped_partitions",
        "TRUNCATE retained_hashes",
        "CREATE TEMP TABLE dropped_partitions AS SELECT 2 AS partition, 0 AS idx; DELETE FROM entries WHERE idx = 9000",
        "SET session_replication_role = replica; DELETE FROM entries WHERE idx = 9000",
    ):
        with writing(engine.connect()) as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(attack))
    assert list(check(engine)) == []
    application.dispose()
