"""Somebody writes to the database and has no key: no hand is usable by that, and no earlier pin comes back."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, update
from structlog.testing import capture_logs

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.history import newest_pin
from audit.log import Log
from audit.tables import entries
from gateway.canonical import canonical
from gateway.manifest import ActionManifest, Manifest
from gateway.model import Principal, Role
from gateway.settings import LogSettings
from gateway.store.tables import hand_pins
from hand_adapters.pins import Pin, SqlPins
from tests.audit.conftest import CheckpointSigner

OLGA = Principal("olga", "default", "p-olga", frozenset({Role.OPERATOR}))
KEY = bytes(range(32))


def manifest(description: str) -> Manifest:
    return Manifest("api", "http", {"get": ActionManifest("get", description, {"type": "object"})})


FIRST, SECOND = manifest("Reads."), manifest("Reads and writes.")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'p.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = make_engine(url)
    migrations.upgrade(made)
    yield made
    made.dispose()


@pytest.fixture
async def log(engine: Engine, tmp_path: Path) -> AsyncIterator[Log]:
    made = Log(engine, LogSettings(), CheckpointSigner(), EpochKeys(tmp_path / "epochs", bytes(32)), "g1")  # type: ignore[arg-type]
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def pins(engine: Engine, log: Log) -> SqlPins:
    return SqlPins(engine, log, KEY, newest_pin)


def stored(engine: Engine) -> dict[str, object]:
    with engine.connect() as connection:
        return dict(connection.execute(select(hand_pins)).mappings().one())


def change(engine: Engine, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(update(hand_pins).values(**values))


async def damaged(pins: SqlPins, why: str) -> set[tuple[str, str]]:
    """Whose pins are refused; each is in the operator's log."""
    with capture_logs() as logged:
        found = await pins.load()
    bad = {key for key, pin in found.items() if pin.manifest is None}
    assert len([line for line in logged if line["log_level"] == "error" and why in line["detail"]]) == len(bad) > 0
    return bad


async def test_a_pin_is_believed_as_it_was_made(pins: SqlPins, engine: Engine) -> None:
    for wanted in (FIRST, SECOND, FIRST):
        await pins.pin(wanted, OLGA)
        assert await pins.load() == {("default", "api"): Pin(wanted.digest, wanted)}


async def test_a_pin_made_in_sql_pins_nothing(pins: SqlPins, engine: Engine) -> None:
    row = {"tenant": "default", "hand": "api", "manifest_digest": FIRST.digest, "pinned_by": "p-olga", "pinned_at": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(hand_pins).values(**row, manifest=canonical(FIRST.document()).decode(), mac="0" * 64))
    assert await damaged(pins, "changed") == {("default", "api")}


async def test_a_looser_manifest_under_its_own_digest_pins_nothing(pins: SqlPins, engine: Engine) -> None:
    await pins.pin(FIRST, OLGA)
    change(engine, manifest_digest=SECOND.digest, manifest=canonical(SECOND.document()).decode())
    assert await damaged(pins, "changed") == {("default", "api")}


@pytest.mark.parametrize("column", ["manifest", "manifest_digest", "pinned_by", "pinned_at"])
async def test_no_column_of_a_pin_can_be_changed(pins: SqlPins, engine: Engine, column: str) -> None:
    await pins.pin(FIRST, OLGA)
    change(engine, **{column: 2.0 if column == "pinned_at" else "x"})
    assert await damaged(pins, "changed") == {("default", "api")}


async def test_one_tenants_pin_copied_to_another_is_none(pins: SqlPins, engine: Engine) -> None:
    await pins.pin(FIRST, OLGA)
    with engine.begin() as connection:
        connection.execute(insert(hand_pins).values(**{**stored(engine), "tenant": "acme"}))
    assert await damaged(pins, "changed") == {("acme", "api")}


async def test_an_earlier_pin_put_back_is_none_until_somebody_pins_again(pins: SqlPins, engine: Engine) -> None:
    await pins.pin(FIRST, OLGA)
    earlier = stored(engine)
    await pins.pin(SECOND, OLGA)
    change(engine, **earlier)
    assert await damaged(pins, "put back") == {("default", "api")}
    await pins.pin(FIRST, OLGA)
    assert (await pins.load())["default", "api"].manifest == FIRST


async def test_an_entry_that_no_tree_holds_vouches_for_no_pin(pins: SqlPins, engine: Engine) -> None:
    """The role that appends to the log can also insert a row beyond its head."""
    await pins.pin(FIRST, OLGA)
    earlier = stored(engine)
    with engine.begin() as connection:
        entry = dict(connection.execute(select(entries).order_by(entries.c.idx.desc()).limit(1)).mappings().one())
    await pins.pin(SECOND, OLGA)
    change(engine, **earlier)
    with engine.begin() as connection:
        connection.execute(insert(entries).values(**{**entry, "idx": 10**9}))
    assert await damaged(pins, "put back") == {("default", "api")}
