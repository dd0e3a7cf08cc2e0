"""A log on a real database, SQLite and PostgreSQL alike, with a key of its own."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from sqlalchemy import Column, Engine, MetaData, String, Table

import migrations
from audit.controls import shipped
from audit.database import changing_schema, make_engine, writing
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.canonical import b64url_encode
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused
from gateway.ports import Guard, Purpose
from gateway.reasons import Reason
from gateway.settings import LogSettings

CONTROLS = shipped()
TIME = 1_795_226_400.125
claims = Table(
    "test_claims", MetaData(), Column("name", String(64), primary_key=True), Column("owner", String(64), nullable=False)
)
"""Stands for the tables of the pipeline."""


class CheckpointSigner:
    """The part of ``gateway.ports.Signer`` that the log uses."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.second = MLDSA44PrivateKey.generate()

    def sign_raw(self, purpose: Any, message: bytes) -> bytes:
        return (self.second if purpose is Purpose.CHECKPOINT_PQ else self.key).sign(message)

    def active_jwk(self, purpose: Any) -> dict[str, str]:
        if purpose is Purpose.CHECKPOINT_PQ:
            return {"pub": b64url_encode(self.second.public_key().public_bytes_raw())}
        return {"x": b64url_encode(self.key.public_key().public_bytes_raw())}


def draft(number: int = 0, **members: Any) -> EntryDraft:
    """A plausible entry."""
    known: dict[str, Any] = {"context_id": f"c{number % 5}", "plan_id": f"{number:064x}", "principal": "p-1", **members}
    return EntryDraft(known.pop("type", EntryType.PLAN_RECEIVED), known.pop("tenant", "default"), **known)


@pytest.fixture
def epochs(tmp_path: Path) -> EpochKeys:
    return EpochKeys(tmp_path / "epochs", os.urandom(32))


@pytest.fixture
def signer() -> CheckpointSigner:
    return CheckpointSigner()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, for ``migrations.upgrade``."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.db'}"
    return str(request.getfixturevalue("postgres_server").create_database())


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database of each kind."""
    engine = make_engine(database_url)
    migrations.upgrade(engine)
    _make_claims(engine)
    yield engine
    engine.dispose()


def _make_claims(engine: Engine) -> None:
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        claims.create(connection)


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated SQLite database."""
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    _make_claims(engine)
    yield engine
    engine.dispose()


Opener = Callable[..., AbstractAsyncContextManager[Log]]


@pytest.fixture
def open_log(epochs: EpochKeys, signer: CheckpointSigner) -> Opener:
    """``async with open_log(engine) as log``: a started log, closed at the end."""

    @contextlib.asynccontextmanager
    async def opened(engine: Engine, gateway_id: str = "g1", **settings: Any) -> AsyncIterator[Log]:
        log = Log(engine, LogSettings(**settings), signer, epochs, gateway_id, lambda: TIME, controls=CONTROLS)
        await log.start()
        try:
            yield log
        finally:
            await log.close()

    return opened


CLAIM = claims.insert()


def refuse(_connection):
    raise Refused(Reason.VERIFY_REPLAYED)


def once(name="one", on_conflict=refuse, owner="alice"):
    return Guard(CLAIM, {"name": name, "owner": owner}, on_conflict)
