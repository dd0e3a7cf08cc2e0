"""Who may delete: on PostgreSQL a role of its own, on SQLite connections of their own; the gateway itself may not."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DatabaseError

import migrations
from audit.database import make_engine
from audit.eraser import erasing, make_eraser
from audit.errors import LogUnavailable
from tests.meta.tree import ROOT
from tests.postgres import Server
from tests.privacy.conftest import running, upstream
from tests.until import until

ALLOWED = (
    "DELETE FROM payloads",
    "DELETE FROM payload_keys",
    "DELETE FROM data_keys",
    "UPDATE data_keys SET subject = '', bucket = '', wrapped = ''",
    "UPDATE holds SET subject = '', epoch = '', wrapped = ''",
    "UPDATE erasures SET payloads = payloads + 1",
)
REFUSED = (
    "DELETE FROM entries",
    "UPDATE entries SET body = ''",
    "UPDATE head SET tree_size = 0",
    "DELETE FROM principals",
    "DELETE FROM holds",
    "UPDATE holds SET until = 0",
    "DELETE FROM erased_keys",
    "DELETE FROM erasures",
    "UPDATE erasures SET done_at = 1",
    "UPDATE payloads SET sealed = ''",
    "UPDATE data_keys SET key_id = ''",
    "INSERT INTO erased_keys VALUES ('a', 'b')",
    "INSERT INTO key_epochs VALUES ('z', 0)",
    "DROP TABLE payloads",
    "DROP TRIGGER entries_no_delete",
    "CREATE TABLE mine (x int)",
    "ATTACH 'other.db' AS other",
)


@pytest.mark.parametrize("statement", ALLOWED)
def test_on_sqlite_the_eraser_may(tmp_path: Path, statement: str) -> None:
    run(prepared(tmp_path), statement)


@pytest.mark.parametrize("statement", REFUSED)
def test_on_sqlite_the_eraser_may_not(tmp_path: Path, statement: str) -> None:
    with pytest.raises(LogUnavailable) as refused:
        run(prepared(tmp_path), statement)
    assert isinstance(refused.value.__cause__, DatabaseError)
    assert "not authorized" in str(refused.value.__cause__)


def prepared(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    engine = make_engine(url)
    migrations.upgrade(engine)
    engine.dispose()
    return url


def run(url: str, statement: str) -> None:
    """As the eraser, in one transaction."""
    eraser = make_eraser(url)
    try:
        with erasing(eraser) as connection:
            connection.execute(text(statement))
    finally:
        eraser.dispose()


@pytest.fixture
def urls(postgres_server: Server) -> dict[str, str]:
    """A migrated database, as the application's and as the eraser's role."""
    url = make_url(postgres_server.create_database())
    engine = make_engine(url.render_as_string())
    migrations.upgrade(engine)
    engine.dispose()
    with psycopg.connect(f"host={url.query['host']} user=handrail dbname={url.database}", autocommit=True) as owner:
        for script in ("application-role.sql", "eraser-role.sql", "eraser-role.sql"):
            owner.execute((ROOT / "deploy" / "postgres" / script).read_bytes())
    return {
        "url": url.set(username="handrail_app").render_as_string(),
        "eraser_url": url.set(username="handrail_eraser").render_as_string(),
    }


@pytest.mark.postgres
@pytest.mark.parametrize("statement", ALLOWED)
def test_on_postgresql_the_eraser_may(urls: dict[str, str], statement: str) -> None:
    run(urls["eraser_url"], statement)


@pytest.mark.postgres
@pytest.mark.parametrize("statement", [one for one in REFUSED if not one.startswith(("ATTACH", "DROP TRIGGER"))])
def test_on_postgresql_the_eraser_may_not(urls: dict[str, str], statement: str) -> None:
    with pytest.raises(LogUnavailable) as refused:
        run(urls["eraser_url"], statement)
    assert refused.value.__cause__.orig.sqlstate == "42501"  # type: ignore[union-attr]


@pytest.mark.postgres
async def test_a_gateway_of_both_roles_erases_and_one_without_the_second_cannot(
    urls: dict[str, str], tmp_path: Path
) -> None:
    async with upstream() as below:
        async with running(tmp_path / "home", below, database={"url": urls["url"]}) as world:
            await world.note("bot", "ann@example.com", "Ann likes figs")
            asked = {"person": "ann@example.com"}
            begun = await world.json("POST", "/v1/privacy/erasures", "officer", asked, 202)
            with pytest.raises(LogUnavailable):
                await world.gateway.privacy.advance()
            await world.json("POST", "/v1/privacy/access", "officer", asked, 404)
            keys = world.keys
        async with running(tmp_path / "home", below, keys, database=urls) as world:

            async def done() -> bool:
                found = await world.json("GET", f"/v1/privacy/erasures/{begun['erasure_id']}", "officer")
                return bool(found["state"] == "done")

            await until(done)
