"""Rows that are about a person: found, for who asks what is held; taken away, for who asks to be forgotten. They name a
principal by its pseudonym, and what tells whose that is ends with an erasure (``audit.names``). Values of calls are not
here: rows hold commitments to them (``audit.tables.payloads``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, or_, select

from audit.names import Names
from gateway.commitments import name_subject, named_link, named_principal, person_key, subject_key
from gateway.model import DEFAULT_TENANT, PlanStatus
from gateway.ports import Write
from gateway.store.directory_rows import PSEUDONYM
from gateway.store.reading import blocking_read
from gateway.store.tables import (
    api_keys,
    approval_answers,
    approvals,
    connection_grants,
    contexts,
    dead_letter_ends,
    dead_letters,
    hand_pins,
    identity_links,
    issuers,
    offers,
    plans,
    policy_activations,
    policy_bundles,
    policy_shadows,
    principals,
    proposal_signatures,
    proposals,
    secrets,
    security_keys,
    sessions,
)
from gateway.store.tables.client_calls import client_calls
from gateway.store.tables.managed_agents import managed_sessions
from gateway.store.tables.runs import runs
from gateway.store.tables.undelivered import undelivered
from gateway.times import format_time

RECORDS: Final = ("@directory",)
"""Stand for the context in the data subjects of what is recorded *about* a principal."""
ACTS: Final = ("@approvals", "@proposals")
"""The same of what somebody answered or changed in office, with their signature. It is evidence about others."""

_HIDDEN: Final = frozenset(
    {
        *("mac", "call_key", "name_key", "name_mac", "secret_sha256", "session_sha256", "ticket"),
        *("credential_sha256", "manifest", "sealed"),
    }
)
_BOUNDS: Final = frozenset({"not_before", "not_after"})
"""Columns that hold a time, beside those whose names end in ``_at`` or ``_until``."""
_SHOWN: Final[Mapping[str, Any]] = {
    "principal": (principals, ("pseudonym",)),
    "api_keys": (api_keys, ("pseudonym",)),
    "security_keys": (security_keys, ("pseudonym",)),
    "sessions": (sessions, ("pseudonym",)),
    "contexts": (contexts, ("principal",)),
    "plans": (plans, ("principal", "caller")),
    "approvals": (approvals, ("principal", "caller")),
    "proposals": (proposals, ("proposed_by", "decided_by", "ended_by")),
    "offers": (offers, ("claimant",)),
    "undelivered": (undelivered, ("principal",)),
    "runs": (runs, ("principal",)),
    "managed_sessions": (managed_sessions, ("subject",)),
    "client_calls": (client_calls, ("caller",)),
    "dead_letters": (dead_letters, ("principal",)),
    "dead_letter_ends": (dead_letter_ends, ("settled_by",)),
    "hand_pins": (hand_pins, ("pinned_by",)),
    "secrets": (secrets, ("set_by",)),
    "connections": (connection_grants, ("subject",)),
}
_IN_OFFICE: Final = (
    (policy_bundles, "added_by"),
    (policy_activations, "activated_by"),
    (policy_shadows, "started_by"),
)
"""Policies are the whole gateway's: who acts on them is a principal of the operator's own tenant."""


@dataclass(frozen=True, slots=True)
class Person:
    """A principal as rows know it.

    Attributes:
        pseudonym: by which rows and entries name it; ``None`` where nobody has the id.
        contexts: ids of its contexts.
        links: the data subjects that its links to identities elsewhere are.
    """

    tenant: str
    id: str
    pseudonym: str | None
    contexts: tuple[str, ...]
    links: tuple[str, ...]

    def subjects(self, *, acts: bool) -> list[str]:
        """The data subjects that stand for it."""
        names = [*self.contexts, *RECORDS, *(ACTS if acts else ())]
        return [name_subject(self.id), *self.links, *(subject_key(self.tenant, self.id, name) for name in names)]


class Personal:
    """Reads in a thread of the caller's; makes rows to write. Thread-safe."""

    def __init__(self, engine: Engine, names: Names) -> None:
        """Use ``engine`` for reads."""
        self._engine = engine
        self._names = names

    def person(self, tenant: str, principal_id: str) -> Person:
        """Whoever has an id; who has none any more, by pseudonym. Raises ``log.unavailable``."""

        def read(connection: Connection) -> Person:
            pseudonym = self._pseudonym(connection, tenant, principal_id)
            if pseudonym is None:
                return Person(tenant, principal_id, None, (), ())
            of = select(contexts.c.context_id).where(contexts.c.tenant == tenant, contexts.c.principal == pseudonym)
            found = tuple(connection.execute(of).scalars().all())
            links = select(identity_links.c.name_key).where(identity_links.c.pseudonym == pseudonym)
            linked = self._names.open(connection, connection.execute(links).scalars().all())
            return Person(tenant, principal_id, pseudonym, found, tuple(sorted(linked.values())))

        return blocking_read(self._engine, "personal data", read)

    def aliases(self, tenant: str, subject: str) -> list[str]:
        """The data subjects of the principal whom a person's data subject names, if there is one."""
        wanted = {name for name in self._principal_ids(tenant) if person_key(name) == subject}
        return [one for name in sorted(wanted) for one in self.person(tenant, name).subjects(acts=True)]

    def _pseudonym(self, connection: Connection, tenant: str, principal_id: str) -> str | None:
        key = self._names.find(connection, tenant, [name_subject(principal_id)]).get(name_subject(principal_id))
        query = select(principals.c.pseudonym, principals.c.name_key).where(principals.c.tenant == tenant)
        if key is not None:
            return connection.execute(query.where(principals.c.name_key == key)).scalar()
        if PSEUDONYM.fullmatch(principal_id) is None:
            return None
        row = connection.execute(query.where(principals.c.pseudonym == principal_id)).one_or_none()
        return None if row is None or self._names.open(connection, [row.name_key]) else row.pseudonym

    def _principal_ids(self, tenant: str) -> set[str]:
        def read(connection: Connection) -> set[str]:
            keys = connection.execute(select(principals.c.name_key).where(principals.c.tenant == tenant)).scalars()
            return {named_principal(name) for name in self._names.open(connection, keys.all()).values()}

        return blocking_read(self._engine, "personal data", read)

    def rows(self, person: Person) -> dict[str, list[dict[str, Any]]]:
        """Every row about a principal, by what it is; without what is secret or says nothing of a person."""
        tenant, pseudonym = person.tenant, person.pseudonym
        if pseudonym is None:
            return {}

        def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
            found = {}
            for name, (table, columns) in _SHOWN.items():
                whose = or_(*(table.c[column] == pseudonym for column in columns))
                query = select(table).where(table.c.tenant == tenant, whose)
                found[name] = [_visible(row) for row in connection.execute(query).mappings()]
            found["principal"] = [{"id": person.id, **row} for row in found["principal"]]
            found["identity_links"] = self._links(connection, pseudonym)
            answers = (
                select(approval_answers)
                .join_from(approval_answers, approvals, approvals.c.approval_id == approval_answers.c.approval_id)
                .where(approvals.c.tenant == tenant, approval_answers.c.approver == pseudonym)
            )
            found["answers"] = [_visible(row) for row in connection.execute(answers).mappings()]
            signatures = (
                select(proposal_signatures)
                .join_from(proposal_signatures, proposals, proposals.c.proposal_id == proposal_signatures.c.proposal_id)
                .where(proposals.c.tenant == tenant, proposal_signatures.c.signer == pseudonym)
            )
            found["signatures"] = [_visible(row) for row in connection.execute(signatures).mappings()]
            found["issuers"] = [_visible(row) for row in _issuers(connection, tenant, pseudonym)]
            for table, column in _IN_OFFICE if tenant == DEFAULT_TENANT else ():
                query = select(table).where(table.c[column] == pseudonym)
                found[table.name] = [
                    {name: value for name, value in _visible(row).items() if name not in {"signed", "jwk"}}
                    for row in connection.execute(query).mappings()
                ]
            return {name: rows for name, rows in found.items() if rows}

        return blocking_read(self._engine, "personal data", read)

    def under_way(self, person: Person) -> Mapping[str, PlanStatus]:
        """A principal's plans that are not done, and how they stand."""
        whose = or_(plans.c.principal == person.pseudonym, plans.c.caller == person.pseudonym)
        query = select(plans.c.plan_id, plans.c.status).where(
            plans.c.tenant == person.tenant, whose, plans.c.status != str(PlanStatus.DONE)
        )
        rows = blocking_read(self._engine, "personal data", lambda connection: connection.execute(query).all())
        return {row.plan_id: PlanStatus(row.status) for row in rows}

    def removing(self, person: Person) -> list[Write]:
        """What takes a principal away: its logins, keys, tokens of elsewhere and row. What else names its pseudonym
        stays: the pseudonym is nobody's from then on."""
        if person.pseudonym is None:
            return []
        which = {"in_tenant": person.tenant, "named": person.pseudonym}
        return [Write(statement, which) for statement in _DELETE]

    def _links(self, connection: Connection, pseudonym: str) -> list[dict[str, Any]]:
        query = select(identity_links).where(identity_links.c.pseudonym == pseudonym)
        rows = connection.execute(query).mappings().all()
        opened = self._names.open(connection, [row["name_key"] for row in rows])
        found = []
        for row in rows:
            known = opened.get(row["name_key"])
            source, subject = (None, None) if known is None else named_link(known)
            found.append({**_visible(row), "source": source, "subject": subject})
        return found


def _issuers(connection: Connection, tenant: str, pseudonym: str) -> Sequence[Mapping[Any, Any]]:
    """Rows of issuers that may speak for somebody."""
    query = select(issuers).where(issuers.c.tenant == tenant, issuers.c.speaks_for.contains(json.dumps(pseudonym)))
    return connection.execute(query).mappings().all()


_DELETE: Final = tuple(
    delete(column.table).where(column.table.c.tenant == bindparam("in_tenant"), column == bindparam("named"))
    for column in (
        connection_grants.c.subject,
        *(table.c.pseudonym for table in (sessions, security_keys, identity_links, api_keys, principals)),
    )
)


def _visible(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _shown(str(name), value) for name, value in row.items() if name not in _HIDDEN}


def _shown(column: str, value: Any) -> Any:
    is_time = column.endswith(("_at", "_until")) or column in _BOUNDS
    return format_time(value) if is_time and value is not None else value
