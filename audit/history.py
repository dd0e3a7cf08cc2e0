"""What the log remembers of rows that can be written over. A row that was put back from an older copy has a MAC that
holds; the log, which only grows, knows better.

Entries count only below the head: rows beyond it are nobody's. Blocking; SQLAlchemy's exceptions are the caller's.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select

from audit.tables import entries, head
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT

DIRECTORY: Final = (EntryType.PRINCIPAL_CHANGED, EntryType.ISSUER_CHANGED)
"""What changes principals, their keys and issuers."""

STEPS: Final = (
    EntryType.POLICY_ALLOWED,
    EntryType.POLICY_DENIED,
    EntryType.POLICY_OBSERVED,
    EntryType.SCHEMA_REJECTED,
    EntryType.APPROVAL_REQUESTED,
    EntryType.APPROVAL_EXPIRED,
    EntryType.APPROVAL_VOIDED,
    EntryType.APPROVAL_REBOUND,
    EntryType.CREDENTIAL_ISSUED,
    EntryType.STEP_DISPATCHED,
    EntryType.STEP_EXECUTED,
    EntryType.STEP_FAILED,
    EntryType.STEP_AMBIGUOUS,
    EntryType.STEP_SKIPPED,
    EntryType.STEP_CANCELLED,
    EntryType.STEP_RELEASED,
    EntryType.RESULT_REDACTED,
)
"""What changes a step, and so its row in the same transaction. People's answers stand beside a step."""

RESTORED: Final = str(EntryType.BACKUP_RESTORED)

TREE_SIZE: Final = select(head.c.tree_size).where(head.c.id == 1).scalar_subquery()
"""Entries from here on are not committed to by the head yet."""
NEWEST_RESTORE: Final = (
    select(func.max(entries.c.idx))
    .where(entries.c.tenant == DEFAULT_TENANT, entries.c.type == RESTORED, entries.c.idx < TREE_SIZE)
    .scalar_subquery()
)
"""Index of the newest restore; NULL where the log was never restored. Entries below it come from a backup."""
_DIRECTORY: Final = (
    select(entries.c.idx, entries.c.body)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type.in_([str(kind) for kind in DIRECTORY]),
        entries.c.idx > bindparam("after"),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx)
)
_RECEIVED: Final = select(entries.c.principal, entries.c.body).where(
    entries.c.plan_id == bindparam("plan_id"),
    entries.c.type == str(EntryType.PLAN_RECEIVED),
    entries.c.idx < TREE_SIZE,
)
_MOVED: Final = (
    select(entries.c.step_id, func.max(entries.c.idx).label("idx"))
    .where(
        entries.c.plan_id == bindparam("plan_id"),
        entries.c.type.in_([str(kind) for kind in STEPS]),
        entries.c.step_id.is_not(None),
        entries.c.idx < TREE_SIZE,
    )
    .group_by(entries.c.step_id)
)
_REPORTED: Final = select(entries.c.idx, entries.c.step_id, entries.c.time, entries.c.body, entries.c.fields).where(
    entries.c.plan_id == bindparam("plan_id"),
    entries.c.type == str(EntryType.STEP_REPORTED),
    entries.c.idx < TREE_SIZE,
)
_NEWEST_OF_TYPE: Final = (
    select(entries.c.time)
    .where(entries.c.tenant == DEFAULT_TENANT, entries.c.type == bindparam("type"), entries.c.idx < TREE_SIZE)
    .order_by(entries.c.idx.desc())
    .limit(1)
)
_REVOKED: Final = select(entries.c.body).where(
    entries.c.tenant == DEFAULT_TENANT, entries.c.type == str(EntryType.KEY_REVOKED), entries.c.idx < TREE_SIZE
)
_ROTATED: Final = (
    select(entries.c.body)
    .where(entries.c.tenant == DEFAULT_TENANT, entries.c.type == str(EntryType.KEY_ROTATED), entries.c.idx < TREE_SIZE)
    .order_by(entries.c.idx.desc())
)
_PIN: Final = (
    select(entries.c.body)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.hand == bindparam("hand"),
        entries.c.action.is_(None),  # for the index
        entries.c.type == str(EntryType.HAND_REGISTERED),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx.desc())
    .limit(1)
)


