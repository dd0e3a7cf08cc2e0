"""The erasable side table: values and salts, sealed under the data keys of the data subjects that they concern.

``sealed = nonce || AES-256-GCM(key, salt || value, AAD = commitment)``. The key of a value that concerns one data
subject is that subject's data key; where it concerns several, it is made of all their data keys, and whoever lacks one
of them opens nothing. A data key and the subject's name are wrapped by a bucket key (:mod:`audit.buckets`), and that by
an epoch key (:mod:`audit.epochs`). A row names its subject only by a keyed hash, so that a dead tuple or a backup says
nothing once the epoch key is gone.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Dialect

from audit.buckets import BUCKETS, BucketRow, Buckets, make
from audit.driver import Driver
from audit.epochs import KEY_BYTES, NONCE_BYTES, EpochKeys
from audit.errors import SealBroken
from audit.tables import data_keys, erased_keys, key_epochs
from audit.wrapping import Subject, every_epoch
from gateway.commitments import Committed
from gateway.ports import Naming
from gateway.randomness import random_16_bytes

SALT_BYTES: Final = 16
SEALING_SECONDS: Final = 7 * 86_400.0
"""How long a data key seals. A later value of the same subject gets another, so that the key of what is past its time
can be deleted although the subject is still active."""
_LOOKS: Final = 5
_CACHE: Final = 4096
"""Data keys and stored commitments remembered; older ones are read again."""

_IN_USE: Final = f"NOT EXISTS (SELECT 1 FROM {erased_keys.name} e WHERE e.key_id = {data_keys.name}.key_id)"  # noqa: S608
_KEYS_OF_SUBJECTS: Final = (
    f"SELECT tenant, subject, key_id, bucket, wrapped, created_at FROM {data_keys.name} WHERE {_IN_USE} AND "  # noqa: S608
)
_NEWEST_EPOCH: Final = f"SELECT max(epoch) FROM {key_epochs.name}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key, for use in this process alone.

    Attributes:
        subject: whose it is, where it was read to open something.
    """

    key_id: str
    raw: bytes = field(repr=False)
    cipher: AESGCM = field(repr=False)
    made_at: float = 0.0
    subject: str = field(default="", repr=False)


@dataclass(slots=True)
class Sealed:
    """Rows for one commit, and what to remember once it is durable."""

    payload_rows: list[tuple[str, str, str, int, bytes, int, float]] = field(default_factory=list)
    """commitment, tenant, key_id, owners, sealed, idx, created_at"""
    owner_rows: list[tuple[str, str]] = field(default_factory=list)
    """commitment, key_id: of values with several owners"""
    key_rows: list[tuple[str, str, str, str, bytes, float]] = field(default_factory=list)
    """key_id, tenant, subject, bucket, wrapped, created_at"""
    bucket_rows: list[BucketRow] = field(default_factory=list)
    """of slots that had none"""
    buckets: Buckets | None = None
    """with those"""
    fresh: dict[Subject, DataKey] = field(default_factory=dict)


