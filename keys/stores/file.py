"""Keys in a directory: one sealed file each, ``<kid>.json``.

A file is ``{v, kid, purpose, nonce, sealed}``. ``sealed`` is AES-256-GCM under a key derived from the master key, with
version, kid and purpose as associated data, over record *and* private key: neither the state of a key nor its name
can be changed without the master key. What it cannot show is an *older* file put back whole by somebody who can write
here; that the state of a revoked key is also in the audit log is the answer to that.
"""

import fcntl
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.errors import Refused
from gateway.files import make_directory, write
from gateway.ports import Purpose
from keys import jwk
from keys.errors import KeyUnavailable, SealBroken
from keys.rotation import KeyRecord, KeyState
from keys.stores import StoredKey
from keys.stores.master import MasterKey

__all__ = ["FileKeyStore", "MasterKey"]

VERSION: Final = 1
FILE_MAX_BYTES: Final = 8192
LOCK_WAIT_SECONDS: Final = 5.0
_LABEL: Final = "handrail keys/file v1"
_NAME: Final = re.compile(r"([A-Za-z0-9_-]{43})\.json")
_TEMPORARY: Final = re.compile(r"\.[A-Za-z0-9_-]{43}\.json\.[0-9a-f]{16}")
"""What ``gateway.files`` writes before it has its name."""
_LOCK: Final = ".lock"


