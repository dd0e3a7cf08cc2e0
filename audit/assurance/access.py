"""Who could do what at a moment, from the log alone. Synchronous; call it in a thread.

Every change of a principal or an issuer is an entry, written in the same transaction as its row, so replaying them
gives the directory as it was. Entries hold pseudonyms, roles and key ids in clear; names are opened from the erasable
side table, and whoever was erased stays a pseudonym.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from audit.assurance.evidence import Stretch
from audit.checkpoint import note_text, parse_checkpoint
from audit.errors import LogUnavailable
from audit.opening import Opener
from audit.reader import Reader
from audit.tables import entries
from gateway.canonical import parse
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT
from gateway.times import format_time

POLICY: Final = (EntryType.POLICY_ACTIVATED, EntryType.POLICY_LOADED, EntryType.POLICY_ROLLED_BACK)
"""What changes which bundle decides."""
_CHANGES: Final = (
    select(entries.c.idx, entries.c.type, entries.c.time, entries.c.principal, entries.c.body, entries.c.fields)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type == bindparam("type"),
        entries.c.idx < bindparam("end"),
    )
    .order_by(entries.c.idx)
)
_BODY: Final = select(entries.c.body).where(entries.c.idx == bindparam("idx"))


@dataclass(slots=True)
class Holder:
    """A principal or an issuer while its changes are replayed. ``facts`` are those of the entry that added it."""

    pseudonym: str
    added: dict[str, Any]
    commitment: str | None
    facts: dict[str, Any]
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    approval_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: bool = False


def access(reader: Reader, opener: Opener, tenant: str, at: float, now: float) -> dict[str, Any]:
    """The tenant's live principals and issuers at ``at``, the policy and the pinned hands, as a JSON document.

    Args:
        at, now: seconds since the epoch.

    Raises:
        LogUnavailable: the database cannot be read, or no checkpoint was ever signed.
        SealBroken: a stored name is not what was sealed.
    """
    stored = reader.checkpoint()
    if stored is None:
        raise LogUnavailable("no checkpoint was signed yet")
    size, note = stored
    with reader.connect() as connection:
        end = Stretch.between(connection, tenant, 0, at, size).end
        principals = replay(connection, tenant, EntryType.PRINCIPAL_CHANGED, end)
        issuers = replay(connection, tenant, EntryType.ISSUER_CHANGED, end)
        live = [one for one in (*principals.values(), *issuers.values()) if one.commitment is not None]
        names = opener.open(connection, [one.commitment for one in live if one.commitment is not None])
        documents = {commitment: parse(value) for commitment, (_, value) in names.items()}
        known = {
            pseudonym: documents[one.commitment]["id"]
            for pseudonym, one in principals.items()
            if one.commitment in documents
        }
        return {
            "v": 1,
            "origin": parse_checkpoint(note_text(note)).origin,
            "tenant": tenant,
            "at": format_time(at),
            "made_at": format_time(now),
            "tree_size": size,
            "end": end,
            "checkpoint": note,
            "principals": [_principal(one, documents, at) for one in principals.values() if not one.revoked],
            "issuers": [_issuer(one, documents, known) for one in issuers.values() if not one.revoked],
            "policy": _policy(connection, end),
            "hands": list(_hands(connection, tenant, end)),
        }


def replay(connection: Connection, tenant: str, kind: EntryType, end: int) -> dict[str, Holder]:
    """Pseudonym -> what became of it."""
    found: dict[str, Holder] = {}
    for row in connection.execute(_CHANGES, {"tenant": tenant, "type": str(kind), "end": end}):
        facts = json.loads(row.body).get("facts", {})
        change, subject = facts.get("change"), facts.get("subject", "")
        about = {"index": row.idx, "time": row.time, "by": row.principal}
        if change in {"added", "provisioned"}:
            found[subject] = Holder(subject, about, _commitment(row), facts)
        holder = found.get(subject)
        if holder is None:
            continue
        if change == "revoked":
            holder.revoked = True
        elif change in {"provisioned", "linked", "link_revoked"}:
            _relink(holder, change, facts, about)
        elif change in {"named", "roles_widened"}:
            _amend(holder, change, facts, row)
        elif change in {"added", "key_added"}:
            key = facts.get("key_id") or facts.get("kid")
            if key is not None:
                holder.keys[key] = {"id": key, **about, "expires_at": facts.get("key_expires_at")}
            if "approval_kid" in facts:
                holder.approval_keys[facts["approval_kid"]] = {"id": facts["approval_kid"], **about}
        elif change == "security_key_added":
            holder.approval_keys[facts.get("kid", "")] = {"id": facts.get("kid", ""), **about}
        elif change == "key_revoked":
            holder.keys.pop(facts.get("kid", ""), None)
            holder.approval_keys.pop(facts.get("kid", ""), None)
    return found


def _commitment(row: Any) -> str | None:
    """Of who it is."""
    committed = json.loads(row.fields) if row.fields else {}
    return next(iter(committed.values()), None)


def _amend(holder: Holder, change: str, facts: Mapping[str, Any], row: Any) -> None:
    """Take in a new id, or more roles."""
    if change == "named":
        holder.commitment = _commitment(row)
    else:
        holder.facts = {**holder.facts, "roles": facts["roles"]}


def _relink(holder: Holder, change: str, facts: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Take in a link to an identity elsewhere, or its end."""
    if change == "link_revoked":
        holder.links.pop(facts["link"], None)
    else:
        holder.links[facts["link"]] = {"id": facts["link"], "kind": facts["link_kind"], **about}


