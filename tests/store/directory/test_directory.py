"""The directory of callers: a revoked key is soon worth nothing, and bad keys cost little."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from audit.database import changing_schema
from gateway.errors import Unavailable
from gateway.model import Principal, Role
from gateway.reasons import Reason
from gateway.store import directory_cache
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_cache import Lookups
from gateway.store.directory_rows import NewPrincipalView
from gateway.store.row_macs import RowMacs
from gateway.store.tables import api_keys, principals
from gateway.times import format_time
from keys import jwk
from tests.store.directory.support import MAC_KEY, T0, Clock, Counter, new_jwk, of, refused

# --- authentication --------------------------------------------------------------------------------------------------


async def test_a_key_gives_its_principal_with_roles_and_scope(
    directory: SqlDirectory, alice: NewPrincipalView, clock: Clock
) -> None:
    found = await directory.authenticate(alice["api_key"]["token"], clock.now)
    assert (found.id, found.tenant, found.roles) == ("alice", "default", frozenset({Role.AGENT}))
    assert found.may_use("git")
    assert not found.may_use("shell")


async def test_only_a_hash_of_the_secret_is_stored(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, tmp_path: Path
) -> None:
    secret = alice["api_key"]["token"][len("hr_") + 17 :]
    assert len(secret) == 43
    with engine.connect() as connection:
        stored = connection.execute(
            select(api_keys.c.secret_sha256).where(api_keys.c.key_id == alice["api_key"]["key_id"])
        ).scalar_one()
    assert stored == hashlib.sha256(secret.encode()).hexdigest()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()


def spoiled(token: str) -> dict[str, str]:
    other = "A" if token[-1] != "A" else "B"
    return {
        "wrong secret": token[:-1] + other,
        "secret cut short": token[:-1],
        "secret too long": token + "A",
        "unknown id": "hr_" + "0" * 16 + token[19:],
        "id in capitals": "hr_" + token[3:19].upper().replace("0", "A") + token[19:],
        "without prefix": token[3:],
        "another prefix": "sk_" + token[3:],
        "line end": token + "\n",
        "space before": " " + token,
        "null byte": token + "\0",
        "SQL": "hr_' OR '1'='1_" + token[20:],
        "full-width digits": "hr_" + "\uff11" * 16 + token[19:],
        "empty": "",
        "long": "hr_" * 10_000,
    }


@pytest.mark.parametrize("name", spoiled("hr_" + "0" * 16 + "_" + "a" * 43))
async def test_spoiled_key_is_invalid(
    directory: SqlDirectory, alice: NewPrincipalView, clock: Clock, name: str
) -> None:
    await refused(directory.authenticate(spoiled(alice["api_key"]["token"])[name], clock.now), Reason.AUTH_INVALID)
    await directory.authenticate(alice["api_key"]["token"], clock.now)


async def test_secrets_of_two_keys_cannot_be_swapped(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    bob = await directory.add_principal(root, NewPrincipal("bob", ["agent"]))
    mixed = alice["api_key"]["token"][:20] + bob["api_key"]["token"][20:]
    await refused(directory.authenticate(mixed, clock.now), Reason.AUTH_INVALID)


async def test_expired_key_is_told_apart_only_for_who_knows_its_secret(
    directory: SqlDirectory, alice: NewPrincipalView, clock: Clock
) -> None:
    token = alice["api_key"]["token"]
    assert alice["api_key"]["expires_at"] == format_time(T0 + 90 * 86_400)
    clock.now = T0 + 90 * 86_400 - 1
    await directory.authenticate(token, clock.now)
    clock.now += 1
    await refused(directory.authenticate(token, clock.now), Reason.AUTH_EXPIRED)
    await refused(directory.authenticate(spoiled(token)["wrong secret"], clock.now), Reason.AUTH_INVALID)


async def test_an_expired_principal_gets_a_new_key_without_a_new_id(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    clock.now += 91 * 86_400
    again = await directory.issue_api_key(root, "alice", ttl_days=1)
    assert (await directory.authenticate(again["token"], clock.now)).id == "alice"
    await refused(directory.authenticate(alice["api_key"]["token"], clock.now), Reason.AUTH_EXPIRED)


# --- revocation ------------------------------------------------------------------------------------------------------


async def test_revocation_in_this_process_bites_at_once(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    token = alice["api_key"]["token"]
    await directory.authenticate(token, clock.now)
    await directory.principal("default", "alice")
    await directory.revoke_principal(root, "alice")
    await refused(directory.authenticate(token, clock.now), Reason.AUTH_INVALID)
    await refused(directory.principal("default", "alice"), Reason.REQUEST_NOT_FOUND)


async def test_revocation_in_another_process_bites_within_two_seconds(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    token = alice["api_key"]["token"]
    await elsewhere.authenticate(token, clock.now)
    await directory.revoke_principal(root, "alice")
    clock.now += 1.99
    assert (await elsewhere.authenticate(token, clock.now)).id == "alice"
    clock.now += 0.01
    await refused(elsewhere.authenticate(token, clock.now), Reason.AUTH_INVALID)


async def test_use_does_not_prolong_what_is_remembered(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    token = alice["api_key"]["token"]
    await elsewhere.authenticate(token, clock.now)
    await directory.revoke_principal(root, "alice")
    for _ in range(7):
        clock.now += 0.25
        await elsewhere.authenticate(token, clock.now)
    clock.now += 0.25
    await refused(elsewhere.authenticate(token, clock.now), Reason.AUTH_INVALID)


async def test_clock_set_back_does_not_keep_a_revoked_key_alive(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    token = alice["api_key"]["token"]
    await elsewhere.authenticate(token, clock.now)
    await directory.revoke_principal(root, "alice")
    clock.now -= 3600
    await refused(elsewhere.authenticate(token, clock.now), Reason.AUTH_INVALID)


async def test_a_read_begun_before_a_revocation_does_not_bring_the_key_back(clock: Clock) -> None:
    """The read sees the old row, the revocation happens, then the read returns."""
    loop = asyncio.get_running_loop()
    rows = {"k": "valid"}
    reads = 0

    def fetch(wanted: Sequence[str]) -> Mapping[str, str]:
        nonlocal reads
        reads += 1
        seen = {key: rows[key] for key in wanted if key in rows}
        if reads == 1:
            asyncio.run_coroutine_threadsafe(revoke(), loop).result()
        return seen

    async def revoke() -> None:
        del rows["k"]
        lookups.forget()

    lookups: Lookups[str, str] = Lookups(fetch, clock, present_seconds=2.0, absent_seconds=1.0)
    assert await lookups.get("k") is None
    assert reads == 2
    assert lookups.known("k") is None


async def test_revoked_issuer_is_unknown_and_its_revoked_key_says_when(
    directory: SqlDirectory, root: Principal, clock: Clock
) -> None:
    first, second = new_jwk(), new_jwk()
    await directory.add_issuer(root, "laptop", first)
    await directory.add_issuer(root, "laptop", second)
    kid = jwk.public(first).kid
    assert (await directory.issuer("laptop", "default")).keys[kid].revoked_at is None
    clock.now += 5.5
    await directory.revoke_issuer_key(root, "laptop", kid)
    held = (await directory.issuer("laptop", "default")).keys
    assert held[kid].revoked_at == int(T0) + 5
    assert held[jwk.public(second).kid].revoked_at is None
    await directory.revoke_issuer(root, "laptop")
    await refused(directory.issuer("laptop", "default"), Reason.VERIFY_UNKNOWN_ISSUER)


# --- tenants ---------------------------------------------------------------------------------------------------------


async def test_nothing_of_another_tenant_is_found_or_changed(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    await directory.add_issuer(root, "laptop", new_jwk())
    [other] = await directory.bootstrap([NewPrincipal("root", ["security_admin"])], tenant="acme")
    foreign = await directory.authenticate(other["api_key"]["token"], clock.now)
    assert foreign.tenant == "acme"
    assert foreign.pseudonym != root.pseudonym
    await refused(directory.principal("acme", "alice"), Reason.REQUEST_NOT_FOUND)
    await refused(directory.issuer("laptop", "acme"), Reason.VERIFY_UNKNOWN_ISSUER)
    await refused(directory.revoke_principal(foreign, "alice"), Reason.REQUEST_NOT_FOUND)
    await refused(directory.revoke_issuer(foreign, "laptop"), Reason.REQUEST_NOT_FOUND)
    await refused(directory.issue_api_key(foreign, "alice"), Reason.REQUEST_NOT_FOUND)
    assert [view["id"] for view in await directory.list_principals(foreign)] == ["root"]
    assert await directory.list_issuers(foreign) == []
    await directory.authenticate(alice["api_key"]["token"], clock.now)


# --- what lookups cost -----------------------------------------------------------------------------------------------


async def test_a_known_key_never_reaches_the_database_or_another_thread(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = alice["api_key"]["token"]
    await directory.authenticate(token, clock.now)

    async def no_threads(*_: Any) -> None:
        raise AssertionError("left the event loop")

    monkeypatch.setattr(asyncio, "to_thread", no_threads)
    for _ in range(100):
        coroutine = directory.authenticate(token, clock.now)
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        assert done.value.value.id == "alice"


async def test_a_flood_of_unknown_keys_is_read_in_few_batches(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    counter = Counter(engine)
    tokens = [f"hr_{number:016x}_{'a' * 43}" for number in range(2000)]
    outcomes = await asyncio.gather(
        *(directory.authenticate(token, clock.now) for token in tokens),
        directory.authenticate(alice["api_key"]["token"], clock.now),
        return_exceptions=True,
    )
    assert isinstance(outcomes[-1], Principal)
    assert {getattr(outcome, "reason", None) for outcome in outcomes[:-1]} == {Reason.AUTH_INVALID}
    assert counter.statements <= 2001 // directory_cache.BATCH + 2


async def test_one_bad_key_sent_again_and_again_is_read_once_a_second(
    directory: SqlDirectory, root: Principal, engine: Engine, clock: Clock
) -> None:
    bad = f"hr_{'b' * 16}_{'a' * 43}"
    counter = Counter(engine)
    for _ in range(50):
        await refused(directory.authenticate(bad, clock.now), Reason.AUTH_INVALID)
    assert counter.statements == 1
    clock.now += 1
    await refused(directory.authenticate(bad, clock.now), Reason.AUTH_INVALID)
    assert counter.statements == 2


async def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_cache, "PRESENT_MAX", 10)
    monkeypatch.setattr(directory_cache, "ABSENT_MAX", 10)
    lookups: Lookups[int, int] = Lookups(
        lambda wanted: {key: key for key in wanted if key % 2}, clock, present_seconds=2.0, absent_seconds=1.0
    )
    for key in range(200):
        assert await lookups.get(key) == (key if key % 2 else None)
    assert len(lookups._present) == 10
    assert len(lookups._absent) == 10
    assert not lookups._waiting


async def test_too_many_waiting_lookups_are_told_to_come_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_cache, "WAITING_MAX", 3)
    lookups: Lookups[int, int] = Lookups(lambda wanted: {}, clock, present_seconds=2.0, absent_seconds=1.0)
    outcomes = await asyncio.gather(*(lookups.get(key) for key in range(5)), return_exceptions=True)
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [None] * 3 + [Reason.OVERLOADED] * 2
    assert await lookups.get(9) is None


async def test_a_waiter_that_leaves_takes_nobody_with_it(clock: Clock) -> None:
    lookups: Lookups[str, int] = Lookups(lambda wanted: {"k": 1}, clock, present_seconds=2.0, absent_seconds=1.0)
    first, second = asyncio.create_task(lookups.get("k")), asyncio.create_task(lookups.get("k"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1


async def test_database_that_cannot_be_read_is_unavailable_and_nobody_is_let_in(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    clock.now += 5
    with engine.connect() as connection, changing_schema(connection), connection.begin():
        connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO hidden")
    with pytest.raises(Unavailable):
        await directory.authenticate(alice["api_key"]["token"], clock.now)
    with engine.connect() as connection, changing_schema(connection), connection.begin():
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO api_keys")
    assert (await directory.authenticate(alice["api_key"]["token"], clock.now)).id == "alice"


async def test_row_with_a_role_nobody_knows_lets_nobody_in(
    directory: SqlDirectory, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    where = principals.c.pseudonym == of(directory, "alice")["pseudonym"]
    with engine.begin() as connection:
        row = connection.execute(select(principals).where(where)).mappings().one()
        later = RowMacs(MAC_KEY).seal(principals, {**row, "roles": '["owner"]'})
        connection.execute(update(principals).where(where).values(**later))
    clock.now += 5
    with pytest.raises(Exception, match="cannot be read") as refusal:
        await directory.authenticate(alice["api_key"]["token"], clock.now)
    assert getattr(refusal.value, "reason", None) is Reason.INTERNAL
