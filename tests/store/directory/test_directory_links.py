"""Links of subjects to principals: once and for ever, also against who writes to the database, and races of tokens."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from structlog.testing import capture_logs

import migrations
from audit.database import make_engine
from audit.history import directory_changes
from gateway.errors import Malformed, Overtaken, Refused
from gateway.model import Principal, Role
from gateway.reasons import Conflict, Reason
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_links import CLAIMS, TOKEN, Identity
from gateway.store.directory_rows import NewPrincipalView
from gateway.store.row_macs import RowChanged
from gateway.store.tables import identity_links, principals
from tests.store.directory.support import Clock, refused

ADA = Identity(TOKEN, "default", "https://issuer.example", "ada.lovelace")
MACHINE = Identity(CLAIMS, "default", "https://issuer.example", "machine")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'h.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = make_engine(url)
    migrations.upgrade(made)
    yield made
    made.dispose()


def row_of(engine: Engine, link_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        found = connection.execute(select(identity_links).where(identity_links.c.link_id == link_id))
        return dict(found.mappings().one())


def put(engine: Engine, link_id: str, values: Mapping[str, Any]) -> None:
    with engine.begin() as connection:
        changed = connection.execute(update(identity_links).where(identity_links.c.link_id == link_id).values(**values))
        assert changed.rowcount == 1


async def who(directory: SqlDirectory, clock: Clock, identity: Identity) -> Principal | None:
    """Who a subject is after everything remembered is too old; the row has to be there."""
    clock.now += 5
    linked = await directory.linked(identity)
    assert linked is not None
    return linked.principal


def changes(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [facts["change"] for _, facts in directory_changes(connection, "default", -1)]


async def test_a_subject_is_linked_once_in_a_tenant_and_never_again(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    await directory.add_principal(root, NewPrincipal("bob", ["auditor"]))
    made = await directory.link(root, "alice", ADA)
    assert (await who(directory, clock, ADA)) == await directory.principal("default", "alice")
    for name in ("alice", "bob"):
        taken = await refused(directory.link(root, name, ADA), Reason.REQUEST_CONFLICT)
        assert taken.facts["problem"] == Conflict.LINK_TAKEN
    await directory.unlink(root, "alice", made["id"])
    assert await who(directory, clock, ADA) is None
    for name in ("alice", "bob"):
        await refused(directory.link(root, name, ADA), Reason.REQUEST_CONFLICT)
    again = await refused(directory.unlink(root, "alice", made["id"]), Reason.REQUEST_CONFLICT)
    assert again.facts["problem"] == Conflict.REVOKED
    await refused(
        directory.provision(Identity(CLAIMS, *_name(ADA)), "company", ["agent"], None), Reason.REQUEST_CONFLICT
    )


def _name(identity: Identity) -> tuple[str, str, str]:
    return identity.tenant, identity.source, identity.subject


async def test_the_same_subject_of_another_issuer_or_in_another_tenant_is_somebody_else(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView
) -> None:
    await directory.link(root, "alice", ADA)
    assert await directory.linked(Identity(TOKEN, "default", "https://other.example", ADA.subject)) is None
    assert await directory.linked(Identity(TOKEN, "other", "https://issuer.example", ADA.subject)) is None
    # No issuer and subject run together into another pair's.
    assert await directory.linked(Identity(TOKEN, "default", "https://issuer.exampl", "eada")) is None


async def test_links_take_the_right_to_manage_principals(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView
) -> None:
    person = await directory.principal("default", "alice")
    for call in (
        directory.link(person, "alice", ADA),
        directory.links(person, "alice"),
        directory.unlink(person, "alice", "x"),
    ):
        await refused(call, Reason.AUTH_FORBIDDEN)
    await refused(directory.link(root, "nobody", ADA), Reason.REQUEST_NOT_FOUND)
    await refused(directory.unlink(root, "alice", "x"), Reason.REQUEST_NOT_FOUND)


async def test_a_revoked_principal_is_nobody_by_its_links_at_every_gateway(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, alice: NewPrincipalView, clock: Clock
) -> None:
    await directory.link(root, "alice", ADA)
    assert await who(elsewhere, clock, ADA) is not None
    await directory.revoke_principal(root, "alice")
    linked = await directory.linked(ADA)
    assert linked is not None
    assert linked.principal is None
    assert await who(elsewhere, clock, ADA) is None
    await refused(directory.link(root, "alice", Identity(TOKEN, *_name(MACHINE))), Reason.REQUEST_NOT_FOUND)


@pytest.mark.parametrize(
    "values",
    [
        {"pseudonym": "p-root"},
        {"name_key": "n-eve"},
        {"kind": CLAIMS},
        {"tenant": "other"},
        {"mac": "0" * 64},
    ],
    ids=lambda values: next(iter(values)),
)
async def test_a_link_that_was_changed_in_sql_is_nobodys(
    directory: SqlDirectory,
    root: Principal,
    alice: NewPrincipalView,
    engine: Engine,
    clock: Clock,
    values: dict[str, str],
) -> None:
    made = await directory.link(root, "alice", ADA)
    put(engine, made["id"], values)
    with capture_logs() as logged:
        assert await who(directory, clock, ADA) is None
    assert [(line["event"], line["log_level"]) for line in logged] == [("row refused", "error")]
    assert ADA.subject not in str(logged), "a subject that no random id can spell"
    if values.keys() & {"pseudonym", "tenant"}:
        return
    with pytest.raises(RowChanged):
        await directory.links(root, "alice")


async def test_a_link_that_is_moved_to_another_subject_in_sql_is_nobodys(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    """The attacker's own subject takes over the key of an administrator's link, or has the administrator's copied."""
    boss = await directory.link(root, "root", ADA)
    mine = await directory.link(root, "alice", Identity(TOKEN, *_name(MACHINE)))
    taken = row_of(engine, mine["id"])["name_mac"]
    with engine.begin() as connection:
        connection.execute(delete(identity_links).where(identity_links.c.link_id == mine["id"]))
    put(engine, boss["id"], {"name_mac": taken})
    assert await who(directory, clock, MACHINE) is None
    assert await directory.linked(ADA) is None


