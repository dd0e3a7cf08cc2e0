"""Keys in a directory: one sealed document each (:mod:`keys.stores.sealed`), ``<kid>.json``."""

import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.files import make_directory, write
from keys.errors import KeyStoreAway, KeyUnavailable, SealBroken
from keys.stores.halves import ByPurpose
from keys.stores.private_files import read_own
from keys.stores.root import Derives
from keys.stores.sealed import DOCUMENT_MAX_BYTES, LOCK_WAIT_SECONDS, Revoked, SealedKeyStore, nothing_known

_NAME: Final = re.compile(r"([A-Za-z0-9_-]{43})\.json")
_TEMPORARY: Final = re.compile(r"\.[A-Za-z0-9_-]{43}\.json\.[0-9a-f]{16}")
"""What ``gateway.files`` writes before it has its name."""
_LOCK: Final = ".lock"


class FileKeyStore(SealedKeyStore):
    """A directory of sealed keys (mode 0700), safe for several processes on one machine."""

    def __init__(
        self, directory: Path, root: Derives, halves: ByPurpose | None = None, revoked: Revoked = nothing_known
    ) -> None:
        super().__init__(Files(directory), root, halves, revoked)


class Files:
    """Documents as files; a ``Medium``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
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
        """See ``KeyStore.lock``."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        if not self._thread_lock.acquire(timeout=LOCK_WAIT_SECONDS):
            raise KeyStoreAway("another thread keeps the keys locked")
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
        except FileNotFoundError as exc:
            if not self._directory.is_dir():
                raise KeyUnavailable(f"{self._directory}: {exc.strerror}") from None
            # A file was replaced between listing and looking: differs from everything, so the caller looks again.
            return object()
        except OSError as exc:
            raise KeyUnavailable(f"{self._directory}: {exc.strerror}") from None

    def read_all(self) -> Sequence[tuple[str, bytes]]:
        """See ``Medium.read_all``."""
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
            found.append((match[1], self.read(match[1])))
        return found

    def read(self, kid: str) -> bytes:
        """See ``Medium.read``."""
        return read_own(self._path(kid), DOCUMENT_MAX_BYTES, "key file")

    def write(self, kid: str, document: bytes) -> None:
        """See ``Medium.write``."""
        path = self._path(kid)
        try:
            write(path, document, replace=True)
        except OSError as exc:
            raise KeyUnavailable(f"{path}: {exc.strerror}") from None

    def place(self, kid: str) -> str:
        """See ``Medium.place``."""
        return str(self._path(kid))

    def _path(self, kid: str) -> Path:
        return self._directory / f"{kid}.json"

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
                    raise KeyStoreAway("another process keeps the keys locked") from None
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
