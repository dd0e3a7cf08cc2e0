"""Data subjects in the side table: which keys are whose, and whose data has to stay (legal holds).

A row names its subject by a keyed hash, and holds the name wrapped beside it; so the way from a person to what is held
about them leads through the epoch key, and ends with it.
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from audit.buckets import Buckets
from audit.epochs import KEY_BYTES
from audit.errors import SealBroken
from audit.history import facts_of
from audit.tables import data_keys, entries, erased_keys, holds, payload_keys, payloads
from audit.wrapping import WrappingKey
from gateway.entries import EntryType
from gateway.ports import Unless, Write

_AT_ONCE: Final = 500
_INSERT: Final = insert(holds)
_LIFT: Final = delete(holds).where(holds.c.hold_id == bindparam("lifted"))
_HOLD_SINCE: Final = select(entries.c.idx).where(
    entries.c.tenant == bindparam("tenant"),
    entries.c.type == str(EntryType.HOLD_SET),
    entries.c.idx >= bindparam("since"),
    entries.c.idx < bindparam("before"),
)
_SHARED_SINCE: Final = (
    f"SELECT p.idx FROM {data_keys.name} k JOIN {payload_keys.name} s ON s.key_id = k.key_id "  # noqa: S608
    f"JOIN {payloads.name} p ON p.commitment = s.commitment "
    "WHERE k.tenant = :tenant AND k.subject IN (SELECT %s) AND p.idx >= :since LIMIT 1"
)
_SHARED_OF: Final = {
    "sqlite": text(_SHARED_SINCE % "value FROM json_each(:tags)"),
    "postgresql": text(_SHARED_SINCE % "json_array_elements_text(CAST(:tags AS json))"),
}


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A data key that is not erased."""

    key_id: str
    subject: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold. Times are seconds since the epoch.

    Attributes:
        subject: whose data has to stay; ``None`` where the key that says whose is gone, as in a database that was
            restored from before an erasure. Until it is lifted it may be anybody's, and so it is everybody's.
        code: why (``gateway.privacy.requests.HoldCode``).
        until: when it ends by itself; ``None``: when it is lifted.
    """

    hold_id: str
    tenant: str
    subject: str | None
    code: str
    set_at: float
    set_by: str
    until: float | None

    def holds_at(self, now: float) -> bool:
        """Whether it is in force."""
        return self.until is None or now < self.until


def keys_of(connection: Connection, buckets: Buckets, tenant: str, subjects: Iterable[str]) -> list[KeyRow]:
    """The data keys of these subjects. Raises ``SealBroken``."""
    wanted = buckets.tags(tenant, subjects)
    erased = select(erased_keys.c.key_id).where(erased_keys.c.key_id == data_keys.c.key_id).exists()
    names = sorted({tag for _, tag in wanted})
    found = []
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        query = select(data_keys).where(data_keys.c.tenant == tenant, data_keys.c.subject.in_(some), ~erased)
        for row in connection.execute(query):
            subject = wanted.get((row.bucket, row.subject))
            if subject is not None:
                found.append(KeyRow(row.key_id, subject, row.created_at))
    return found


# --- holds -----------------------------------------------------------------------------------------------------------


def hold_label(row: Any) -> str:
    """What the wrapped name of a hold is bound to: all that the hold says."""
    return json.dumps(
        [
            row.hold_id,
            row.tenant,
            row.code,
            float(row.set_at),
            row.set_by,
            None if row.until is None else float(row.until),
        ]
    )


def setting(newest: WrappingKey, hold: Hold) -> Write:
    """The row of a new hold."""
    if hold.subject is None:
        raise SealBroken("a hold is on somebody")
    row = {
        "hold_id": hold.hold_id,
        "tenant": hold.tenant,
        "subject": newest.tag((hold.tenant, hold.subject)),
        "epoch": newest.name,
        "wrapped": newest.wrap(hold_label(hold), os.urandom(KEY_BYTES), hold.subject),
        "code": hold.code,
        "set_at": hold.set_at,
        "set_by": hold.set_by,
        "until": hold.until,
    }
    return Write(_INSERT, row)


def lifting(hold_id: str) -> Write:
    """That a hold is no more."""
    return Write(_LIFT, {"lifted": hold_id})


def no_hold_since(tenant: str, since: int) -> Unless:
    """That nobody of a tenant was put under a hold from the log index ``since`` on."""
    return Unless(_HOLD_SINCE, {"tenant": tenant, "since": since})


def nothing_shared_since(dialect: str, tenant: str, tags_json: str, since: int) -> Unless:
    """That no value was sealed from the log index ``since`` on which concerns somebody else beside the subjects of
    ``tags_json`` (a JSON list of their keyed hashes)."""
    return Unless(_SHARED_OF[dialect], {"tenant": tenant, "tags": tags_json, "since": since})


def new_id() -> str:
    """Of a hold or an erasure: random, so that it says nothing."""
    return secrets.token_hex(8)


def holds_of(connection: Connection, every: Sequence[WrappingKey], tenant: str) -> list[Hold]:
    """Every hold of a tenant that was not lifted, oldest first, those that ended by themselves too.

    Raises:
        SealBroken: somebody else changed one, or took one away that the log knows of. While that is so, nobody is
            erased: it could be the one who must not be.
    """
    by_name = {epoch.name: epoch for epoch in every}
    found = []
    for row in connection.execute(select(holds).where(holds.c.tenant == tenant).order_by(holds.c.set_at)):
        epoch = by_name.get(row.epoch)
        subject = None if epoch is None else epoch.unwrap(hold_label(row), row.wrapped)[1]
        found.append(Hold(row.hold_id, row.tenant, subject, row.code, row.set_at, row.set_by, row.until))
    here = {hold.hold_id for hold in found}
    said = {
        kind: {facts.get("hold") for _, facts in facts_of(connection, tenant, {kind}, -1)}
        for kind in (EntryType.HOLD_SET, EntryType.HOLD_LIFTED)
    }
    if said[EntryType.HOLD_SET] - said[EntryType.HOLD_LIFTED] - here:
        raise SealBroken("a hold that the log knows of is not in its table")
    return found
