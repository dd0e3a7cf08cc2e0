"""Epoch keys: they wrap the data keys of the side table, and live outside the database and its backups.

Destroying an epoch key makes everything sealed beneath it unreadable, in every backup and dead tuple. Gateways that
share a database share this directory; what each remembers of it is forgotten when the log says so
(``gateway.entries.FORGETTING``).
"""

import contextlib
import fcntl
import hmac
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import SealBroken
from gateway.files import make_directory, sync_directory, write

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_SUFFIX: Final = ".epoch"
_DOOMED: Final = ".destroyed"
"""A key that is being destroyed: no process takes it for one any more, whatever happens to whoever destroys it."""
_TURN: Final = "turn.lock"
_NAMES: Final = "names.lock"


class EpochKeys:
    """Files ``<epoch>.epoch`` (mode 0600) in one directory, each ``nonce || AES-256-GCM(key)`` under one key.

    An epoch's name is ``<8 digits>-<16 hex>``: the number orders them, the rest keeps two directories that began
    apart from meaning different keys by one name. Thread-safe. Nothing is read or made before the first use.

    Args:
        directory: made at first use, mode 0700.
        key: 32 bytes, derived from the data root.
    """

    def __init__(self, directory: Path, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealBroken("the key of epoch keys must be 32 bytes")
        self._directory = directory
        self._aead = AESGCM(key)
        self._slots = hmac.digest(key, b"handrail key slots", "sha256")
        self._keys: dict[str, bytes] = {}
        self._current: str | None = None
        self._lock = threading.Lock()

    def current(self) -> tuple[str, bytes]:
        """Name and 32-byte key of the newest epoch; the first call ever makes one.

        Raises:
            SealBroken: the directory or a file cannot be used.
        """
        with self._lock:
            if self._current is None:
                names = self._names()
                self._current = names[-1] if names else self._create(1)
            return self._current, self._read(self._current)

    def get(self, epoch: str) -> bytes | None:
        """The key of ``epoch``, or ``None`` where it was destroyed (or never was here).

        Raises:
            SealBroken: its file is there but is not what was written.
        """
        with self._lock:
            if epoch not in self._keys and epoch not in self._names():
                return None
            try:
                return self._read(epoch)
            except SealBroken:
                if epoch not in self._names():
                    return None  # another process destroyed it between the two
                raise

    def names(self) -> list[str]:
        """Every epoch whose key is there, oldest first. Raises ``SealBroken``."""
        with self._lock:
            return self._names()

    def slot(self, subject: tuple[str, str]) -> int:
        """16 bits of a keyed hash of a data subject, the same in every epoch."""
        return int.from_bytes(hmac.digest(self._slots, "\0".join(subject).encode(), "sha256")[:2])

    def forget(self) -> None:
        """Read the directory anew at the next use: another process may have begun or destroyed an epoch."""
        with self._lock:
            self._keys.clear()
            self._current = None

    def rotate(self) -> str:
        """Begin a new epoch; data keys made from now on are wrapped by it."""
        with self._lock:
            names = self._names()
            self._current = self._create(int(names[-1].split("-")[0]) + 1 if names else 1)
            return self._current

    def destroy(self, epoch: str) -> None:
        """Overwrite and remove an epoch key: everything beneath it is erased. The current one cannot be destroyed.

        What an earlier call left half done, in this process or another, is completed.
        """
        with self._lock:
            if epoch not in self._names() or epoch == self._names()[-1]:
                raise SealBroken("no such epoch that may be destroyed")
            path = self._directory / (epoch + _SUFFIX)
            self._keys.pop(epoch, None)
            try:
                path.rename(path.with_suffix(_DOOMED))
                sync_directory(self._directory)
            except OSError as exc:
                raise SealBroken(f"epoch {epoch}: {exc.strerror}") from None
            self._sweep()

    def sweep(self) -> None:
        """Complete what a crash left of :meth:`destroy`. Raises ``SealBroken``."""
        with self._lock:
            self._sweep()

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this caller's turn to move keys, among all processes that share the directory."""
        with self._locked(_TURN) as mine:
            yield mine

    @contextlib.contextmanager
    def steady(self) -> Iterator[bool]:
        """Whether no epoch begins while the block lasts, in any process that shares the directory: within it, a data
        subject has the same keyed hashes at the end as at the start."""
        with self._locked(_NAMES) as mine:
            yield mine

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        """An advisory lock that dies with its holder. Not waited for: who does not get it comes again."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise SealBroken(f"epoch keys: {exc.strerror}") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            except OSError as exc:
                raise SealBroken(f"epoch keys: {exc.strerror}") from None
            else:
                yield True
        finally:
            os.close(descriptor)

    def _names(self) -> list[str]:
        try:
            return sorted(path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}"))
        except OSError as exc:
            raise SealBroken(f"epoch keys: {exc.strerror}") from None

    def _read(self, epoch: str) -> bytes:
        if epoch not in self._keys:
            try:
                raw = (self._directory / (epoch + _SUFFIX)).read_bytes()
                self._keys[epoch] = self._aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _aad(epoch))
            except OSError as exc:
                raise SealBroken(f"epoch {epoch}: {exc.strerror}") from None
            except (InvalidTag, ValueError):
                raise SealBroken(f"epoch {epoch}: not sealed under this data root") from None
        return self._keys[epoch]

    def _create(self, number: int) -> str:
        """Write a key so that it is durable before anything is wrapped by it, and never half there."""
        epoch = f"{number:08d}-{secrets.token_hex(8)}"
        nonce = secrets.token_bytes(NONCE_BYTES)
        raw = nonce + self._aead.encrypt(nonce, secrets.token_bytes(KEY_BYTES), _aad(epoch))
        try:
            make_directory(self._directory)
            write(self._directory / (epoch + _SUFFIX), raw, replace=True)
        except OSError as exc:
            raise SealBroken(f"epoch keys: {exc.strerror}") from None
        return epoch

    def _sweep(self) -> None:
        try:
            for path in self._directory.glob(f"*{_DOOMED}"):
                with path.open("r+b") as file:
                    file.write(secrets.token_bytes(path.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
            sync_directory(self._directory)
        except OSError as exc:
            raise SealBroken(f"epoch keys: {exc.strerror}") from None


def _aad(epoch: str) -> bytes:
    return b"handrail epoch key " + epoch.encode("ascii")