class Sealer:
    """Seals in the writer. Belongs to one thread.

    What it remembers of a commit enters its caches only by :meth:`remember`, after the commit: a key whose row was
    rolled back must never seal anything.
    """

    def __init__(self, epochs: EpochKeys, dialect: Dialect) -> None:
        self._epochs = epochs
        self._arrays = dialect.name == "postgresql"
        self._buckets: Buckets | None = None
        """To be read before the next use."""
        self._keys: OrderedDict[Subject, DataKey] = OrderedDict()
        self._stored: OrderedDict[str, None] = OrderedDict()

    def seal(
        self,
        driver: Driver,
        values: Iterable[tuple[str, Committed, int]],
        now: float,
        namings: Sequence[Naming] = (),
    ) -> Sealed:
        """Rows for every ``(tenant, committed, log index)`` that is not stored yet, and for every name.

        Raises:
            SealBroken: the epoch keys cannot be used.
        """
        wanted: dict[str, tuple[str, Committed, int]] = {}
        for one in values:
            if one[1].commitment not in self._stored:
                wanted.setdefault(one[1].commitment, one)
        sealed = Sealed()
        if not wanted and not namings:
            return sealed
        buckets = sealed.buckets = self._buckets or self._enter_epoch(driver, sealed, now)
        for named in namings:
            whose = (named.tenant, named.subject)
            sealed.key_rows.append(_key_row(buckets, whose, named.key_id, os.urandom(KEY_BYTES), now))
        owners = {(tenant, name) for tenant, committed, _ in wanted.values() for name in committed.subjects}
        self._look_up(driver, buckets, owners, now)
        for commitment, (tenant, committed, index) in wanted.items():
            keys = [self._key(sealed, buckets, (tenant, name), now) for name in committed.subjects]
            if len(keys) > 1:
                sealed.owner_rows.extend((commitment, key.key_id) for key in keys)
            nonce = random_16_bytes()[:NONCE_BYTES]
            plain = committed.salt + committed.value
            blob = nonce + joint(keys).encrypt(nonce, plain, commitment.encode("ascii"))
            sealed.payload_rows.append((commitment, tenant, keys[0].key_id, len(keys), blob, index, now))
        return sealed

    def taken(self, driver: Driver, namings: Sequence[Naming]) -> set[Naming]:
        """Those of ``namings`` whose name is somebody's already, or would be by an earlier one of them. Exact while the
        log's head is locked: whoever names holds that lock.

        Raises:
            SealBroken: the epoch keys cannot be used.
        """
        if not namings:
            return set()
        buckets = self._buckets or self._known_buckets(driver)[1]
        names = {(one.tenant, one.subject) for one in namings}
        tags = {
            (name, tenant, tag): (tenant, subject)
            for tenant, subject in names
            for (name, tag) in buckets.tags(tenant, [subject])
        }
        rows = self._tagged(driver, [tag for _, _, tag in tags], 0.0) if tags else []
        used = {tags.get((row[3], row[0], row[1])) for row in rows}
        found = set()
        for one in namings:
            if (one.tenant, one.subject) in used:
                found.add(one)
            used.add((one.tenant, one.subject))
        return found

    def remember(self, sealed: Sealed) -> None:
        """Take the outcome of a durable commit into the caches."""
        for row in sealed.payload_rows:
            self._stored[row[0]] = None
        self._keys.update(sealed.fresh)
        if sealed.buckets is not None:
            self._buckets = sealed.buckets
        while len(self._stored) > _CACHE:
            self._stored.popitem(last=False)
        while len(self._keys) > _CACHE:
            self._keys.popitem(last=False)

    def forget(self) -> None:
        """Use no key that is in memory: keys were erased, or an epoch was begun. What was stored may be gone, too."""
        self._buckets = None
        self._keys.clear()
        self._stored.clear()

    def _enter_epoch(self, driver: Driver, sealed: Sealed, now: float) -> Buckets:
        """The buckets of the newest epoch that the database knows of, or nothing at all: an older one may be destroyed
        soon. Slots that have none are given one."""
        rows, buckets = self._known_buckets(driver)
        if buckets.missing:
            sealed.bucket_rows = make(buckets.missing, every_epoch(self._epochs)[-1], now)
            buckets = Buckets.of(self._epochs, [*rows, *sealed.bucket_rows])
        return buckets

    def _known_buckets(self, driver: Driver) -> tuple[list[BucketRow], Buckets]:
        """Rows and keys that fit each other. Raises ``SealBroken``."""
        for _ in range(_LOOKS):
            known = driver.fetch(_NEWEST_EPOCH)[0][0]
            newest = every_epoch(self._epochs)[-1]
            if known is not None and known > newest.name:
                raise SealBroken(
                    f"epoch {known} is in the database and its key is not here: gateways that share a database share "
                    "the directory of epoch keys"
                )
            before = self._epochs.names()
            rows = [BucketRow(*row) for row in driver.fetch(BUCKETS)]
            buckets = Buckets.of(self._epochs, rows)
            if self._epochs.names() == before:
                return rows, buckets  # or a key was destroyed meanwhile, and what it wrapped is under the next one
        raise SealBroken("the epoch keys change all the time")

    def _look_up(self, driver: Driver, buckets: Buckets, subjects: set[Subject], now: float) -> None:
        """Find the data keys of subjects that this process does not know, in one query."""
        for subject in subjects:
            known = self._keys.get(subject)
            if known is not None and known.made_at <= now - SEALING_SECONDS:
                del self._keys[subject]
        unknown = [subject for subject in subjects if subject not in self._keys]
        if not unknown:
            return
        tags = {
            (bucket.name, subject[0], bucket.tag(subject)): subject
            for subject in unknown
            for bucket in buckets.of_subject(subject)
        }
        for tenant, tag, key_id, name, wrapped, made_at in self._tagged(
            driver, [tag for _, _, tag in tags], now - SEALING_SECONDS
        ):
            found = tags.get((name, tenant, tag))
            if found is None:
                continue
            key, whose = buckets.by_name[name].unwrap(key_id, wrapped)
            if whose != found[1]:
                raise SealBroken(f"data key {key_id} belongs to another subject")
            known = self._keys.get(found)
            if known is None or known.made_at < made_at:
                self._keys[found] = DataKey(key_id, key, AESGCM(key), made_at)

    def _tagged(self, driver: Driver, tags: list[str], oldest: float) -> list[Any]:
        if self._arrays:
            return driver.fetch(_KEYS_OF_SUBJECTS + "created_at > %s AND subject = ANY(%s)", (oldest, tags))
        marks = ", ".join(["?"] * len(tags))
        return driver.fetch(_KEYS_OF_SUBJECTS + f"created_at > ? AND subject IN ({marks})", (oldest, *tags))

    def _key(self, sealed: Sealed, buckets: Buckets, subject: Subject, now: float) -> DataKey:
        found = self._keys.get(subject)
        if found is not None:
            self._keys.move_to_end(subject)
            return found
        found = sealed.fresh.get(subject)
        if found is None:
            block = os.urandom(KEY_BYTES + 16)
            key, key_id = block[:KEY_BYTES], block[KEY_BYTES:].hex()
            sealed.key_rows.append(_key_row(buckets, subject, key_id, key, now))
            found = sealed.fresh[subject] = DataKey(key_id, key, AESGCM(key), now)
        return found


def _key_row(
    buckets: Buckets, subject: Subject, key_id: str, key: bytes, now: float
) -> tuple[str, str, str, str, bytes, float]:
    """The row of a new data key, in the subject's newest bucket."""
    bucket = buckets.of_subject(subject)[-1]
    return (key_id, subject[0], bucket.tag(subject), bucket.name, bucket.wrap(key_id, key, subject[1]), now)


def joint(keys: Sequence[DataKey]) -> AESGCM:
    """The key of a value that concerns the subjects of ``keys``: HKDF-SHA256 (RFC 5869) over all of them, in the order
    of their ids, where there are several."""
    if len(keys) == 1:
        return keys[0].cipher
    ordered = sorted(keys, key=lambda key: key.key_id)
    info = b"handrail shared value" + "".join(key.key_id for key in ordered).encode("ascii")
    derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(b"".join(key.raw for key in ordered))
    return AESGCM(derived)
