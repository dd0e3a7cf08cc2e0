"""Somebody writes to the database and has no key: that makes no administrator, no issuer, and brings nobody back."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, and_, insert, select, update
from structlog.testing import capture_logs

import migrations
from audit.database import make_engine
from audit.log import Log
from audit.tables import entries
from gateway.errors import HandrailError
from gateway.model import Principal
from gateway.reasons import Reason
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_rows import NewPrincipalView
from gateway.store.row_macs import RowChanged
from gateway.store.tables import api_keys, issuer_keys, issuers, principals
from keys import jwk
from tests.store.directory.support import MAC_KEY, T0, Clock, new_jwk, of, refused

MINE = "hr_" + "e" * 16 + "_" + "e" * 43
"""The attacker's own token, and what would be stored of it."""
MY_HASH = hashlib.sha256(MINE[20:].encode()).hexdigest()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'h.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = make_engine(url)
    migrations.upgrade(made)
    yield made
    made.dispose()


def read(engine: Engine, table: Table, **key: str) -> dict[str, Any]:
    with engine.connect() as connection:
        where = and_(*(table.c[name] == value for name, value in key.items()))
        return dict(connection.execute(select(table).where(where)).mappings().one())


def write(engine: Engine, table: Table, row: Mapping[str, Any]) -> None:
    """Put a whole row in the place of the one with its key, or beside the others where there is none."""
    where = and_(*(column == row[column.name] for column in table.primary_key))
    with engine.begin() as connection:
        if not connection.execute(update(table).where(where).values(**row)).rowcount:
            connection.execute(insert(table).values(**row))


def change(engine: Engine, table: Table, key: Mapping[str, str], **values: Any) -> None:
    write(engine, table, {**read(engine, table, **key), **values})


def first(values: Mapping[str, Any]) -> str:
    return next(iter(values))


async def nobody(directory: SqlDirectory, clock: Clock, token: str, name: str = "", reason: str = "changed") -> None:
    """The token gives nobody, as if it were unknown; where a name is given, so is that; and the log says why."""
    clock.now += 5
    with capture_logs() as logged:
        await refused(directory.authenticate(token, clock.now), Reason.AUTH_INVALID)
        if name:
            await refused(directory.principal("default", name), Reason.REQUEST_NOT_FOUND)
    assert logged
    assert {(line["event"], line["log_level"]) for line in logged} == {("row refused", "error")}
    assert all(line["reason"] == Reason.INTERNAL and reason in line["detail"] for line in logged)
    assert "alice" not in str(logged)


# --- principals and their keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mac", ["nothing", "zeros", "another row's"])
async def test_an_administrator_added_in_sql_is_nobody(
    directory: SqlDirectory, root: Principal, engine: Engine, clock: Clock, mac: str
) -> None:
    admin = read(engine, principals, **of(directory, "root"))
    key = {
        "key_id": "e" * 16,
        "tenant": "default",
        "pseudonym": "p-eve",
        "secret_sha256": MY_HASH,
        "created_at": T0,
        "expires_at": T0 + 1e6,
        "revoked_at": None,
    }
    macs = {"nothing": "", "zeros": "0" * 64, "another row's": admin["mac"]}
    write(engine, principals, {**admin, "pseudonym": "p-eve", "name_key": "n-eve", "mac": macs[mac]})
    write(engine, api_keys, {**key, "mac": macs[mac]})
    await nobody(directory, clock, MINE, "eve")


@pytest.mark.parametrize(
    "values",
    [
        {"roles": '["security_admin"]'},
        {"hands": None},
        {"hands": '["git", "shell"]'},
        {"approval_jwk": '{"kty":"OKP"}'},
        {"name_key": "n-somebody"},
        {"created_at": 1.0},
    ],
    ids=first,
)
async def test_rights_changed_in_sql_take_everything_away(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock, values: dict[str, Any]
) -> None:
    change(engine, principals, of(directory, "alice"), **values)
    await nobody(directory, clock, alice["api_key"]["token"], "alice")