def _principal(holder: Holder, documents: Mapping[str, Any], at: float) -> dict[str, Any]:
    known = documents.get(holder.commitment or "")
    return {
        "pseudonym": holder.pseudonym,
        "id": None if known is None else known["id"],
        "roles": sorted(filter(None, holder.facts.get("roles", "").split(","))),
        "hands": _scope(holder.facts.get("hands")),
        "keys": [_key(key) for key in holder.keys.values() if key["expires_at"] is None or key["expires_at"] > at],
        "approval_keys": list(holder.approval_keys.values()),
        "links": list(holder.links.values()),
        "added": holder.added,
    }


def _scope(fact: str | None) -> list[str] | None:
    """Hands that a principal is bound to; ``None`` for all."""
    return None if fact in {None, "*"} else sorted(filter(None, str(fact).split(",")))


def _issuer(holder: Holder, documents: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    known = documents.get(holder.commitment or "")
    return {
        "pseudonym": holder.pseudonym,
        "id": None if known is None else known["id"],
        "speaks_for": None if known is None else sorted(names.get(one, one) for one in known["speaks_for"]),
        "attests_request": bool(holder.facts.get("attests_request")),
        "keys": [_key(key) for key in holder.keys.values()],
        "added": holder.added,
    }


def _key(held: Mapping[str, Any]) -> dict[str, Any]:
    return {**held, "expires_at": format_time(held["expires_at"])}


def _policy(connection: Connection, end: int) -> dict[str, Any] | None:
    place = Stretch(connection, DEFAULT_TENANT, 0, end).last_of(POLICY)
    if place is None:
        return None
    body = json.loads(connection.execute(_BODY, {"idx": place.index}).scalar_one())
    digest = body.get("policy_digest") or body.get("facts", {}).get("digest")
    return {"digest": digest, "index": place.index, "time": place.time, "by": body.get("principal")}


def _hands(connection: Connection, tenant: str, end: int) -> Iterator[dict[str, Any]]:
    """The newest pin of each hand, by id."""
    newest: dict[str, dict[str, Any]] = {}
    values = {"tenant": tenant, "type": str(EntryType.HAND_REGISTERED), "end": end}
    for row in connection.execute(_CHANGES, values):
        body = json.loads(row.body)
        newest[body["hand"]] = {
            "hand": body["hand"],
            "manifest_digest": body["manifest_digest"],
            "index": row.idx,
            "time": row.time,
            "by": row.principal,
        }
    for hand in sorted(newest):
        yield newest[hand]
