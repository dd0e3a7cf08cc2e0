"""Changes of the directory: who may make them, what they refuse, and that each is on record or did not happen."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, func, select

from audit.log import Log
from audit.tables import entries
from gateway.canonical import b64url_encode
from gateway.commitments import fields_root
from gateway.entries import EntryType
from gateway.errors import Refused, Unavailable
from gateway.model import Principal, Role
from gateway.permissions import EVERYONE, ROLE_PERMISSIONS, Permission, permits, require
from gateway.reasons import Reason
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.directory_rows import NewPrincipalView
from gateway.store.tables import api_keys, issuer_keys, issuers, principals
from keys import jwk
from tests.store.directory.support import Clock, new_jwk, refused

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRIVATE_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": b64url_encode(PRIVATE.public_key().public_bytes_raw()),
    "d": b64url_encode(PRIVATE.private_bytes_raw()),
}


def bodies(engine: Engine, kind: EntryType) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(select(entries.c.body).where(entries.c.type == kind).order_by(entries.c.idx))
        return [json.loads(row.body) for row in found]


def rows(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (principals, api_keys, issuers, issuer_keys, entries)
        ]


# --- on record -------------------------------------------------------------------------------------------------------


async def test_each_change_of_a_principal_is_an_entry_without_a_name(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, log: Log
) -> None:
    await directory.issue_api_key(root, "alice")
    await directory.revoke_principal(root, "alice")
    first, added, keyed, revoked = bodies(engine, EntryType.PRINCIPAL_CHANGED)
    assert first["principal"] == "system"
    assert [entry["facts"]["change"] for entry in (first, added, keyed, revoked)] == [
        "added",
        "added",
        "key_added",
        "revoked",
    ]
    for entry in (added, keyed, revoked):
        assert entry["principal"] == root.pseudonym
        assert "alice" not in json.dumps(entry)
        assert entry["facts"]["subject"] == added["facts"]["subject"]
    assert added["facts"]["roles"] == "agent"
    assert added["facts"]["key_id"] == alice["api_key"]["key_id"]


async def test_the_name_is_committed_to_and_can_be_opened(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine, log: Log
) -> None:
    with engine.connect() as connection:
        row = connection.execute(
            select(entries.c.body, entries.c.fields)
            .where(entries.c.type == EntryType.PRINCIPAL_CHANGED)
            .order_by(entries.c.idx.desc())
        ).first()
    assert row is not None
    named = json.loads(row.fields)
    assert json.loads(row.body)["commitment"] == fields_root(named)
    opened = await log.open([named["principal"]])
    assert json.loads(opened[named["principal"]][1]) == {"id": "alice", "hands": ["git"]}


async def test_each_change_of_an_issuer_is_an_entry_without_a_name(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView, engine: Engine
) -> None:
    first, second = new_jwk(), new_jwk()
    await directory.add_issuer(root, "alices-laptop", first, ["alice"], attests_request=True)
    await directory.add_issuer(root, "alices-laptop", second)
    await directory.revoke_issuer_key(root, "alices-laptop", jwk.public(first).kid)
    await directory.revoke_issuer(root, "alices-laptop")
    found = bodies(engine, EntryType.ISSUER_CHANGED)
    assert [entry["facts"]["change"] for entry in found] == ["added", "key_added", "key_revoked", "revoked"]
    assert [entry["facts"].get("kid") for entry in found] == [
        jwk.public(first).kid,
        jwk.public(second).kid,
        jwk.public(first).kid,
        None,
    ]
    assert "alice" not in json.dumps(found)
    assert {entry["principal"] for entry in found} == {root.pseudonym}


async def test_a_change_that_cannot_be_recorded_does_not_happen(
    directory: SqlDirectory, root: Principal, engine: Engine, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(engine)

    async def full(_item: Any) -> Any:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(log, "append", full)
    for change in (
        directory.add_principal(root, NewPrincipal("bob", ["agent"])),
        directory.add_issuer(root, "laptop", new_jwk()),
    ):
        with pytest.raises(Unavailable):
            await change
    assert rows(engine) == before


async def test_an_uncertain_revocation_is_read_again_at_once(
    directory: SqlDirectory,
    root: Principal,
    alice: NewPrincipalView,
    log: Log,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deadline passed while the commit was under way, and the commit succeeded."""
    await directory.authenticate(alice["api_key"]["token"], clock.now)
    append = log.append

    async def late(item: Any) -> Any:
        await append(item)
        raise Unavailable(Reason.LOG_UNAVAILABLE, "uncertain")

    monkeypatch.setattr(log, "append", late)
    with pytest.raises(Unavailable):
        await directory.revoke_principal(root, "alice")
    await refused(directory.authenticate(alice["api_key"]["token"], clock.now), Reason.AUTH_INVALID)


