"""The erasable side table: values and salts, sealed under one data key per data subject.

``sealed = nonce || AES-256-GCM(data key, salt || value, AAD = commitment)``; the data key and the subject's name are
wrapped by an epoch key (:mod:`audit.epochs`). A row names its subject only by a keyed hash, so that a dead tuple or a
backup says nothing once the epoch key is gone.
"""

import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Dialect, bindparam, select

from audit.driver import Driver
from audit.epochs import KEY_BYTES, NONCE_BYTES, EpochKeys
from audit.errors import SealBroken
from audit.tables import data_keys, payloads
from gateway.model import Committed
from gateway.randomness import random_16_bytes

SALT_BYTES: Final = 16
_CACHE: Final = 4096
"""Data keys and stored commitments remembered; older ones are read again."""

_KEYS_OF_SUBJECTS: Final = f"SELECT tenant, subject, key_id, wrapped FROM {data_keys.name} WHERE "  # noqa: S608
_PAYLOADS: Final = (
    select(payloads.c.commitment, payloads.c.sealed, data_keys.c.key_id, data_keys.c.epoch, data_keys.c.wrapped)
    .join_from(payloads, data_keys, payloads.c.key_id == data_keys.c.key_id)
    .where(payloads.c.commitment.in_(bindparam("commitments", expanding=True)))
)

Subject = tuple[str, str]
"""``(tenant, subject)``."""


@dataclass(slots=True)
class Sealed:
    """Rows for one commit, and what to remember once it is durable."""

    payload_rows: list[tuple[str, str, str, bytes, float]] = field(default_factory=list)
    """commitment, tenant, key_id, sealed, created_at"""
    key_rows: list[tuple[str, str, str, str, bytes]] = field(default_factory=list)
    """key_id, tenant, subject, epoch, wrapped"""
    fresh: dict[Subject, tuple[str, AESGCM]] = field(default_factory=dict)


class Sealer:
    """Seals in the writer. Belongs to one thread.

    What it remembers of a commit enters its caches only by :meth:`remember`, after the commit: a key whose row was
    rolled back must never seal anything.
    """

    def __init__(self, epochs: EpochKeys, dialect: Dialect) -> None:
        self._epochs = epochs
        self._arrays = dialect.name == "postgresql"
        self._epoch = ""
        self._wrapper = AESGCM(bytes(KEY_BYTES))
        self._tag_key = b""
        self._keys: OrderedDict[Subject, tuple[str, AESGCM]] = OrderedDict()
        self._stored: OrderedDict[str, None] = OrderedDict()

    def seal(self, driver: Driver, values: Iterable[tuple[str, Committed]], now: float) -> Sealed:
        """Rows for every ``(tenant, committed)`` that is not stored yet.

        Raises:
            SealBroken: the epoch keys cannot be used.
        """
        wanted = {
            committed.commitment: (tenant, committed)
            for tenant, committed in values
            if committed.commitment not in self._stored
        }
        sealed = Sealed()
        if not wanted:
            return sealed
        self._enter_epoch()
        self._look_up(driver, {(tenant, committed.subject) for tenant, committed in wanted.values()})
        for commitment, (tenant, committed) in wanted.items():
            key_id, key = self._key(sealed, (tenant, committed.subject))
            nonce = random_16_bytes()[:NONCE_BYTES]
            blob = nonce + key.encrypt(nonce, committed.salt + committed.value, commitment.encode("ascii"))
            sealed.payload_rows.append((commitment, tenant, key_id, blob, now))
        return sealed

    def remember(self, sealed: Sealed) -> None:
        """Take the outcome of a durable commit into the caches."""
        for row in sealed.payload_rows:
            self._stored[row[0]] = None
        self._keys.update(sealed.fresh)
        while len(self._stored) > _CACHE:
            self._stored.popitem(last=False)
        while len(self._keys) > _CACHE:
            self._keys.popitem(last=False)

    def _enter_epoch(self) -> None:
        epoch, key = self._epochs.current()
        if epoch != self._epoch:
            self._epoch, self._wrapper = epoch, AESGCM(key)
            self._tag_key = hmac.digest(key, b"handrail subject tag", "sha256")
            self._keys.clear()

    def _tag(self, subject: Subject) -> str:
        return hmac.digest(self._tag_key, "\0".join(subject).encode(), "sha256").hex()

    def _look_up(self, driver: Driver, subjects: set[Subject]) -> None:
        """Find the data keys of subjects that this process does not know, in one query."""
        unknown = {(subject[0], self._tag(subject)): subject for subject in subjects if subject not in self._keys}
        if not unknown:
            return
        for tenant, tag, key_id, wrapped in self._stored_keys(driver, [tag for _, tag in unknown]):
            subject = unknown.get((tenant, tag))
            if subject is not None:
                key, name = _unwrap(self._wrapper, key_id, wrapped)
                if name != subject[1]:
                    raise SealBroken(f"data key {key_id} belongs to another subject")
                self._keys[subject] = (key_id, AESGCM(key))

    def _stored_keys(self, driver: Driver, tags: list[str]) -> list[Any]:
        if self._arrays:
            return driver.fetch(_KEYS_OF_SUBJECTS + "epoch = %s AND subject = ANY(%s)", (self._epoch, tags))
        marks = ", ".join(["?"] * len(tags))
        return driver.fetch(_KEYS_OF_SUBJECTS + f"epoch = ? AND subject IN ({marks})", (self._epoch, *tags))

    def _key(self, sealed: Sealed, subject: Subject) -> tuple[str, AESGCM]:
        found = self._keys.get(subject)
        if found is not None:
            self._keys.move_to_end(subject)
            return found
        found = sealed.fresh.get(subject)
        if found is None:
            block = os.urandom(KEY_BYTES + 16 + NONCE_BYTES)
            key, key_id, nonce = block[:KEY_BYTES], block[KEY_BYTES:-NONCE_BYTES].hex(), block[-NONCE_BYTES:]
            wrapped = nonce + self._wrapper.encrypt(nonce, key + subject[1].encode(), key_id.encode("ascii"))
            sealed.key_rows.append((key_id, subject[0], self._tag(subject), self._epoch, wrapped))
            found = sealed.fresh[subject] = (key_id, AESGCM(key))
        return found


