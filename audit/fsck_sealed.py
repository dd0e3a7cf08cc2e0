"""What ``fsck`` looks at of values that can be erased: that each opens its commitment, with the keys and for the entry
that it was sealed for, and that erasures are recorded as the log says.

What nothing vouches for: times beside sealed values and data keys, and which epoch wraps a bucket. Whoever changes the
epoch's name makes values unreadable, as whoever deletes them does; that they were there the commitment still says.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, or_, select

from audit.buckets import open_bucket
from audit.epochs import EpochKeys
from audit.errors import SealBroken
from audit.findings import Fault, Finding
from audit.opening import OPENING, Opener, unseal
from audit.tables import data_keys, entries, erased_keys, key_buckets, payload_keys
from audit.tables import erasures as erasure_rows
from audit.tables import payloads as table
from audit.wrapping import WrappingKey, every_epoch
from gateway.entries import EntryType

_CHUNK: Final = 512
"""Rows looked at at a time."""
_OWNERS: Final = (
    select(func.count())
    .select_from(payload_keys)
    .join(data_keys, data_keys.c.key_id == payload_keys.c.key_id)
    .where(payload_keys.c.commitment == table.c.commitment)
    .scalar_subquery()
)
_MISPLACED: Final = (
    select(table.c.commitment, table.c.idx, data_keys.c.key_id, entries.c.fields, _OWNERS.label("owners"))
    .select_from(table)
    .join(data_keys, data_keys.c.key_id == table.c.key_id, isouter=True)
    .join(entries, entries.c.idx == table.c.idx, isouter=True)
    .where(
        or_(
            data_keys.c.key_id.is_(None),
            entries.c.idx.is_(None),
            entries.c.tenant != table.c.tenant,
            entries.c.fields.is_(None),
            ~entries.c.fields.contains(table.c.commitment),
            (table.c.owners == 1) & (_OWNERS != 0),
            (table.c.owners != 1) & (table.c.owners != _OWNERS),
        )
    )
    .order_by(table.c.commitment)
)
_STRAYS: Final = select(payload_keys.c.commitment).where(
    payload_keys.c.commitment.not_in(select(table.c.commitment))
)  # fmt: skip
_SAYING: Final = (
    select(entries.c.idx, entries.c.tenant, entries.c.type, entries.c.principal, entries.c.body)
    .where(entries.c.type.in_([str(EntryType.ERASURE_REQUESTED), str(EntryType.ERASURE_DONE)]))
    .order_by(entries.c.idx)
)


def payloads(connection: Connection, epochs: EpochKeys) -> Iterator[Finding]:
    """Hold each value that can be opened against its commitment, and each against the rows that it belongs to."""
    for row in connection.execute(_MISPLACED):
        detail = f"payload {row.commitment} is not with its keys, or not of the entry that it names"
        yield Finding(Fault.PAYLOAD, detail, row.idx, row.idx)
    for commitment in connection.execute(_STRAYS).scalars():
        yield Finding(Fault.PAYLOAD, f"keys are named for a payload {commitment} that is not there")
    yield from _keys(connection, epochs)
    yield from _values(connection, epochs)


def _values(connection: Connection, epochs: EpochKeys) -> Iterator[Finding]:
    opener = Opener(epochs)
    statement = OPENING.order_by(table.c.commitment).limit(_CHUNK)
    after = ""
    while True:
        rows = connection.execute(statement.where(table.c.commitment > after)).all()
        for row in rows:
            commitment = row.commitment
            try:
                key = opener.ciphers(connection, [row]).get(commitment)
                if key is not None:  # the epoch key of a key of it was destroyed: erased, as it should be
                    unseal(key, commitment, row.sealed)
            except SealBroken as exc:
                found = connection.execute(
                    select(entries.c.idx).where(entries.c.fields.contains(commitment)).order_by(entries.c.idx).limit(1)
                ).scalar()
                yield Finding(Fault.PAYLOAD, exc.detail, found, found)
        if len(rows) < _CHUNK:
            return
        after = rows[-1].commitment


def _keys(connection: Connection, epochs: EpochKeys) -> Iterator[Finding]:
    """A bucket key is bound to its bucket; a data key to its id and its subject, whose keyed hash stands beside it."""
    every = {epoch.name: epoch for epoch in every_epoch(epochs)}
    buckets: dict[str, WrappingKey | None] = {}
    for row in connection.execute(select(key_buckets).order_by(key_buckets.c.bucket)).all():
        buckets[row.bucket] = None
        try:
            buckets[row.bucket] = open_bucket(row, every)
        except SealBroken as exc:
            yield Finding(Fault.PAYLOAD, exc.detail)
    statement = select(data_keys).order_by(data_keys.c.key_id).limit(_CHUNK)
    after = ""
    while True:
        rows = connection.execute(statement.where(data_keys.c.key_id > after)).all()
        for row in rows:
            if row.bucket not in buckets:
                yield Finding(Fault.PAYLOAD, f"data key {row.key_id} is of a bucket that is not there")
            elif (bucket := buckets[row.bucket]) is not None:
                yield from _key(row, bucket)
        if len(rows) < _CHUNK:
            return
        after = rows[-1].key_id


def _key(row: Any, bucket: WrappingKey) -> Iterator[Finding]:
    try:
        _, subject = bucket.unwrap(row.key_id, row.wrapped)
    except SealBroken as exc:
        yield Finding(Fault.PAYLOAD, exc.detail)
        return
    if bucket.tag((row.tenant, subject)) != row.subject:
        yield Finding(Fault.PAYLOAD, f"data key {row.key_id} is of another tenant or data subject")


def erasures(connection: Connection) -> Iterator[Finding]:
    """Hold each erasure's row, and how many keys were marked for it, against the entries about it."""
    rows = {row.erasure_id: row for row in connection.execute(select(erasure_rows))}
    counted = select(erased_keys.c.erasure_id, func.count()).group_by(erased_keys.c.erasure_id)
    marked = {row[0]: row[1] for row in connection.execute(counted)}
    ended: set[str] = set()
    known: set[str] = set()
    for entry in connection.execute(_SAYING):
        facts = _facts(entry.body)
        erasure = str(facts.get("erasure"))
        row = rows.get(erasure)
        if entry.type == EntryType.ERASURE_REQUESTED:
            known.add(erasure)
            right = row is not None and (row.requested_index, row.tenant, row.requested_by) == (
                entry.idx, entry.tenant, entry.principal,
            )  # fmt: skip
        else:
            ended.add(erasure)
            right = row is not None and (
                row.done_index, row.requested_index, row.payloads, row.epoch or "", marked.get(erasure, 0),
            ) == (entry.idx, *(facts.get(name) for name in ("requested", "payloads", "epoch", "keys")))  # fmt: skip
        if not right:
            yield Finding(
                Fault.ERASURE, f"the row of erasure {erasure} is not what the entry says", entry.idx, entry.idx
            )
    for erasure, row in rows.items():
        if erasure not in known or (row.done_at is not None or row.done_index is not None) != (erasure in ended):
            yield Finding(Fault.ERASURE, f"no entry of the log says of erasure {erasure} what its row does")
    for erasure in marked.keys() - rows.keys():
        yield Finding(Fault.ERASURE, f"data keys are marked for an erasure {erasure} that is not there")


def _facts(body: Any) -> Mapping[str, Any]:
    try:
        facts = json.loads(bytes(body)).get("facts")
    except (ValueError, TypeError, AttributeError):
        return {}
    return facts if isinstance(facts, dict) else {}
