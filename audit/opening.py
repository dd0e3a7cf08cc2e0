"""Opening what was sealed (:mod:`audit.sealing`), in transactions that may be older than the epoch keys."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, bindparam, func, select

from audit.buckets import open_bucket
from audit.epochs import NONCE_BYTES, EpochKeys
from audit.errors import SealBroken
from audit.sealing import SALT_BYTES, DataKey, joint
from audit.tables import data_keys, erased_keys, key_buckets, payload_keys, payloads
from audit.wrapping import WrappingKey

_LOOKS: Final = 5
_CACHE: Final = 4096
"""Data keys remembered; older ones are read again."""
_UNERASED: Final = ~select(erased_keys.c.key_id).where(erased_keys.c.key_id == data_keys.c.key_id).exists()
OPENING: Final = select(
    payloads.c.commitment,
    payloads.c.sealed,
    payloads.c.owners,
    data_keys.c.key_id,
    data_keys.c.bucket,
    data_keys.c.wrapped,
).join_from(payloads, data_keys, payloads.c.key_id == data_keys.c.key_id)
"""What :meth:`Opener.ciphers` wants of each payload."""
_BUCKETS: Final = select(key_buckets).where(key_buckets.c.bucket.in_(bindparam("buckets", expanding=True)))
_WITH_BUCKETS: Final = (
    select(
        data_keys.c.key_id,
        data_keys.c.wrapped.label("data_key"),
        key_buckets.c.bucket,
        key_buckets.c.epoch,
        key_buckets.c.wrapped,
        key_buckets.c.created_at,
    )
    .join_from(data_keys, key_buckets, key_buckets.c.bucket == data_keys.c.bucket)
    .where(data_keys.c.key_id.in_(bindparam("key_ids", expanding=True)), _UNERASED)
)
"""A key with its bucket in one statement: a rotation that goes on meanwhile is seen whole or not at all."""
_PAYLOADS: Final = OPENING.where(payloads.c.commitment.in_(bindparam("commitments", expanding=True)), _UNERASED)
_SIZES: Final = select(payloads.c.commitment, func.length(payloads.c.sealed)).where(
    payloads.c.commitment.in_(bindparam("commitments", expanding=True))
)
_OWNERS: Final = (
    select(payload_keys.c.commitment, data_keys.c.key_id, data_keys.c.bucket, data_keys.c.wrapped)
    .join_from(payload_keys, data_keys, payload_keys.c.key_id == data_keys.c.key_id)
    .where(payload_keys.c.commitment.in_(bindparam("commitments", expanding=True)), _UNERASED)
)


class Opener:
    """Opens sealed payloads. Thread-safe.

    A transaction sees rows as they were; the key above them may be destroyed since, and the rows be under the next one.
    So what does not open is looked for again, outside of the caller's transaction.
    """

    def __init__(self, epochs: EpochKeys) -> None:
        self._epochs = epochs
        self._keys: OrderedDict[str, DataKey] = OrderedDict()
        self._buckets: dict[str, WrappingKey] = {}
        self._lost: set[str] = set()
        """Buckets whose epoch key is gone for certain."""
        self._forgotten = 0
        self._lock = threading.Lock()

    def open(self, connection: Connection, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value) for those whose payload, data keys and epoch key still exist.

        Raises:
            SealBroken: a stored payload is not what was sealed.
        """
        if not commitments:
            return {}
        rows = connection.execute(_PAYLOADS, {"commitments": list(commitments)}).all()
        ciphers = self.ciphers(connection, rows)
        return {
            row.commitment: unseal(ciphers[row.commitment], row.commitment, row.sealed)
            for row in rows
            if row.commitment in ciphers
        }

    def owners(self, connection: Connection, commitments: Sequence[str]) -> set[str]:
        """The data subjects whose keys seal any of these values, as far as the keys above theirs still exist.

        Raises:
            SealBroken: a key is not what was wrapped.
        """
        if not commitments:
            return set()
        wanted = {"commitments": list(commitments)}
        rows = [*connection.execute(_PAYLOADS, wanted).all(), *connection.execute(_OWNERS, wanted).all()]
        keys = self._data_keys(connection, rows)
        return {keys[row.key_id].subject for row in rows if row.key_id in keys}

    def ciphers(self, connection: Connection, rows: Sequence[Any]) -> dict[str, AESGCM]:
        """Commitment -> what opens it, for those rows of :data:`OPENING` whose keys are all there.

        Raises:
            SealBroken: a key is not what was wrapped.
        """
        owners: dict[str, list[Any]] = {row.commitment: [row] for row in rows if row.owners == 1}
        shared = [row.commitment for row in rows if row.owners != 1]
        if shared:
            for row in connection.execute(_OWNERS, {"commitments": shared}).all():
                owners.setdefault(row.commitment, []).append(row)
        keys = self._data_keys(connection, [one for several in owners.values() for one in several])
        found = {}
        for row in rows:
            there = [keys[one.key_id] for one in owners.get(row.commitment, ()) if one.key_id in keys]
            if len(there) == row.owners:
                found[row.commitment] = joint(there)
        return found

    def forget(self) -> None:
        """Use no key that is in memory."""
        with self._lock:
            self._forgotten += 1
            self._keys.clear()
            self._buckets.clear()
            self._lost.clear()

    def _data_keys(self, connection: Connection, rows: Sequence[Any]) -> dict[str, DataKey]:
        """Id -> data key of the rows, without those above which a key was destroyed."""
        with self._lock:
            forgotten = self._forgotten
            found = {row.key_id: self._keys[row.key_id] for row in rows if row.key_id in self._keys}
            left = {row.key_id: row for row in rows if row.key_id not in found and row.bucket not in self._lost}
        if not left:
            return found
        buckets = self._wrapping(connection, {row.bucket for row in left.values()}, forgotten)
        opened = {
            key_id: _data_key(buckets[row.bucket], key_id, row.wrapped)
            for key_id, row in left.items()
            if row.bucket in buckets
        }
        unsure = sorted(left.keys() - opened.keys())
        if unsure:
            opened |= self._anew(connection.engine, unsure, forgotten)
        with self._lock:
            if forgotten == self._forgotten:  # or something was erased while this was read
                self._keys.update(opened)
                while len(self._keys) > _CACHE:
                    self._keys.popitem(last=False)
        return found | opened

    def _wrapping(self, connection: Connection, names: set[str], forgotten: int) -> dict[str, WrappingKey]:
        """Name -> key of the buckets that open, as the caller's transaction sees them."""
        with self._lock:
            found = {name: self._buckets[name] for name in names if name in self._buckets}
        left = sorted(names - found.keys())
        opened = {}
        for row in connection.execute(_BUCKETS, {"buckets": left}).all() if left else ():
            bucket = self._bucket(row)
            if bucket is not None:
                opened[bucket.name] = bucket
        with self._lock:
            if forgotten == self._forgotten:
                self._buckets.update(opened)
        return found | opened

    def _anew(self, engine: Engine, key_ids: Sequence[str], forgotten: int) -> dict[str, DataKey]:
        """What is found for certain: where no epoch key came or went during a look, what it does not open nobody ever
        will."""
        for _ in range(_LOOKS):
            before = self._epochs.names()
            with engine.connect() as fresh:
                rows = fresh.execute(_WITH_BUCKETS, {"key_ids": list(key_ids)}).all()
            buckets = {row.bucket: self._bucket(row) for row in {row.bucket: row for row in rows}.values()}
            opened = {
                row.key_id: _data_key(bucket, row.key_id, row.data_key)
                for row in rows
                if (bucket := buckets[row.bucket]) is not None
            }
            if self._epochs.names() == before:
                with self._lock:
                    if forgotten == self._forgotten:
                        self._lost.update(name for name, bucket in buckets.items() if bucket is None)
                return opened
        raise SealBroken("the epoch keys change all the time")

    def _bucket(self, row: Any) -> WrappingKey | None:
        key = self._epochs.get(row.epoch)
        return open_bucket(row, {} if key is None else {row.epoch: WrappingKey.of(row.epoch, key)})