class Opener:
    """Opens sealed payloads. Thread-safe."""

    def __init__(self, epochs: EpochKeys) -> None:
        self._epochs = epochs
        self._keys: OrderedDict[str, AESGCM] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, connection: Connection, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value) for those whose payload, data key and epoch key still exist.

        Raises:
            SealBroken: a stored payload is not what was sealed.
        """
        if not commitments:
            return {}
        rows = connection.execute(_PAYLOADS, {"commitments": list(commitments)}).all()
        opened = {}
        for commitment, sealed, key_id, epoch, wrapped in rows:
            key = self.key(key_id, epoch, wrapped)
            if key is not None:
                opened[commitment] = unseal(key, commitment, sealed)
        return opened

    def key(self, key_id: str, epoch: str, wrapped: bytes) -> AESGCM | None:
        """The data key of a row, or ``None`` where its epoch key was destroyed."""
        with self._lock:
            found = self._keys.get(key_id)
            if found is None:
                epoch_key = self._epochs.get(epoch)
                if epoch_key is None:
                    return None
                found = self._keys[key_id] = AESGCM(_unwrap(AESGCM(epoch_key), key_id, wrapped)[0])
                while len(self._keys) > _CACHE:
                    self._keys.popitem(last=False)
            return found


def unseal(key: AESGCM, commitment: str, sealed: bytes) -> tuple[bytes, bytes]:
    """(salt, value) of a payload.

    Raises:
        SealBroken: the blob is not sealed by ``key`` for ``commitment``, or does not open the commitment.
    """
    try:
        plain = key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], commitment.encode("ascii"))
    except (InvalidTag, ValueError):
        raise SealBroken(f"payload {commitment} does not open") from None
    if hashlib.sha256(plain).hexdigest() != commitment:
        raise SealBroken(f"payload {commitment} does not match its commitment")
    return plain[:SALT_BYTES], plain[SALT_BYTES:]


def _unwrap(wrapper: AESGCM, key_id: str, wrapped: bytes) -> tuple[bytes, str]:
    try:
        plain = wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], key_id.encode("ascii"))
    except (InvalidTag, ValueError):
        raise SealBroken(f"data key {key_id} does not unwrap") from None
    return plain[:KEY_BYTES], plain[KEY_BYTES:].decode()
