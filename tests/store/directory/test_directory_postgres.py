"""The directory's statements on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.reasons import Reason
from gateway.settings import LogSettings
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.times import format_time
from keys import jwk
from tests.store.directory.conftest import TestingOnlySigner
from tests.store.directory.support import MAC_KEY, Clock, new_jwk, refused

pytestmark = pytest.mark.postgres


@pytest.fixture
async def on_postgres(postgres_url: str, tmp_path: Path, clock: Clock) -> AsyncIterator[SqlDirectory]:
    engine = make_engine(postgres_url)
    migrations.upgrade(engine)
    log = Log(engine, LogSettings(), TestingOnlySigner(), EpochKeys(tmp_path / "epochs", bytes(32)), "test", clock)
    await log.start()
    yield SqlDirectory(engine, log, MAC_KEY, log.names, clock)
    await log.close()
    engine.dispose()


async def test_life_of_a_principal_and_an_issuer(on_postgres: SqlDirectory, clock: Clock) -> None:
    directory = on_postgres
    [first] = await directory.bootstrap([NewPrincipal("root", ["security_admin"])])
    root = await directory.authenticate(first["api_key"]["token"], clock.now)
    alice = await directory.add_principal(root, NewPrincipal("alice", ["agent"], hands=["git"]))
    await refused(directory.add_principal(root, NewPrincipal("alice", ["agent"])), Reason.REQUEST_CONFLICT)
    assert (await directory.authenticate(alice["api_key"]["token"], clock.now)).hands == frozenset({"git"})
    again = await directory.issue_api_key(root, "alice")
    assert (await directory.principal("default", "alice")).id == "alice"

    key, further = new_jwk(), new_jwk()
    await directory.add_issuer(root, "bot", key, ["alice"], attests_request=True)
    await directory.add_issuer(root, "bot", further)
    await refused(directory.add_issuer(root, "bot", further), Reason.REQUEST_CONFLICT)
    await directory.revoke_issuer_key(root, "bot", jwk.public(key).kid)
    issuer = await directory.issuer("bot", "default")
    assert (issuer.attests_request, issuer.speaks_for, len(issuer.keys)) == (True, frozenset({"alice"}), 2)
    assert issuer.keys[jwk.public(key).kid].revoked_at == int(clock.now)

    await directory.revoke_principal(root, "alice")
    await directory.revoke_issuer(root, "bot")
    for token in (alice["api_key"]["token"], again["token"]):
        await refused(directory.authenticate(token, clock.now), Reason.AUTH_INVALID)
    await refused(directory.issuer("bot", "default"), Reason.VERIFY_UNKNOWN_ISSUER)
    assert [view["revoked_at"] for view in await directory.list_principals(root)] == [format_time(clock.now), None]
    assert [view["revoked_at"] for view in await directory.list_issuers(root)] == [format_time(clock.now)]
