"""A throw-away PostgreSQL server for tests: its own cluster in a temporary directory, on a unix socket alone.

``from tests.postgres import postgres_server, postgres_url`` in a conftest makes the fixtures available.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests import services

_WANTED = ("initdb", "pg_ctl", "postgres")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        socket_directory: where its unix socket lies.
        pid: of the postmaster.
    """

    socket_directory: Path
    pid: int

    def create_database(self) -> str:
        """A new, empty database; returns its SQLAlchemy URL."""
        name = "t" + secrets.token_hex(8)
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql+psycopg://handrail@/{name}?host={self.socket_directory}"

    def dsn(self, database: str) -> str:
        """A libpq connection string."""
        return f"host={self.socket_directory} user=handrail dbname={database}"


def find_binaries() -> Path | None:
    """The directory that holds initdb, pg_ctl and postgres: from PATH, or Debian's."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in candidates if all((place / name).exists() for name in _WANTED)), None)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for the length of the block. As root it runs as an unprivileged user, because it refuses root."""
    binaries = find_binaries()
    if binaries is None:
        services.missing("PostgreSQL", "Install initdb, pg_ctl and postgres (Debian: postgresql).")
    # Not under pytest's tmp_path: that may be closed to other users, and too long for a socket's path.
    home = Path(tempfile.mkdtemp(prefix="hrpg"))
    lower: list[str] = []
    if os.geteuid() == 0:
        lower = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(home, 65534, 65534)
    environment = {"PATH": os.environ.get("PATH", "/usr/bin"), "LC_ALL": "C.UTF-8", "HOME": str(home)}
    data = home / "data"

    def run(*command: str) -> None:
        done = subprocess.run(
            [*lower, *command], env=environment, cwd=home, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            log = (home / "log").read_text() if (home / "log").exists() else ""
            raise RuntimeError(f"PostgreSQL: {command[0]}: {done.stderr.strip()[-400:]} {log[-400:]}")

    try:
        run(
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "handrail",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-instructions",
        )
        options = f"-k {home} -c listen_addresses='' -c max_connections=40 -c shared_buffers=64MB"
        run(str(binaries / "pg_ctl"), "-D", str(data), "-l", str(home / "log"), "-w", "-o", options, "start")
        pid = int((data / "postmaster.pid").read_text().split("\n")[0])
        try:
            yield Server(home, pid)
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the session."""
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """A fresh database of its own for one test."""
    return postgres_server.create_database()