# --- principals ------------------------------------------------------------------------------------------------------


async def test_bootstrap_works_once_and_all_or_nothing(directory: SqlDirectory, engine: Engine) -> None:
    with pytest.raises(Refused):
        await directory.bootstrap([NewPrincipal("root", ["security_admin"]), NewPrincipal("x", ["emperor"])])
    assert rows(engine)[0] == 0
    made = await directory.bootstrap([NewPrincipal("root", ["security_admin"]), NewPrincipal("amy", ["approver"])])
    assert [view["principal"]["id"] for view in made] == ["root", "amy"]
    await refused(directory.bootstrap([NewPrincipal("eve", ["security_admin"])]), Reason.REQUEST_CONFLICT)


@pytest.mark.parametrize("tenant", ["", "A", "a/b", "a b", "a" * 65, "-a"])
async def test_malformed_tenant_is_refused(directory: SqlDirectory, tenant: str) -> None:
    await refused(directory.bootstrap([NewPrincipal("root", ["security_admin"])], tenant), Reason.REQUEST_MALFORMED)


async def revoke_as_agreed(directory: SqlDirectory, actor: Principal, principal_id: str) -> None:
    """As a proposal does that enough security admins signed."""
    change = await directory.prepare_revocation(actor.tenant, actor.pseudonym, principal_id)
    await directory._append(change.item)


async def test_bootstrap_stays_shut_after_everybody_else_was_revoked(directory: SqlDirectory, root: Principal) -> None:
    await directory.add_principal(root, NewPrincipal("deputy", ["security_admin"]))
    await revoke_as_agreed(directory, root, "deputy")
    await refused(directory.bootstrap([NewPrincipal("eve", ["security_admin"])]), Reason.REQUEST_CONFLICT)