def directory_changes(connection: Connection, tenant: str, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and facts of each change of the tenant's principals and issuers after index ``after``, oldest first."""
    for row in connection.execute(_DIRECTORY, {"tenant": tenant, "after": after}):
        yield row.idx, json.loads(row.body).get("facts", {})


def facts_of(
    connection: Connection, tenant: str, kinds: Collection[str], after: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and facts of each of the tenant's entries of ``kinds`` after index ``after``, oldest first."""
    query = (
        select(entries.c.idx, entries.c.body)
        .where(
            entries.c.tenant == tenant,
            entries.c.type.in_(sorted(kinds)),
            entries.c.idx > after,
            entries.c.idx < TREE_SIZE,
        )
        .order_by(entries.c.idx)
    )
    for row in connection.execute(query):
        yield row.idx, json.loads(row.body).get("facts", {})


def newest_time(connection: Connection, kind: str) -> float | None:
    """When the newest entry of a type was written, of the operator's tenant, in seconds since the epoch; ``None`` where
    there is none."""
    time = connection.execute(_NEWEST_OF_TYPE, {"type": kind}).scalar()
    return None if time is None else datetime.fromisoformat(time).timestamp()


def renamings(connection: Connection) -> list[tuple[int, str]]:
    """Each restore from a backup, the oldest first: its entry's index, and the name that the log had before it."""
    return [(index, str(facts["origin"])) for index, facts in facts_of(connection, DEFAULT_TENANT, {RESTORED}, -1)]


def former_origins(connection: Connection) -> list[str]:
    """The names that the log had before it was restored from a backup, the oldest first."""
    return [name for _, name in renamings(connection)]


def newest_pin(connection: Connection, tenant: str, hand: str) -> str | None:
    """Digest of the manifest that the tenant last pinned; ``None`` where it never pinned the hand."""
    body = connection.execute(_PIN, {"tenant": tenant, "hand": hand}).scalar()
    return None if body is None else json.loads(body).get("manifest_digest")


@dataclass(frozen=True, slots=True)
class PlanHistory:
    """What the log says of a plan. ``kid``, ``principal`` and ``caller`` (pseudonyms) are as it was received."""

    kid: str
    principal: str
    caller: str
    newest: Mapping[str, int]
    """Step id -> index of the newest entry that changed the step; a step without one is as it was received."""


def plan_history(connection: Connection, plan_id: str) -> PlanHistory | None:
    """What the log says of a plan; ``None`` where it never received it. To be read *before* the plan's rows, which are
    then as new at least."""
    received = connection.execute(_RECEIVED, {"plan_id": plan_id}).first()
    if received is None:
        return None
    facts = json.loads(received.body).get("facts", {})
    moved = {row.step_id: row.idx for row in connection.execute(_MOVED, {"plan_id": plan_id})}
    return PlanHistory(facts.get("kid", ""), received.principal or "", facts.get("caller", ""), moved)


@dataclass(frozen=True, slots=True)
class LoggedReport:
    """What the log says that a client reported of a released step.

    Attributes:
        at: seconds since the epoch.
        commitment: of what was reported, ``{content, structured}``.
    """

    log_index: int
    at: float
    facts: Mapping[str, Any]
    commitment: str


def reports(connection: Connection, plan_id: str) -> Mapping[str, LoggedReport]:
    """Step id -> what was reported of it, of a plan."""
    return {
        row.step_id: LoggedReport(
            row.idx,
            datetime.fromisoformat(row.time).timestamp(),
            json.loads(row.body).get("facts", {}),
            json.loads(row.fields)["result"],
        )
        for row in connection.execute(_REPORTED, {"plan_id": plan_id})
    }


def revoked_keys(connection: Connection) -> frozenset[tuple[str, str]]:
    """Purpose and kid of each key of the gateway whose revocation is on record."""
    facts = (json.loads(body).get("facts", {}) for body in connection.execute(_REVOKED).scalars())
    return frozenset((str(one["purpose"]), str(one["kid"])) for one in facts if {"purpose", "kid"} <= one.keys())


def newest_wrapping(connection: Connection, root: str) -> int | None:
    """Generation of the data root ``root`` after the newest change of the master key that is on record; ``None`` where
    none is."""
    for body in connection.execute(_ROTATED).scalars():
        facts = json.loads(body).get("facts", {})
        if facts.get("purpose") == "master" and facts.get("root") == root:
            return int(facts["generation"])
    return None