class FileKeyStore:
    """A directory of sealed keys (mode 0700), safe for several processes on one machine."""

    def __init__(self, directory: Path, master: MasterKey) -> None:
        self._directory = directory
        self._aead = AESGCM(master.derive(_LABEL))
        self._thread_lock = threading.Lock()
        try:
            make_directory(directory)
            status = directory.stat()
        except OSError as exc:
            raise KeyUnavailable(f"{directory}: {exc.strerror}") from None
        if status.st_mode & 0o077:
            raise KeyUnavailable(f"{directory}: mode {stat.S_IMODE(status.st_mode):04o} is open to others; chmod 700")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See ``KeyStore.lock``. Gives up after five seconds: a hung process must not hang the others."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        if not self._thread_lock.acquire(timeout=LOCK_WAIT_SECONDS):
            raise KeyUnavailable("another thread keeps the keys locked")
        try:
            descriptor = self._open_lock()
            try:
                self._wait(descriptor, deadline)
                self._sweep()
                yield
            finally:
                os.close(descriptor)
        finally:
            self._thread_lock.release()

    def version(self) -> Hashable:
        """See ``KeyStore.version``: name, inode, size and change time of each key's file."""
        try:
            with os.scandir(self._directory) as entries:
                return frozenset(
                    (entry.name, status.st_ino, status.st_size, status.st_ctime_ns)
                    for entry in entries
                    if entry.name.endswith(".json")
                    for status in (entry.stat(follow_symlinks=False),)
                )
        except FileNotFoundError:
            # A file was replaced between listing and looking: differs from everything, so the caller looks again.
            return object()
        except OSError as exc:
            raise KeyUnavailable(f"{self._directory}: {exc.strerror}") from None

    def load(self) -> Sequence[StoredKey]:
        """See ``KeyStore.load``. Raises :class:`SealBroken` naming a file that is changed, moved or not ours."""
        try:
            names = sorted(os.listdir(self._directory))  # noqa: PTH208 - names are judged, not opened as paths
        except OSError as exc:
            raise KeyUnavailable(f"{self._directory}: {exc.strerror}") from None
        found = []
        for name in names:
            if name == _LOCK or _TEMPORARY.fullmatch(name):
                continue
            if (match := _NAME.fullmatch(name)) is None:
                raise SealBroken(f"{self._directory / name}: not a key file; nothing else belongs here")
            found.append(self._read(match[1]))
        return found

    def create(self, purpose: Purpose, now: float) -> StoredKey:
        """See ``KeyStore.create``."""
        private = Ed25519PrivateKey.generate()
        public = jwk.from_raw(private.public_key().public_bytes_raw())
        record = KeyRecord(public.kid, purpose, public.x, KeyState.NEXT, created_at=now)
        self._write(record, private)
        return StoredKey(record, private.sign)

    def update(self, record: KeyRecord) -> None:
        """See ``KeyStore.update``."""
        before, private = self._unseal(record.kid)
        if (before.purpose, before.x) != (record.purpose, record.x):
            raise SealBroken(f"{record.kid}: a record does not change its key or purpose")
        self._write(record, private if record.state.private else None)

    def _open_lock(self) -> int:
        try:
            return os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise KeyUnavailable(f"{self._directory / _LOCK}: {exc.strerror}") from None

    @staticmethod
    def _wait(descriptor: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise KeyUnavailable("another process keeps the keys locked") from None
                time.sleep(0.02)
            else:
                return

    def _sweep(self) -> None:
        """Remove what a process left that stopped before its rename. Only the holder of the lock writes."""
        try:
            for path in self._directory.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()
        except OSError as exc:
            raise KeyUnavailable(f"{self._directory}: {exc.strerror}") from None

    def _read(self, kid: str) -> StoredKey:
        record, private = self._unseal(kid)
        return StoredKey(record, None if private is None else private.sign)

    def _unseal(self, kid: str) -> tuple[KeyRecord, Ed25519PrivateKey | None]:
        path = self._directory / f"{kid}.json"
        try:
            document = parse(_bytes(path))
            if not isinstance(document, dict) or document.keys() != {"v", "kid", "purpose", "nonce", "sealed"}:
                raise SealBroken(f"{path}: not a sealed key")
            if document["v"] is True or document["v"] != VERSION or document["kid"] != kid:
                raise SealBroken(f"{path}: another version, or the file of another key")
            plain = self._aead.decrypt(
                b64url_decode(document["nonce"]), b64url_decode(document["sealed"]), _bound(kid, document["purpose"])
            )
            return _revive(kid, document["purpose"], parse(plain))
        except InvalidTag:
            raise SealBroken(f"{path}: changed, moved, or sealed under another master key") from None
        except (Refused, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SealBroken(f"{path}: unreadable ({type(exc).__name__})") from None
        except OSError as exc:
            raise KeyUnavailable(f"{path}: {exc.strerror}") from None

    def _write(self, record: KeyRecord, private: Ed25519PrivateKey | None) -> None:
        plain = {"record": asdict(record), "d": None if private is None else b64url_encode(private.private_bytes_raw())}
        nonce = secrets.token_bytes(12)
        sealed = self._aead.encrypt(nonce, orjson.dumps(plain), _bound(record.kid, record.purpose))
        document = orjson.dumps(
            {
                "v": VERSION,
                "kid": record.kid,
                "purpose": record.purpose,
                "nonce": b64url_encode(nonce),
                "sealed": b64url_encode(sealed),
            }
        )
        path = self._directory / f"{record.kid}.json"
        try:
            write(path, document, replace=True)
        except OSError as exc:
            raise KeyUnavailable(f"{path}: {exc.strerror}") from None


def _bound(kid: str, purpose: str) -> bytes:
    """Associated data: which key for which use this is, in which format."""
    return orjson.dumps(["handrail key", VERSION, kid, str(purpose)])


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_MAX_BYTES:
            raise SealBroken(f"{path}: not a key file")
        if status.st_mode & 0o077:
            raise KeyUnavailable(f"{path}: mode {stat.S_IMODE(status.st_mode):04o} is open to others; chmod 600")
        return opened.read(FILE_MAX_BYTES)


def _revive(kid: str, purpose: str, plain: Mapping[str, Any]) -> tuple[KeyRecord, Ed25519PrivateKey | None]:
    members = plain["record"]
    record = KeyRecord(**{**members, "purpose": Purpose(members["purpose"]), "state": KeyState(members["state"])})
    if (record.kid, record.purpose) != (kid, purpose) or jwk.public(
        {"kty": "OKP", "crv": "Ed25519", "x": record.x}
    ).kid != kid:
        raise ValueError("the record is another key's")
    if plain["d"] is None:
        if record.state.private:
            raise ValueError("the private half is gone")
        return record, None
    private = Ed25519PrivateKey.from_private_bytes(b64url_decode(plain["d"]))
    if b64url_encode(private.public_key().public_bytes_raw()) != record.x:
        raise ValueError("the halves do not match")
    return record, private