async def test_twenty_bootstraps_at_once_make_one_root(directory: SqlDirectory, engine: Engine) -> None:
    outcomes = await asyncio.gather(
        *(directory.bootstrap([NewPrincipal("root", ["security_admin"])]) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
    assert {getattr(o, "reason", Reason.REQUEST_CONFLICT) for o in outcomes} == {Reason.REQUEST_CONFLICT}
    assert rows(engine)[:2] == [1, 1]


async def test_an_id_is_never_given_twice(directory: SqlDirectory, root: Principal, alice: NewPrincipalView) -> None:
    await refused(directory.add_principal(root, NewPrincipal("alice", ["operator"])), Reason.REQUEST_CONFLICT)
    await directory.revoke_principal(root, "alice")
    await refused(directory.add_principal(root, NewPrincipal("alice", ["agent"])), Reason.REQUEST_CONFLICT)
    await refused(directory.revoke_principal(root, "alice"), Reason.REQUEST_CONFLICT)
    await refused(directory.issue_api_key(root, "alice"), Reason.REQUEST_NOT_FOUND)
    await refused(directory.revoke_principal(root, "nobody"), Reason.REQUEST_NOT_FOUND)


async def test_the_last_security_admin_cannot_be_revoked(
    directory: SqlDirectory, root: Principal, clock: Clock
) -> None:
    await refused(directory.revoke_principal(root, "root"), Reason.REQUEST_CONFLICT)
    made = await directory.add_principal(root, NewPrincipal("deputy", ["security_admin"]))
    deputy = await directory.authenticate(made["api_key"]["token"], clock.now)
    await refused(directory.revoke_principal(deputy, "root"), Reason.PROPOSAL_REQUIRED)
    await revoke_as_agreed(directory, deputy, "root")
    await refused(directory.revoke_principal(deputy, "deputy"), Reason.REQUEST_CONFLICT)


@pytest.mark.parametrize(
    "person",
    [
        NewPrincipal("", ["agent"]),
        NewPrincipal("a/b", ["agent"]),
        NewPrincipal("-a", ["agent"]),
        NewPrincipal("a b", ["agent"]),
        NewPrincipal("a\n", ["agent"]),
        NewPrincipal("\u0430lice", ["agent"]),
        NewPrincipal("a" * 129, ["agent"]),
        NewPrincipal("p-" + "0" * 32, ["agent"]),
        NewPrincipal("P-" + "aB" * 16, ["agent"]),
        NewPrincipal("bob", []),
        NewPrincipal("bob", ["root"]),
        NewPrincipal("bob", ["AGENT"]),
        NewPrincipal("bob", ["agent"], hands=["Git"]),
        NewPrincipal("bob", ["agent"], hands=["*"]),
        NewPrincipal("bob", ["agent"], hands=[f"h{n}" for n in range(300)]),
        NewPrincipal("bob", ["agent"], ttl_days=0),
        NewPrincipal("bob", ["agent"], ttl_days=367),
        NewPrincipal("bob", ["agent"], ttl_days=True),
        NewPrincipal("bob", ["approver"], approval_jwk=PRIVATE_JWK),
        NewPrincipal("bob", ["approver"], approval_jwk={"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}),
        NewPrincipal("bob", ["approver"], approval_jwk={}),
    ],
)
async def test_malformed_principal_is_refused(
    directory: SqlDirectory, root: Principal, engine: Engine, person: NewPrincipal
) -> None:
    before = rows(engine)
    refusal = await refused(directory.add_principal(root, person), Reason.REQUEST_MALFORMED)
    assert str(refusal.facts["pointer"]).startswith("/")
    assert refusal.facts["expected"]
    assert PRIVATE_JWK["d"] not in f"{refusal}{refusal.facts}"
    assert rows(engine) == before


async def test_an_empty_scope_means_no_hand(directory: SqlDirectory, root: Principal, clock: Clock) -> None:
    made = await directory.add_principal(root, NewPrincipal("bob", ["agent"], hands=[]))
    assert made["principal"]["hands"] == []
    assert not (await directory.authenticate(made["api_key"]["token"], clock.now)).may_use("git")


async def test_enrolled_key_comes_back_with_the_principal(
    directory: SqlDirectory, root: Principal, clock: Clock
) -> None:
    key = new_jwk()
    made = await directory.add_principal(root, NewPrincipal("amy", ["approver"], approval_jwk={**key, "note": "x"}))
    assert made["principal"]["approval_kid"] == jwk.public(key).kid
    found = await directory.principal("default", "amy")
    assert found.approval_jwk == jwk.public(key).document()


async def test_one_approval_key_is_not_two_approvers(directory: SqlDirectory, root: Principal) -> None:
    key = new_jwk()
    await directory.add_principal(root, NewPrincipal("amy", ["approver"], approval_jwk=key))
    await refused(
        directory.add_principal(root, NewPrincipal("ben", ["approver"], approval_jwk=key)), Reason.REQUEST_CONFLICT
    )
    twins = [NewPrincipal(name, ["approver"], approval_jwk=key) for name in ("eve", "eva")]
    await refused(directory.bootstrap(twins, tenant="acme"), Reason.REQUEST_CONFLICT)


async def test_a_key_that_signs_plans_cannot_approve_them(directory: SqlDirectory, root: Principal) -> None:
    signing, approving = new_jwk(), new_jwk()
    await directory.add_issuer(root, "laptop", signing)
    await directory.add_principal(root, NewPrincipal("amy", ["approver"], approval_jwk=approving))
    await refused(
        directory.add_principal(root, NewPrincipal("ben", ["approver"], approval_jwk=signing)), Reason.REQUEST_CONFLICT
    )
    await refused(directory.add_issuer(root, "amys-agent", approving), Reason.REQUEST_CONFLICT)


async def test_listing_shows_no_secret(directory: SqlDirectory, root: Principal, alice: NewPrincipalView) -> None:
    listed = await directory.list_principals(root)
    assert [view["id"] for view in listed] == ["alice", "root"]
    assert listed[0].keys() == {"id", "tenant", "roles", "hands", "created_at", "revoked_at", "approval_kid"}


# --- issuers ---------------------------------------------------------------------------------------------------------


async def test_issuer_as_registered(directory: SqlDirectory, root: Principal, alice: NewPrincipalView) -> None:
    await directory.add_principal(root, NewPrincipal("bob", ["agent"]))
    key = new_jwk()
    view = await directory.add_issuer(root, "bot", key, ["bob", "alice"], attests_request=True)
    kid = jwk.public(key).kid
    assert view == {
        "id": "bot",
        "tenant": "default",
        "keys": [{"kid": kid, "not_before": "2027-01-15T08:00:00.000Z", "not_after": None, "revoked_at": None}],
        "speaks_for": ["alice", "bob"],
        "attests_request": True,
        "revoked_at": None,
    }
    assert await directory.list_issuers(root) == [view]
    found = await directory.issuer("bot", "default")
    assert found.keys[kid].jwk == jwk.public(key).document()
    assert (found.speaks_for, found.attests_request) == (frozenset({"alice", "bob"}), True)


async def test_a_new_issuer_is_known_although_it_was_just_asked_for_in_vain(
    directory: SqlDirectory, root: Principal
) -> None:
    await refused(directory.issuer("bot", "default"), Reason.VERIFY_UNKNOWN_ISSUER)
    await directory.add_issuer(root, "bot", new_jwk())
    assert (await directory.issuer("bot", "default")).id == "bot"


async def test_a_further_key_does_not_bring_further_rights(
    directory: SqlDirectory, root: Principal, alice: NewPrincipalView
) -> None:
    await directory.add_issuer(root, "bot", new_jwk(), ["alice"])
    for speaks_for, attests in ((["alice", "root"], False), (["root"], False), ([], True)):
        await refused(
            directory.add_issuer(root, "bot", new_jwk(), speaks_for, attests_request=attests), Reason.REQUEST_CONFLICT
        )
    view = await directory.add_issuer(root, "bot", new_jwk(), ["alice"])
    assert (len(view["keys"]), view["speaks_for"]) == (2, ["alice"])


async def test_same_key_twice_and_key_of_a_revoked_issuer_are_conflicts(
    directory: SqlDirectory, root: Principal
) -> None:
    key = new_jwk()
    await directory.add_issuer(root, "bot", key)
    await refused(directory.add_issuer(root, "bot", key), Reason.REQUEST_CONFLICT)
    kid = jwk.public(key).kid
    await directory.revoke_issuer_key(root, "bot", kid)
    await refused(directory.add_issuer(root, "bot", key), Reason.REQUEST_CONFLICT)
    await refused(directory.revoke_issuer_key(root, "bot", kid), Reason.REQUEST_CONFLICT)
    await refused(directory.revoke_issuer_key(root, "bot", "A" * 43), Reason.REQUEST_NOT_FOUND)
    await directory.revoke_issuer(root, "bot")
    await refused(directory.revoke_issuer(root, "bot"), Reason.REQUEST_CONFLICT)
    await refused(directory.add_issuer(root, "bot", new_jwk()), Reason.REQUEST_CONFLICT)
    await refused(directory.revoke_issuer(root, "nobody"), Reason.REQUEST_NOT_FOUND)


@pytest.mark.parametrize(
    ("issuer_id", "key", "speaks_for"),
    [
        ("connector:mcp", None, []),
        ("a/b", None, []),
        ("", None, []),
        ("bot", PRIVATE_JWK, []),
        ("bot", {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}, []),
        ("bot", {}, []),
        ("bot", None, ["a/b"]),
        ("bot", None, ["root", "nobody"]),
        ("bot", None, ["p-" + "0" * 32]),
        ("i-" + "0" * 32, None, []),
        ("bot", None, [f"p{n}" for n in range(1025)]),
    ],
)
async def test_malformed_issuer_is_refused(
    directory: SqlDirectory, root: Principal, engine: Engine, issuer_id: str, key: Any, speaks_for: list[str]
) -> None:
    before = rows(engine)
    refusal = await refused(
        directory.add_issuer(root, issuer_id, new_jwk() if key is None else key, speaks_for), Reason.REQUEST_MALFORMED
    )
    assert PRIVATE_JWK["d"] not in f"{refusal}{refusal.facts}"
    assert rows(engine) == before


# --- permissions -----------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[SqlDirectory, Principal], Coroutine[Any, Any, Any]]] = {
    "add_principal": lambda d, p: d.add_principal(p, NewPrincipal("eve", ["security_admin"])),
    "issue_api_key": lambda d, p: d.issue_api_key(p, "root"),
    "list_principals": lambda d, p: d.list_principals(p),
    "revoke_principal": lambda d, p: d.revoke_principal(p, "alice"),
    "add_issuer": lambda d, p: d.add_issuer(p, "bot", new_jwk()),
    "list_issuers": lambda d, p: d.list_issuers(p),
    "revoke_issuer": lambda d, p: d.revoke_issuer(p, "bot"),
    "revoke_issuer_key": lambda d, p: d.revoke_issuer_key(p, "bot", "A" * 43),
}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SECURITY_ADMIN])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nobody_but_a_security_admin_changes_the_directory(
    directory: SqlDirectory, root: Principal, engine: Engine, role: Role, operation: str
) -> None:
    before = rows(engine)
    insider = Principal("mallory", "default", "p-m", frozenset({role}))
    await refused(OPERATIONS[operation](directory, insider), Reason.AUTH_FORBIDDEN)
    assert rows(engine) == before


TABLE = {
    Role.AGENT: "connections.own hands.list mcp.use plans.read plans.submit receipts.read",
    Role.APPROVER: "approvals.answer approvals.read plans.read plans.read_all",
    Role.AUDITOR: "approvals.read audit.payloads audit.read dead_letters.read "
    "freezes.read keys.read metrics.read plans.read "
    "plans.read_all policy.inputs policy.read proposals.read receipts.read why",
    Role.AUTHOR: "hands.list policy.inputs policy.propose policy.read policy.shadow proposals.make proposals.read why",
    Role.SECURITY_ADMIN: "connections.end freezes.lift freezes.read freezes.set issuers.manage keys.manage keys.read "
    "policy.read policy.rollback principals.manage proposals.activate proposals.make proposals.read secrets.manage",
    Role.OPERATOR: "agents.manage agents.read dead_letters.read dead_letters.settle "
    "freezes.lift freezes.read freezes.set hands.list hands.manage metrics.read plans.read "
    "plans.read_all policy.activate "
    "policy.propose policy.read policy.rollback policy.shadow proposals.activate proposals.make proposals.read",
    Role.HAND: "steps.claim",
    Role.PRIVACY_OFFICER: "privacy.access privacy.erase privacy.hold",
}


@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_exactly_what_the_contract_says(role: Role) -> None:
    assert {str(permission) for permission in ROLE_PERMISSIONS[role]} == set(TABLE[role].split())
    principal = Principal("x", "default", "p", frozenset({role}))
    for permission in Permission:
        if permission in ROLE_PERMISSIONS[role] | EVERYONE:
            require(principal, permission)
        else:
            assert not permits(principal, permission)
            with pytest.raises(Refused) as refusal:
                require(principal, permission)
            assert refusal.value.reason is Reason.AUTH_FORBIDDEN


def test_no_role_means_nothing_but_what_everyone_may() -> None:
    nobody = Principal("x", "default", "p", frozenset())
    assert {permission for permission in Permission if permits(nobody, permission)} == EVERYONE


def test_no_single_role_both_asks_and_approves() -> None:
    for granted in ROLE_PERMISSIONS.values():
        assert not {Permission.PLANS_SUBMIT, Permission.APPROVALS_ANSWER} <= granted
        assert not {Permission.PRINCIPALS_MANAGE, Permission.APPROVALS_ANSWER} <= granted


async def test_a_hand_is_nothing_else_and_names_its_hands(directory: SqlDirectory, root: Principal) -> None:
    for roles, hands in ((["hand", "agent"], ["crm"]), (["hand"], None)):
        await refused(directory.add_principal(root, NewPrincipal("h", roles, hands)), Reason.REQUEST_MALFORMED)
    await directory.add_principal(root, NewPrincipal("h", ["hand"], ["crm"]))


async def test_nobody_is_made_an_agent_and_an_approver_in_one(directory: SqlDirectory, root: Principal) -> None:
    both = NewPrincipal("both", ["agent", "approver"])
    await refused(directory.add_principal(root, both), Reason.REQUEST_MALFORMED)
