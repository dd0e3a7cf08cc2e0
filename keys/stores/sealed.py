"""Sealed records of keys: one document for each key, wherever documents are kept.

A document is ``{v, kid, purpose, nonce, sealed}``. ``sealed`` is AES-256-GCM under a key derived from the data root,
with version, kid and purpose as associated data, over record *and* private half (or what finds it): neither the state
of a key nor its name can be changed without the root. What a seal cannot show is an *older* document that somebody put
back whole; the log can (:data:`Revoked`).
"""

import secrets
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any, Final, Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.errors import Refused
from gateway.ports import Purpose
from keys import algorithms
from keys.errors import SealBroken
from keys.rotation import KeyRecord, KeyState
from keys.stores import StoredKey
from keys.stores.halves import ByPurpose, Enclosed, Sign
from keys.stores.root import Derives

VERSION: Final = 1
DOCUMENT_MAX_BYTES: Final = 8192
LOCK_WAIT_SECONDS: Final = 5.0
"""A hung process must not hang the others."""
_LABEL: Final = "handrail keys/file v1"
_MEMBERS: Final = frozenset({"v", "kid", "purpose", "nonce", "sealed"})

Revoked = Callable[[], Collection[tuple[str, str]]]
"""Purpose and kid of the keys that the log says are revoked. The log only grows, so a document that does not know of it
is an older one."""

Kept = tuple[str, str]
"""What a record holds of its private half: kind, and what finds it."""


def nothing_known() -> Collection[tuple[str, str]]:
    """For a store that is read beside no log."""
    return ()


class Medium(Protocol):
    """Where documents lie. Methods raise ``KeyUnavailable``; :meth:`write` is called under :meth:`lock` only."""

    def lock(self) -> AbstractContextManager[None]:
        """See ``KeyStore.lock``."""

    def version(self) -> Hashable:
        """See ``KeyStore.version``."""

    def read_all(self) -> Sequence[tuple[str, bytes]]:
        """Kid and document of every key, in the order of the kids. Raises ``SealBroken`` for what is no document."""

    def read(self, kid: str) -> bytes:
        """The document of a key."""

    def write(self, kid: str, document: bytes) -> None:
        """Make or replace the document of a key: durable, all or nothing."""

    def place(self, kid: str) -> str:
        """Where the document of a key is, for people."""