async def test_a_link_that_is_put_back_from_before_its_revocation_is_nobodys(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, clock: Clock
) -> None:
    made = await directory.link(root, "alice", ADA)
    before = row_of(engine, made["id"])
    await directory.unlink(root, "alice", made["id"])
    put(engine, made["id"], before)
    with capture_logs() as logged:
        assert await who(directory, clock, ADA) is None
    assert "before its revocation" in str(logged)


# --- claims ----------------------------------------------------------------------------------------------------------


async def test_many_first_tokens_make_one_principal(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, engine: Engine
) -> None:
    async def make(which: SqlDirectory) -> Reason | None:
        try:
            await which.provision(MACHINE, "company", ["agent"], None)
        except Refused as refusal:
            return refusal.reason
        return None

    outcomes = await asyncio.gather(*(make(which) for which in [directory, elsewhere] * 8))
    assert sorted(outcomes, key=str) == [None] + [Reason.REQUEST_CONFLICT] * 15
    assert changes(engine).count("provisioned") == 1
    with engine.connect() as connection:
        assert len(connection.execute(select(principals)).all()) == 2


async def made_by_claims(directory: SqlDirectory, role: str) -> Principal:
    await directory.provision(MACHINE, "company", [role], None)
    linked = await directory.linked(MACHINE)
    assert linked is not None
    assert linked.principal is not None
    return linked.principal


async def test_roles_are_widened_once_and_no_entry_says_what_the_row_has_already(
    directory: SqlDirectory, root: Principal, engine: Engine
) -> None:
    person = await made_by_claims(directory, "auditor")
    for _ in range(3):
        await directory.widen(person, ["operator"])
    widened = await directory.principal("default", person.id)
    assert widened.roles == {Role.AUDITOR, Role.OPERATOR}
    assert changes(engine).count("roles_widened") == 1


async def test_two_gateways_never_widen_one_subject_to_agent_and_approver(
    directory: SqlDirectory, elsewhere: SqlDirectory, root: Principal, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reads the row, the other writes it, the first writes: it is told to look again, and leaves nothing behind."""
    person = await made_by_claims(directory, "auditor")
    append = elsewhere._append

    async def late(item: Any) -> None:
        await directory.widen(person, ["agent"])
        await append(item)

    monkeypatch.setattr(elsewhere, "_append", late)
    with pytest.raises(Overtaken):
        await elsewhere.widen(person, ["approver"])
    monkeypatch.undo()
    assert (await directory.principal("default", person.id)).roles == {Role.AUDITOR, Role.AGENT}
    assert changes(engine).count("roles_widened") == 1
    with pytest.raises(Malformed):
        await elsewhere.widen(person, ["approver"])


@pytest.mark.parametrize(
    "statement", [delete(principals), update(principals).values(mac="0" * 64)], ids=["gone", "changed"]
)
async def test_nobody_is_widened_whose_row_went_away_meanwhile(
    directory: SqlDirectory, root: Principal, engine: Engine, monkeypatch: pytest.MonkeyPatch, statement: Any
) -> None:
    person = await made_by_claims(directory, "auditor")
    append = directory._append

    async def late(item: Any) -> None:
        with engine.begin() as connection:
            connection.execute(statement.where(principals.c.pseudonym == person.pseudonym))
        await append(item)

    monkeypatch.setattr(directory, "_append", late)
    with pytest.raises(Overtaken):
        await directory.widen(person, ["operator"])
    assert "roles_widened" not in changes(engine)
