"""A real witness, as a process of its own: torchwood's litewitness, whose key lies in a real ssh-agent."""

import asyncio
import base64
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from audit.cosignature import WitnessKey
from tests import services
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.until import until

EMPTY_ROOT = base64.b64encode(hashlib.sha256(b"").digest()).decode()
_VKEY = re.compile(r"^\S+\+[0-9a-f]{8}\+\S+$", re.MULTILINE)


class LiteWitness:
    """One running witness.

    Attributes:
        vkey: as its own page shows it.
    """

    def __init__(self, name: str, directory: Path, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self._database = directory / "witness.db"
        self._vkey = ""

    @property
    def vkey(self) -> str:
        """The verifier key, of type 04."""
        return self._vkey

    @property
    def key(self) -> WitnessKey:
        """The same, parsed."""
        return WitnessKey.parse(self._vkey)

    @property
    def settings(self) -> dict[str, object]:
        """The table ``[log.witnesses.NAME]``."""
        return {"key": self._vkey, "url": self.url, "private_network": True}

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.url}/", timeout=5) as page:
                found = _VKEY.search(page.read().decode())
        except (urllib.error.URLError, OSError):
            return False
        self._vkey = found[0] if found else ""
        return bool(self._vkey)

    def trust(self, origin: str, *vkeys: str) -> None:
        """Have it know a log: the two rows that its operator's tool writes."""
        with closing(sqlite3.connect(self._database, timeout=10)) as database, database:
            database.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, EMPTY_ROOT))
            database.executemany("INSERT INTO key (origin, key) VALUES (?, ?)", [(origin, one) for one in vkeys])

    def state(self, origin: str) -> int:
        """The size of the tree that it cosigned last."""
        with closing(sqlite3.connect(self._database, timeout=10)) as database:
            [(size,)] = database.execute("SELECT tree_size FROM log WHERE origin = ?", (origin,)).fetchall()
            return int(size)


def programs() -> dict[str, str]:
    """Where litewitness and the programs of OpenSSH are; skips without them, fails under ``.ci/run``."""
    path = f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}"
    found = {name: shutil.which(name, path=path) for name in ("litewitness", "ssh-agent", "ssh-add")}
    services.require(found["litewitness"], "litewitness", "'make tools' builds it into .tools/bin.")
    services.require(found["ssh-agent"] and found["ssh-add"], "ssh-agent", "Debian has it in openssh-client.")
    return {name: str(place) for name, place in found.items()}


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def _running(name: str) -> Iterator[LiteWitness]:
    known = programs()
    with tempfile.TemporaryDirectory(prefix="hrw") as where:  # a socket's path is short
        directory = Path(where)
        private, agent = Ed25519PrivateKey.generate(), directory / "agent"
        key_file = directory / "key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
        fingerprint = base64.b64encode(hashlib.sha256(base64.b64decode(public)).digest()).decode().rstrip("=")
        witness = LiteWitness(name, directory, free_port())
        command = [known["litewitness"], "-name", name, "-db", str(directory / "witness.db"), "-ssh-agent", str(agent),
                   "-key", f"SHA256:{fingerprint}", "-listen", witness.url.removeprefix("http://")]  # fmt: skip
        with _process([known["ssh-agent"], "-D", "-a", str(agent)], directory / "agent.log"):
            environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
            add = [known["ssh-add"], str(key_file)]
            _until_added(add, environment)
            with _process(command, directory / "witness.log"):
                yield witness


def _until_added(command: list[str], environment: dict[str, str]) -> None:

    def added() -> bool:
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    asyncio.run(until(added))


@contextmanager
def litewitness(name: str) -> Iterator[LiteWitness]:
    """A witness that knows no log yet."""
    with _running(name) as witness:
        asyncio.run(until(witness.answers))
        yield witness