class SealedKeyStore:
    """A ``KeyStore`` of sealed records on a medium, private halves wherever ``halves`` keeps them."""

    def __init__(
        self, medium: Medium, root: Derives, halves: ByPurpose | None = None, revoked: Revoked = nothing_known
    ) -> None:
        self._medium = medium
        self._aead = AESGCM(root.derive(_LABEL))
        self._halves = ByPurpose() if halves is None else halves
        self._revoked = revoked

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See ``KeyStore.lock``. Gives up after five seconds."""
        with self._medium.lock():
            if self._halves.elsewhere:
                self._complete()
            yield

    def version(self) -> Hashable:
        """See ``KeyStore.version``."""
        return self._medium.version()

    def load(self) -> Sequence[StoredKey]:
        """See ``KeyStore.load``. Raises :class:`SealBroken` naming what is changed, moved, older or not ours."""
        # What the log says is read before the documents, so that no document is older than it.
        revoked = frozenset(self._revoked())
        found = []
        for kid, document in self._medium.read_all():
            record, kept = self._unseal(kid, document)
            if (str(record.purpose), kid) in revoked and record.state is not KeyState.REVOKED:
                place = self._medium.place(kid)
                raise SealBroken(f"{place}: an older copy was put back; the log says that this key was revoked")
            sign = None if kept is None or not record.state.private else self._sign(record, kept)
            found.append(StoredKey(record, sign))
        return found

    def create(self, purpose: Purpose, now: float) -> StoredKey:
        """See ``KeyStore.create``."""
        halves = self._halves.of(purpose)
        half = halves.make(purpose)
        kid, x = algorithms.name(purpose, half.public)
        record = KeyRecord(kid, purpose, x, KeyState.NEXT, created_at=now)
        self._write(record, (halves.kind, half.kept))
        return StoredKey(record, half.sign)

    def update(self, record: KeyRecord) -> None:
        """See ``KeyStore.update``."""
        before, kept = self._unseal(record.kid, self._medium.read(record.kid))
        if (before.purpose, before.x) != (record.purpose, record.x):
            raise SealBroken(f"{record.kid}: a record does not change its key or purpose")
        if record.state.private:
            if kept is None or not before.state.private:
                raise SealBroken(f"{record.kid}: its private half is destroyed; a key that is done stays so")
            self._write(record, kept)
            return
        if kept is not None and kept[0] != Enclosed.kind:
            # The record first, with what finds the half: a stop before the half is destroyed leaves a key that nobody
            # uses, and whoever takes the lock next completes the destruction.
            self._write(record, kept)
            self._halves.named(kept[0]).destroy(kept[1])
        self._write(record, None)

    def _complete(self) -> None:
        for kid, document in self._medium.read_all():
            record, kept = self._unseal(kid, document)
            if kept is not None and not record.state.private:
                self._halves.named(kept[0]).destroy(kept[1])
                self._write(record, None)

    def _sign(self, record: KeyRecord, kept: Kept) -> Sign:
        kind, half = kept
        try:
            return self._halves.named(kind).use(record, half)
        except (Refused, TypeError, ValueError) as exc:
            place = self._medium.place(record.kid)
            raise SealBroken(f"{place}: unreadable ({type(exc).__name__}: {exc})") from None

    def _unseal(self, kid: str, raw: bytes) -> tuple[KeyRecord, Kept | None]:
        place = self._medium.place(kid)
        try:
            document = parse(raw)
            if not isinstance(document, dict) or document.keys() != _MEMBERS:
                raise SealBroken(f"{place}: not a sealed key")
            if document["v"] is True or document["v"] != VERSION or document["kid"] != kid:
                raise SealBroken(f"{place}: another version, or the document of another key")
            plain = self._aead.decrypt(
                b64url_decode(document["nonce"]), b64url_decode(document["sealed"]), _bound(kid, document["purpose"])
            )
            return self._revive(kid, document["purpose"], parse(plain))
        except InvalidTag:
            raise SealBroken(f"{place}: changed, moved, or sealed under another root") from None
        except (Refused, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SealBroken(f"{place}: unreadable ({type(exc).__name__}: {exc})") from None

    def _revive(self, kid: str, purpose: str, plain: Mapping[str, Any]) -> tuple[KeyRecord, Kept | None]:
        members = plain["record"]
        record = KeyRecord(**{**members, "purpose": Purpose(members["purpose"]), "state": KeyState(members["state"])})
        if (record.kid, record.purpose) != (kid, purpose) or algorithms.name(record.purpose, b64url_decode(record.x))[
            0
        ] != kid:
            raise ValueError("the record is another key's")
        if plain["half"] is None:
            if record.state.private:
                raise ValueError("the private half is gone")
            return record, None
        kind, half = plain["half"]
        return record, (str(kind), str(half))

    def _write(self, record: KeyRecord, kept: Kept | None) -> None:
        plain = {"record": asdict(record), "half": kept}
        nonce = secrets.token_bytes(12)
        document = {
            "v": VERSION,
            "kid": record.kid,
            "purpose": record.purpose,
            "nonce": b64url_encode(nonce),
            "sealed": b64url_encode(self._aead.encrypt(nonce, orjson.dumps(plain), _bound(record.kid, record.purpose))),
        }
        self._medium.write(record.kid, orjson.dumps(document))


def _bound(kid: str, purpose: str) -> bytes:
    """Associated data: which key for which use this is, in which format."""
    return orjson.dumps(["handrail key", VERSION, kid, str(purpose)])
