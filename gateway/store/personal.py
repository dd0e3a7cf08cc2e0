"""Rows that name a person by their principal's id: found, for who asks what is held; taken away, for who asks to be
forgotten. Values of calls are not here: rows hold commitments to them (``audit.tables.payloads``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, and_, bindparam, delete, func, or_, select, update

from gateway.commitments import person_key, subject_key
from gateway.model import DEFAULT_TENANT, PlanStatus
from gateway.ports import Write
from gateway.store.reading import blocking_read
from gateway.store.row_macs import RowMacs
from gateway.store.tables import (
    api_keys,
    approval_answers,
    approvals,
    contexts,
    identity_links,
    issuers,
    plans,
    policy_activations,
    policy_bundles,
    policy_shadows,
    principals,
    proposal_signatures,
    proposals,
    security_keys,
    sessions,
)

RECORDS: Final = ("@directory",)
"""Stand for the context in the data subjects of what is recorded *about* a principal."""
ACTS: Final = ("@approvals", "@proposals")
"""The same of what somebody answered or changed in office, with their signature. It is evidence about others."""
RENAMED_AT_ONCE: Final = 500

_HIDDEN: Final = frozenset({"mac", "name_mac", "secret_sha256", "session_sha256", "ticket"})
_SHOWN: Final[Mapping[str, Any]] = {
    "principal": (principals, ("principal_id",)),
    "api_keys": (api_keys, ("principal_id",)),
    "security_keys": (security_keys, ("principal_id",)),
    "identity_links": (identity_links, ("principal_id",)),
    "sessions": (sessions, ("principal_id",)),
    "contexts": (contexts, ("principal_id",)),
    "plans": (plans, ("principal_id", "caller_id")),
    "approvals": (approvals, ("principal_id", "caller_id")),
    "proposals": (proposals, ("proposed_by", "decided_by", "ended_by")),
}
_IN_OFFICE: Final = (
    (policy_bundles, "added_by"),
    (policy_activations, "activated_by"),
    (policy_shadows, "started_by"),
)
"""Policies are the whole gateway's: who acts on them is a principal of the operator's own tenant, and another tenant
may have somebody of the same id."""


@dataclass(frozen=True, slots=True)
class Person:
    """A principal as rows know it.

    Attributes:
        pseudonym: by which entries name it; ``None`` where its row is gone.
        contexts: ids of its contexts.
    """

    tenant: str
    id: str
    pseudonym: str | None
    contexts: tuple[str, ...]

    def subjects(self, *, acts: bool) -> list[str]:
        """The data subjects that stand for it."""
        names = [*self.contexts, *RECORDS, *(ACTS if acts else ())]
        return [subject_key(self.tenant, self.id, name) for name in names]


class Personal:
    """Reads in a thread of the caller's; makes rows to write. Thread-safe."""

    def __init__(self, engine: Engine, directory_key: bytes, step_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            directory_key, step_key: those of the MACs of the directory's rows, and of approval requests.
        """
        self._engine = engine
        self._directory_macs = RowMacs(directory_key)
        self._step_macs = RowMacs(step_key)

    def person(self, tenant: str, principal_id: str) -> Person:
        """Raises ``log.unavailable``."""

        def read(connection: Any) -> Person:
            of = select(contexts.c.context_id).where(
                contexts.c.tenant == tenant, contexts.c.principal_id == principal_id
            )
            pseudonym = select(principals.c.pseudonym).where(
                principals.c.tenant == tenant, principals.c.principal_id == principal_id
            )
            found = tuple(connection.execute(of).scalars().all())
            return Person(tenant, principal_id, connection.execute(pseudonym).scalar(), found)

        return blocking_read(self._engine, "personal data", read)

    def aliases(self, tenant: str, subject: str) -> list[str]:
        """The data subjects of the principal whom a person's data subject names, if there is one."""
        wanted = {name for name in self._principal_ids(tenant) if person_key(name) == subject}
        return [one for name in sorted(wanted) for one in self.person(tenant, name).subjects(acts=True)]

    def _principal_ids(self, tenant: str) -> set[str]:
        query = select(contexts.c.principal_id).where(contexts.c.tenant == tenant).distinct()
        known = select(principals.c.principal_id).where(principals.c.tenant == tenant)
        return blocking_read(
            self._engine,
            "personal data",
            lambda connection: {*connection.execute(query).scalars(), *connection.execute(known).scalars()},
        )

    def rows(self, tenant: str, principal_id: str) -> dict[str, list[dict[str, Any]]]:
        """Every row that names a principal, by what it is about; without what is secret or says nothing of a person."""

        def read(connection: Any) -> dict[str, list[dict[str, Any]]]:
            found = {}
            for name, (table, columns) in _SHOWN.items():
                whose = or_(*(table.c[column] == principal_id for column in columns))
                query = select(table).where(table.c.tenant == tenant, whose)
                found[name] = [_visible(row) for row in connection.execute(query).mappings()]
            answers = (
                select(approval_answers)
                .join_from(approval_answers, approvals, approvals.c.approval_id == approval_answers.c.approval_id)
                .where(approvals.c.tenant == tenant, approval_answers.c.approver_id == principal_id)
            )
            found["answers"] = [_visible(row) for row in connection.execute(answers).mappings()]
            pseudonym = select(principals.c.pseudonym).where(
                principals.c.tenant == tenant, principals.c.principal_id == principal_id
            )
            signatures = (
                select(proposal_signatures)
                .join_from(proposal_signatures, proposals, proposals.c.proposal_id == proposal_signatures.c.proposal_id)
                .where(proposals.c.tenant == tenant, proposal_signatures.c.signer == pseudonym.scalar_subquery())
            )
            found["signatures"] = [_visible(row) for row in connection.execute(signatures).mappings()]
            found["issuers"] = [_visible(row) for row in self._issuers(connection, tenant, principal_id)]
            for table, column in _IN_OFFICE if tenant == DEFAULT_TENANT else ():
                query = select(table).where(table.c[column] == principal_id)
                found[table.name] = [
                    {name: value for name, value in _visible(row).items() if name not in {"signed", "jwk"}}
                    for row in connection.execute(query).mappings()
                ]
            return {name: rows for name, rows in found.items() if rows}

        return blocking_read(self._engine, "personal data", read)

    def under_way(self, tenant: str, principal_id: str) -> int:
        """How many of a principal's plans are not done."""
        whose = or_(plans.c.principal_id == principal_id, plans.c.caller_id == principal_id)
        query = select(func.count()).where(plans.c.tenant == tenant, whose, plans.c.status != str(PlanStatus.DONE))
        return blocking_read(self._engine, "personal data", lambda connection: connection.execute(query).scalar_one())

    def renaming_approvals(self, tenant: str, principal_id: str, pseudonym: str) -> Sequence[Write]:
        """Rows of some approval requests that name the principal, under its pseudonym; none when no more do."""
        whose = or_(approvals.c.principal_id == principal_id, approvals.c.caller_id == principal_id)
        query = select(approvals).where(approvals.c.tenant == tenant, whose).limit(RENAMED_AT_ONCE)
        rows = blocking_read(
            self._engine, "personal data", lambda connection: connection.execute(query).mappings().all()
        )
        writes = []
        for row in rows:
            names = {
                column: pseudonym if row[column] == principal_id else row[column]
                for column in ("principal_id", "caller_id")
            }
            sealed = self._step_macs.seal(approvals, {**row, **names})
            values = {"the_id": row["approval_id"], **{f"new_{name}": value for name, value in names.items()}}
            writes.append(Write(_RENAME_APPROVAL, {**values, "new_mac": sealed["mac"]}))
        return writes

    def removing(self, person: Person, *, acts: bool) -> list[Write]:
        """What takes a principal away: its logins, keys and row, and its name out of the rows of what it did."""
        which = {"in_tenant": person.tenant, "named": person.id}
        writes = [Write(statement, which) for statement in _DELETE]
        if person.pseudonym is not None:
            renamed = {**which, "instead": person.pseudonym}
            writes += [Write(statement, renamed) for statement in _RENAME]
            if acts:
                writes.append(Write(_RENAME_ANSWERS, renamed))
        found = blocking_read(
            self._engine,
            "personal data",
            lambda connection: self._issuers(connection, person.tenant, person.id),
        )
        for row in found:
            left = json.dumps([name for name in json.loads(row["speaks_for"]) if name != person.id])
            sealed = self._directory_macs.seal(issuers, {**row, "speaks_for": left})
            values = {"in_tenant": person.tenant, "named": row["issuer_id"], "left": left, "new_mac": sealed["mac"]}
            writes.append(Write(_UNSPEAK, values))
        return writes

    def _issuers(self, connection: Any, tenant: str, principal_id: str) -> list[Mapping[str, Any]]:
        query = select(issuers).where(
            issuers.c.tenant == tenant, issuers.c.speaks_for.contains(json.dumps(principal_id))
        )
        return [row for row in connection.execute(query).mappings() if principal_id in json.loads(row["speaks_for"])]


_DELETE: Final = tuple(
    delete(table).where(table.c.tenant == bindparam("in_tenant"), table.c.principal_id == bindparam("named"))
    for table in (sessions, security_keys, identity_links, api_keys, principals)
)
_RENAME: Final = tuple(
    update(table)
    .where(table.c.tenant == bindparam("in_tenant"), table.c[column] == bindparam("named"))
    .values({column: bindparam("instead")})
    for table, column in ((contexts, "principal_id"), (plans, "principal_id"), (plans, "caller_id"))
)
_RENAME_APPROVAL: Final = (
    update(approvals)
    .where(approvals.c.approval_id == bindparam("the_id"))
    .values(principal_id=bindparam("new_principal_id"), caller_id=bindparam("new_caller_id"), mac=bindparam("new_mac"))
)
_RENAME_ANSWERS: Final = (
    update(approval_answers)
    .where(
        approval_answers.c.approver_id == bindparam("named"),
        approval_answers.c.approval_id.in_(
            select(approvals.c.approval_id).where(approvals.c.tenant == bindparam("in_tenant"))
        ),
    )
    .values(approver_id=bindparam("instead"))
)
_UNSPEAK: Final = (
    update(issuers)
    .where(and_(issuers.c.tenant == bindparam("in_tenant"), issuers.c.issuer_id == bindparam("named")))
    .values(speaks_for=bindparam("left"), mac=bindparam("new_mac"))
)


def _visible(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if name not in _HIDDEN}
