"""An access review says who could do what at any moment, from the log alone, whatever became of tables and people."""

from typing import Any

import pytest
from sqlalchemy import Engine, delete, text

from audit.database import changing_schema
from audit.log import Log
from audit.tables import data_keys, payloads
from gateway.model import Principal
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_rows import NewPrincipalView
from keys import jwk
from tests.store.directory.support import Clock, new_jwk

DAY = 86_400


@pytest.fixture
async def story(directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock) -> dict[str, Any]:
    """Day 1: an approver and an issuer come. Day 2: alice gets a second key. Day 3: alice and the issuer's key go."""
    kid, approval = new_jwk(), new_jwk()
    clock.now += DAY
    await directory.add_principal(root, NewPrincipal("bob", ["approver"], approval_jwk=approval))
    await directory.add_issuer(root, "brain", kid, ["alice"], attests_request=True)
    clock.now += DAY
    await directory.issue_api_key(root, "alice", 1)
    clock.now += DAY
    await directory.revoke_principal(root, "alice")
    await directory.revoke_issuer_key(root, "brain", jwk.public(kid).kid)
    clock.now += DAY
    return {"approval": jwk.public(approval).kid, "key": jwk.public(kid).kid}


async def seen(log: Log, clock: Clock, days: float) -> dict[str, Any]:
    """The review as of so many days ago, by name."""
    await log._signed()
    found = await log.reads.access("default", clock.now - days * DAY, clock.now)
    return {
        **found,
        "principals": {one["id"] or one["pseudonym"]: one for one in found["principals"]},
        "issuers": {one["id"] or one["pseudonym"]: one for one in found["issuers"]},
    }


async def test_each_day_is_as_it_was(log: Log, clock: Clock, story: dict[str, Any]) -> None:
    first = await seen(log, clock, 3.5)
    assert set(first["principals"]) == {"root", "alice"}
    assert first["principals"]["alice"]["hands"] == ["git"]
    assert first["principals"]["alice"]["roles"] == ["agent"]
    assert first["issuers"] == {}
    second = await seen(log, clock, 2.5)
    assert set(second["principals"]) == {"root", "alice", "bob"}
    assert [key["id"] for key in second["principals"]["bob"]["approval_keys"]] == [story["approval"]]
    assert second["principals"]["bob"]["hands"] is None
    assert second["issuers"]["brain"]["speaks_for"] == ["alice"]
    assert second["issuers"]["brain"]["attests_request"] is True
    assert [key["id"] for key in second["issuers"]["brain"]["keys"]] == [story["key"]]
    assert len(second["principals"]["alice"]["keys"]) == 1
    third = await seen(log, clock, 1.5)
    assert len(third["principals"]["alice"]["keys"]) == 2
    today = await seen(log, clock, 0)
    assert set(today["principals"]) == {"root", "bob"}
    assert today["issuers"]["brain"]["keys"] == []


async def test_an_api_key_that_expired_is_none_that_somebody_could_use(
    log: Log, clock: Clock, directory: SqlDirectory, root: Principal, alice: NewPrincipalView
) -> None:
    clock.now += DAY
    await directory.issue_api_key(root, "alice", 1)
    clock.now += 2 * DAY
    [key] = (await seen(log, clock, 0))["principals"]["alice"]["keys"]
    assert key["id"] == alice["api_key"]["key_id"]
    assert len((await seen(log, clock, 1.5))["principals"]["alice"]["keys"]) == 2


@pytest.mark.usefixtures("story")
async def test_whoever_wrote_over_the_tables_changes_no_review(log: Log, clock: Clock, engine: Engine) -> None:
    before = await seen(log, clock, 2.5)
    with engine.begin() as connection:
        connection.execute(text("UPDATE principals SET roles = '[\"operator\"]', revoked_at = NULL"))
        connection.execute(text("DELETE FROM issuer_keys"))
    after = await seen(log, clock, 2.5)
    assert {name: after[name] for name in ("principals", "issuers")} == {
        name: before[name] for name in ("principals", "issuers")
    }


@pytest.mark.usefixtures("story")
async def test_whoever_was_erased_stays_a_pseudonym_with_what_they_could_do(
    log: Log, clock: Clock, engine: Engine
) -> None:
    before = (await seen(log, clock, 2.5))["principals"]["alice"]
    with engine.begin() as connection, changing_schema(connection):
        connection.execute(delete(payloads))
        connection.execute(delete(data_keys))
    found = (await seen(log, clock, 2.5))["principals"]
    erased = found[before["pseudonym"]]
    assert erased["id"] is None
    assert (erased["roles"], erased["hands"], erased["keys"]) == (before["roles"], before["hands"], before["keys"])


async def test_entries_say_what_somebody_may_do_and_never_who_it_is(
    log: Log, story: dict[str, Any], engine: Engine
) -> None:
    with engine.connect() as connection:
        bodies = b"".join(connection.execute(text("SELECT body FROM entries")).scalars().all())
    for name in (b"alice", b"bob", b"brain"):
        assert name not in bodies
    assert b'"hands":"git"' in bodies
    assert story["approval"].encode() in bodies


async def test_another_tenants_people_are_not_in_it(
    log: Log, clock: Clock, directory: SqlDirectory, root: Principal
) -> None:
    await directory.bootstrap([NewPrincipal("eve", ["security_admin"])], "other")
    await log._signed()
    assert [one["id"] for one in (await log.reads.access("other", clock.now + 1, clock.now))["principals"]] == ["eve"]
    assert set((await seen(log, clock, -1))["principals"]) == {"root"}