@pytest.mark.parametrize(
    "values",
    [{"expires_at": T0 + 1e9}, {"created_at": 1.0}, {"revoked_at": None}],
    ids=first,
)
async def test_the_life_of_a_key_is_not_prolonged_in_sql(
    directory: SqlDirectory,
    root: Principal,
    alice: NewPrincipalView,
    engine: Engine,
    clock: Clock,
    values: dict[str, Any],
) -> None:
    if "revoked_at" in values:
        await directory.revoke_principal(root, "alice")
    change(engine, api_keys, {"key_id": alice["api_key"]["key_id"]}, **values)
    await nobody(directory, clock, alice["api_key"]["token"])


async def test_another_secret_in_the_administrators_key_opens_nothing(
    directory: SqlDirectory, root: Principal, engine: Engine, clock: Clock
) -> None:
    key_id = read(engine, api_keys, **of(directory, "root"))["key_id"]
    change(engine, api_keys, {"key_id": key_id}, secret_sha256=MY_HASH)
    await nobody(directory, clock, f"hr_{key_id}_{'e' * 43}")


async def test_a_key_handed_to_the_administrator_opens_nothing(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    change(engine, api_keys, {"key_id": alice["api_key"]["key_id"]}, **of(directory, "root"))
    await nobody(directory, clock, alice["api_key"]["token"])


async def test_rows_swapped_between_two_principals_are_neither(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    first, second = (read(engine, principals, **of(directory, name)) for name in ("root", "alice"))
    write(engine, principals, {**second, "name_key": "between"})
    write(engine, principals, {**first, "name_key": second["name_key"]})
    write(engine, principals, {**second, "name_key": first["name_key"]})
    await nobody(directory, clock, alice["api_key"]["token"], "alice")


async def test_rows_of_one_tenant_are_nobody_in_another(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    await directory.bootstrap([NewPrincipal("boss", ["security_admin"])], tenant="acme")
    whose = of(directory, "alice")
    change(engine, principals, whose, tenant="acme")
    change(engine, api_keys, whose, tenant="acme")
    with capture_logs() as logged:
        await refused(directory.person("acme", whose["pseudonym"]), Reason.REQUEST_NOT_FOUND)
    assert "changed" in logged[0]["detail"]
    await nobody(directory, clock, alice["api_key"]["token"])
    await refused(directory.principal("acme", "alice"), Reason.REQUEST_NOT_FOUND)


async def test_a_revocation_cleared_in_sql_revokes_all_the_same(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    await directory.revoke_principal(root, "alice")
    change(engine, principals, of(directory, "alice"), revoked_at=None)
    change(engine, api_keys, {"key_id": alice["api_key"]["key_id"]}, revoked_at=None)
    await nobody(directory, clock, alice["api_key"]["token"], "alice")


@pytest.mark.parametrize("process", ["the same", "another", "one that starts later"])
async def test_rows_from_before_a_revocation_bring_nobody_back(
    directory: SqlDirectory,
    elsewhere: SqlDirectory,
    root: Principal,
    alice: NewPrincipalView,
    engine: Engine,
    log: Log,
    clock: Clock,
    process: str,
) -> None:
    token = alice["api_key"]["token"]
    await elsewhere.authenticate(token, clock.now)
    person, key = read(engine, principals, **of(directory, "alice")), read(engine, api_keys, **of(directory, "alice"))
    await directory.revoke_principal(root, "alice")
    write(engine, principals, person)
    write(engine, api_keys, key)
    later = SqlDirectory(engine, log, MAC_KEY, log.names, clock)
    asked = {"the same": directory, "another": elsewhere}.get(process, later)
    await nobody(asked, clock, token, "alice", "put back")
    with pytest.raises(RowChanged):
        await asked.issue_api_key(root, "alice")


async def test_an_entry_beyond_the_head_hides_no_later_revocation(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    """The role that appends to the log can also insert a row that no tree holds: one from the far future."""
    with engine.begin() as connection:
        last = connection.execute(select(entries).order_by(entries.c.idx.desc()).limit(1)).mappings().one()
        connection.execute(insert(entries).values(**{**last, "idx": 10**9}))
    clock.now += 5
    await directory.principal("default", "alice")
    before = read(engine, principals, **of(directory, "alice"))
    await directory.revoke_principal(root, "alice")
    write(engine, principals, before)
    clock.now += 5
    await refused(directory.principal("default", "alice"), Reason.REQUEST_NOT_FOUND)


async def test_one_bad_row_is_nobody_elses_trouble(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    bob = await directory.add_principal(root, NewPrincipal("bob", ["agent"]))
    change(engine, principals, of(directory, "alice"), roles='["security_admin"]')
    clock.now += 5
    bad, good = await asyncio.gather(
        *(directory.authenticate(made["api_key"]["token"], clock.now) for made in (alice, bob)), return_exceptions=True
    )
    assert isinstance(good, Principal)
    assert isinstance(bad, HandrailError)
    assert bad.reason is Reason.AUTH_INVALID


async def test_a_list_with_a_changed_row_is_refused_rather_than_shortened(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine
) -> None:
    change(engine, principals, of(directory, "alice"), roles='["security_admin"]')
    with pytest.raises(RowChanged) as caught:
        await directory.list_principals(root)
    assert caught.value.reason is Reason.INTERNAL
    assert read(engine, principals, **of(directory, "alice"))["pseudonym"] in caught.value.detail


async def test_a_changed_row_neither_keeps_anybody_from_being_revoked_nor_counts_as_the_last_administrator(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine
) -> None:
    await directory.add_principal(root, NewPrincipal("bob", ["agent"]))
    change(engine, principals, of(directory, "alice"), roles='["security_admin"]')
    assert (await directory.revoke_principal(root, "bob"))["revoked_at"] is not None
    await refused(directory.revoke_principal(root, "root"), Reason.REQUEST_CONFLICT)
    with pytest.raises(RowChanged):
        await directory.revoke_principal(root, "alice")


async def test_a_changed_row_does_not_open_the_tenant_to_a_new_first_administrator(
    directory: SqlDirectory, root: Principal, engine: Engine
) -> None:
    change(engine, principals, of(directory, "root"), roles="[]")
    await refused(directory.bootstrap([NewPrincipal("eve", ["security_admin"])]), Reason.REQUEST_CONFLICT)


async def test_under_another_master_key_no_row_is_believed(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, log: Log, clock: Clock
) -> None:
    await nobody(SqlDirectory(engine, log, bytes(32), log.names, clock), clock, alice["api_key"]["token"], "alice")


# --- issuers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def bot(directory: SqlDirectory, root: Principal, alice: NewPrincipalView) -> str:
    """An issuer with one key; the key's id."""
    key = new_jwk()
    await directory.add_issuer(root, "bot", key, ["alice"])
    return jwk.public(key).kid


async def unknown(directory: SqlDirectory, clock: Clock, name: str = "bot", reason: str = "changed") -> None:
    clock.now += 5
    with capture_logs() as logged:
        await refused(directory.issuer(name, "default"), Reason.VERIFY_UNKNOWN_ISSUER)
    assert [reason in line["detail"] for line in logged if line["detail"].startswith("a row of issuers ")] == [True]


async def keys_of(directory: SqlDirectory, clock: Clock, reason: str = "changed") -> set[str]:
    """Ids of the issuer's keys that are known and not revoked; that one was refused is in the operator's log."""
    clock.now += 5
    with capture_logs() as logged:
        found = (await directory.issuer("bot", "default")).keys
    assert [reason in line["detail"] for line in logged] == [True]
    return {kid for kid, key in found.items() if key.revoked_at is None}


async def test_an_issuer_added_in_sql_is_unknown(
    directory: SqlDirectory, bot: str, engine: Engine, clock: Clock
) -> None:
    mine = jwk.public(new_jwk())
    write(engine, issuers, {**read(engine, issuers, issuer_id="bot"), "issuer_id": "eve", "pseudonym": "i-eve"})
    key = {**read(engine, issuer_keys, kid=bot), "issuer_id": "eve", "kid": mine.kid}
    write(engine, issuer_keys, {**key, "jwk": str(mine.document())})
    await unknown(directory, clock, "eve")


@pytest.mark.parametrize(
    "values",
    [{"speaks_for": '["p-alice", "p-root"]'}, {"attests_request": True}, {"created_at": 1.0}, {"pseudonym": "i-other"}],
    ids=first,
)
async def test_an_issuers_rights_widened_in_sql_are_none(
    directory: SqlDirectory, bot: str, engine: Engine, clock: Clock, values: dict[str, Any]
) -> None:
    change(engine, issuers, {"issuer_id": "bot"}, **values)
    await unknown(directory, clock)


async def test_a_key_added_to_an_issuer_in_sql_is_not_its_key(
    directory: SqlDirectory, bot: str, engine: Engine, clock: Clock
) -> None:
    mine = jwk.public(new_jwk())
    write(engine, issuer_keys, {**read(engine, issuer_keys, kid=bot), "kid": mine.kid, "jwk": str(mine.document())})
    assert await keys_of(directory, clock) == {bot}


@pytest.mark.parametrize("column", ["jwk", "not_before", "not_after"])
async def test_a_key_changed_in_sql_is_not_the_issuers(
    directory: SqlDirectory, bot: str, engine: Engine, clock: Clock, column: str
) -> None:
    value = str(jwk.public(new_jwk()).document()) if column == "jwk" else 1
    change(engine, issuer_keys, {"kid": bot}, **{column: value})
    assert await keys_of(directory, clock) == set()


async def test_a_key_of_one_issuer_is_not_anothers(
    directory: SqlDirectory, root: Principal, bot: str, engine: Engine, clock: Clock
) -> None:
    other = jwk.public(new_jwk())
    await directory.add_issuer(root, "other", other.document())
    write(engine, issuer_keys, {**read(engine, issuer_keys, kid=other.kid), "issuer_id": "bot"})
    assert await keys_of(directory, clock) == {bot}


async def test_a_revoked_issuer_stays_revoked_whatever_its_row_says(
    directory: SqlDirectory, root: Principal, bot: str, engine: Engine, clock: Clock
) -> None:
    before = read(engine, issuers, issuer_id="bot")
    await directory.revoke_issuer(root, "bot")
    change(engine, issuers, {"issuer_id": "bot"}, revoked_at=None)
    await unknown(directory, clock)
    write(engine, issuers, before)
    await unknown(directory, clock, reason="put back")
    with pytest.raises(RowChanged):
        await directory.add_issuer(root, "bot", new_jwk())


async def test_a_revoked_key_of_an_issuer_stays_revoked_whatever_its_row_says(
    directory: SqlDirectory, root: Principal, bot: str, engine: Engine, log: Log, clock: Clock
) -> None:
    before = read(engine, issuer_keys, kid=bot)
    await directory.revoke_issuer_key(root, "bot", bot)
    change(engine, issuer_keys, {"kid": bot}, revoked_at=None)
    assert await keys_of(directory, clock) == set()
    write(engine, issuer_keys, before)
    assert await keys_of(directory, clock, "put back") == set()
    assert await keys_of(SqlDirectory(engine, log, MAC_KEY, log.names, clock), clock, "put back") == set()
    with pytest.raises(RowChanged):
        await directory.list_issuers(root)


async def test_a_key_that_two_issuers_share_is_revoked_for_one_of_them_alone(
    directory: SqlDirectory, root: Principal, bot: str, engine: Engine, clock: Clock
) -> None:
    shared = new_jwk()
    for name in ("bot", "other"):
        await directory.add_issuer(root, name, shared)
    await directory.revoke_issuer_key(root, "other", jwk.public(shared).kid)
    clock.now += 5
    key = (await directory.issuer("bot", "default")).keys[jwk.public(shared).kid]
    assert key.revoked_at is None