def _data_key(bucket: WrappingKey, key_id: str, wrapped: bytes) -> DataKey:
    raw, subject = bucket.unwrap(key_id, wrapped)
    return DataKey(key_id, raw, AESGCM(raw), subject=subject)


def sealed_bytes(connection: Connection, commitments: Sequence[str]) -> dict[str, int]:
    """Commitment -> size of the sealed value, of those that are still there."""
    rows = connection.execute(_SIZES, {"commitments": list(commitments)}) if commitments else ()
    return {commitment: int(size) for commitment, size in rows}


def unseal(key: AESGCM, commitment: str, sealed: bytes) -> tuple[bytes, bytes]:
    """(salt, value) of a payload.

    Raises:
        SealBroken: the blob is not sealed by ``key`` for ``commitment``, or does not open the commitment.
    """
    if not isinstance(sealed, bytes):  # SQLite's columns take any type, and a flipped bit changes it
        raise SealBroken(f"payload {commitment} is no sealed value")
    try:
        rest = memoryview(sealed)[NONCE_BYTES:]  # a value may be large
        plain = key.decrypt(sealed[:NONCE_BYTES], rest, commitment.encode("ascii"))
    except (InvalidTag, ValueError):
        raise SealBroken(f"payload {commitment} does not open") from None
    if hashlib.sha256(plain).hexdigest() != commitment:
        raise SealBroken(f"payload {commitment} does not match its commitment")
    return plain[:SALT_BYTES], plain[SALT_BYTES:]
