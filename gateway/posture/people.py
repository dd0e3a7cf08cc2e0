"""Who may do what: duties, second persons, approvers, and whether tables and log say the same."""

import json
from typing import Final

from audit.assurance.access import replay
from gateway.dual_control import ENOUGH
from gateway.entries import EntryType
from gateway.model import Role
from gateway.permissions import ROLE_PERMISSIONS, Permission
from gateway.posture.model import Check, Severity, Verdict, bad, good
from gateway.posture.scene import Scene
from gateway.store.administrators import AdministratorsOnRecord
from gateway.store.directory_reads import Found

_AUDITED: Final = frozenset({Role.OPERATOR, Role.SECURITY_ADMIN, Role.AUTHOR})
_SHOWN_MAX: Final = 5


def _roles(row: Found) -> frozenset[Role]:
    return frozenset(map(Role, json.loads(row["roles"])))


def _may(row: Found, permission: Permission) -> bool:
    return any(permission in ROLE_PERMISSIONS[role] for role in _roles(row))


def _duties(scene: Scene) -> Verdict:
    both = [
        row["pseudonym"]
        for people in scene.people.values()
        for row in people
        if Role.AUDITOR in _roles(row) and _roles(row) & _AUDITED
    ]
    if both:
        remedy = "Give the role of auditor to somebody else: handrail principals add ID --role auditor"
        return bad(f"audits what it does itself: {_some(both)}", remedy)
    return good("no auditor operates, administers or writes policy")


def _two_person(scene: Scene) -> Verdict:
    if scene.settings.policy.source != "signed":
        remedy = 'Set [policy] source = "signed".'
        return bad("whoever can write to the bundle's directory changes policy alone", remedy)
    proposers = {
        (tenant, row["pseudonym"])
        for tenant, people in scene.people.items()
        for row in people
        if _may(row, Permission.POLICY_PROPOSE)
    }
    activators = {
        (tenant, row["pseudonym"])
        for tenant, people in scene.people.items()
        for row in people
        if _may(row, Permission.POLICY_ACTIVATE)
    }
    if not activators or len(proposers | activators) < 2:
        return bad("nobody could activate what another proposed", "Add an author and an operator that are two people.")
    return good(f"{len(activators)} may activate what others propose")


def alone(scene: Scene) -> list[str]:
    """Tenants with people, of whom one security admin or none could change trust alone."""
    known = AdministratorsOnRecord(scene.directory)
    with scene.connect() as connection:
        return [
            tenant
            for tenant, people in scene.people.items()
            if people and len(known.read(connection, tenant).pseudonyms) < ENOUGH
        ]


def _dual_control(scene: Scene) -> Verdict:
    tenants = alone(scene)
    if tenants:
        remedy = "Add a second person: handrail principals add ID --role security_admin"
        return bad(f"one person alone changes who decides and whose plans are believed, in: {_some(tenants)}", remedy)
    proposals = scene.settings.proposals
    asked = f"{proposals.principals_threshold} for people, {proposals.issuers_threshold} for issuers"
    return good(f"changes of trust need several security admins ({asked})")


def _approvers(scene: Scene) -> Verdict:
    approvers = [
        (tenant, row) for tenant, people in scene.people.items() for row in people if Role.APPROVER in _roles(row)
    ]
    if not approvers:
        return bad("there is no approver", "handrail principals add ID --role approver --approval-key FILE")
    with scene.connect() as connection:
        without = [
            row["pseudonym"]
            for tenant, row in approvers
            if row["approval_jwk"] is None
            and not scene.directory.security_key_rows(connection, tenant, row["pseudonym"])
        ]
    if without:
        return bad(f"approvers without a key of their own: {_some(without)}", "handrail principals enrol ID")
    asked = scene.policy_data("handrail", "side_effects", "ask", "irreversible")
    if not isinstance(asked, dict) or asked.get("enrolled_key") is not True:
        remedy = 'Set "enrolled_key": true for irreversible in handrail/side_effects/data.json.'
        return bad("the policy lets an irreversible action be approved without a key", remedy)
    return good(f"{len(approvers)} approvers with keys of their own, which irreversible actions need")


def _agrees(scene: Scene) -> Verdict:
    differing: list[str] = []
    for tenant, people in scene.people.items():
        with scene.connect() as connection:
            logged = replay(connection, tenant, EntryType.PRINCIPAL_CHANGED, 2**62)
        said = {
            pseudonym: frozenset(filter(None, one.facts.get("roles", "").split(",")))
            for pseudonym, one in logged.items()
            if not one.revoked
        }
        there = {row["pseudonym"]: frozenset(json.loads(row["roles"])) for row in people}
        differing += sorted(name for name in said.keys() | there.keys() if said.get(name) != there.get(name))
    if differing:
        remedy = "Find out who changed the tables; add or revoke these principals through the gateway."
        return bad(f"tables and log differ about {_some(differing)}", remedy)
    return good("the tables say of principals what the log says")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return ", ".join(names[:_SHOWN_MAX]) + more


CHECKS: Final = (
    Check("duties-apart", Severity.MEDIUM, _duties),
    Check("two-person", Severity.HIGH, _two_person),
    Check("dual-control", Severity.HIGH, _dual_control),
    Check("approvers-enrolled", Severity.HIGH, _approvers),
    Check("directory-agrees", Severity.HIGH, _agrees),
)
