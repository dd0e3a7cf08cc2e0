"""A directory over a real log and a real database."""

import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.model import Principal
from gateway.ports import Purpose, Typ
from gateway.settings import LogSettings
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_rows import NewPrincipalView
from keys import jwk
from tests.store.directory.support import MAC_KEY, Clock


class TestingOnlySigner:
    """One key for the log's checkpoints."""

    __test__ = False

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.public = jwk.from_raw(self.private.public_key().public_bytes_raw())

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        raise NotImplementedError

    def sign_raw(self, purpose: Purpose, message: bytes) -> bytes:
        return self.private.sign(message)

    def active_jwk(self, purpose: Purpose) -> Mapping[str, str]:
        return self.public.document()

    def jwks(self) -> Mapping[str, Any]:
        return {"keys": [self.public.document()]}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database that each test copies."""
    path = tmp_path_factory.mktemp("template") / "handrail.db"
    made = make_engine(f"sqlite:///{path}")
    migrations.upgrade(made)
    made.dispose()
    return path


@pytest.fixture
def engine(template: Path, tmp_path: Path) -> Iterator[Engine]:
    shutil.copy(template, tmp_path / "handrail.db")
    made = make_engine(f"sqlite:///{tmp_path / 'handrail.db'}")
    yield made
    made.dispose()


@pytest.fixture
async def log(engine: Engine, tmp_path: Path, clock: Clock) -> AsyncIterator[Log]:
    made = Log(engine, LogSettings(), TestingOnlySigner(), EpochKeys(tmp_path / "epochs", bytes(32)), "test", clock)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def directory(engine: Engine, log: Log, clock: Clock) -> SqlDirectory:
    return SqlDirectory(engine, log, MAC_KEY, log.names, clock)


@pytest.fixture
def elsewhere(engine: Engine, log: Log, clock: Clock) -> SqlDirectory:
    """Another process over the same database."""
    return SqlDirectory(engine, log, MAC_KEY, log.names, clock)


@pytest.fixture
async def root(directory: SqlDirectory, clock: Clock) -> Principal:
    [first] = await directory.bootstrap([NewPrincipal("root", ["security_admin"])])
    return await directory.authenticate(first["api_key"]["token"], clock.now)


@pytest.fixture
async def alice(directory: SqlDirectory, root: Principal) -> NewPrincipalView:
    return await directory.add_principal(root, NewPrincipal("alice", ["agent"], hands=["git"]))
