"""A throw-away PostgreSQL server for tests: its own cluster in a temporary directory, on a unix socket alone."""

import contextlib
import ctypes
import functools
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

import migrations
from audit.database import make_engine
from tests import services, unsynchronised

_PR_SET_CHILD_SUBREAPER = 36
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
        return self._create("template1")

    def _create(self, template: str) -> str:
        name = "t" + secrets.token_hex(8)
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template}'.encode())
        return f"postgresql+psycopg://handrail@/{name}?host={self.socket_directory}"

    def migrated_database(self) -> str:
        """A new database as ``migrations.upgrade`` leaves one; returns its SQLAlchemy URL."""
        return self._create(f'"{self._template}" STRATEGY file_copy')

    @functools.cached_property
    def _template(self) -> str:
        engine = make_engine(self.create_database())
        migrations.upgrade(engine)
        engine.dispose()
        return str(engine.url.database)

    def files_of(self, url: str) -> list[Path]:
        """Where everything lies that the server keeps of a database: its own directory, the write-ahead log, and what
        all databases share. Other databases of the run are not among it."""
        name = make_url(url).database or ""
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        if row is None:
            raise LookupError(name)
        data = self.socket_directory / "data"
        return [data / "base" / str(row[0]), data / "pg_wal", data / "global"]

    def dsn(self, database: str) -> str:
        """A libpq connection string."""
        return f"host={self.socket_directory} user=handrail dbname={database}"


def find_binaries() -> Path | None:
    """The directory that holds initdb, pg_ctl and postgres: from PATH, or Debian's."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in candidates if all((place / name).exists() for name in _WANTED)), None)


class Cluster:
    """A server that can be started, stopped and killed again and again. As root it runs as an unprivileged user,
    because it refuses root.

    Args:
        home: an empty directory for the socket and the server's messages; not under pytest's tmp_path, which may be
            closed to other users and too long for a socket's path.
        data: where the database lies; default: in ``home``.
    """

    def __init__(self, home: Path, data: Path | None = None) -> None:
        binaries = find_binaries()
        if binaries is None:
            services.missing("PostgreSQL", "Install initdb, pg_ctl and postgres (Debian: postgresql).")
        self.home, self.data, self._binaries = home, data or home / "data", binaries
        self._lower: list[str] = []
        if os.geteuid() == 0:
            self._lower = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for directory in {home, self.data.parent}:
                os.chown(directory, 65534, 65534)

    def initialise(self) -> None:
        """Make the database."""
        locale = ("-E", "UTF8", "--no-instructions", "--no-sync")
        self._run({}, "initdb", "-D", str(self.data), "-U", "handrail", "-A", "trust", *locale)

    def start(self, *settings: str, environment: Mapping[str, str] | None = None) -> Server:
        """Start the server and wait until it answers.

        Args:
            settings: ``name=value`` each.
            environment: what its processes have besides the usual.
        """
        usual = ("listen_addresses=''", "max_connections=40", "shared_buffers=64MB")
        options = f"-k {self.home}" + "".join(f" -c {setting}" for setting in (*usual, *settings))
        self._control(environment or {}, "-l", str(self.home / "log"), "-o", options, "start")
        return Server(self.home, int(self._lock_file()[0]))

    def stop(self, mode: str = "immediate") -> None:
        """Stop it as ``pg_ctl`` does."""
        self._control({}, "-m", mode, "stop")

    def kill(self) -> None:
        """SIGKILL for every process of the server, together. The caller must be a subreaper, or whoever adopts the
        dead may leave them about, and a new server takes a dead postmaster for a running one.
        """
        lines = self._lock_file()
        postmaster = int(lines[0])
        pids = [postmaster, *children(postmaster)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            _bury(pid)
        segment = lines[6].split()[-1] if len(lines) > 6 and lines[6].strip() else ""
        if segment:  # a server that is started on a copy of the files would not find it
            subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)

    def _lock_file(self) -> list[str]:
        return (self.data / "postmaster.pid").read_text().split("\n")

    def _control(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._run(environment, "pg_ctl", "-D", str(self.data), "-w", *arguments)

    def _run(self, environment: Mapping[str, str], program: str, *arguments: str) -> None:
        command = [*self._lower, str(self._binaries / program), *arguments]
        usual = {"PATH": os.environ.get("PATH", "/usr/bin"), "LC_ALL": "C.UTF-8", "HOME": str(self.home)}
        done = subprocess.run(
            command, env={**usual, **environment}, cwd=self.home, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        if done.returncode:
            log = (self.home / "log").read_text() if (self.home / "log").exists() else ""
            raise RuntimeError(f"PostgreSQL: {program}: {done.stderr.strip()[-400:]} {log[-400:]}")


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


def become_subreaper() -> None:
    """Adopt the orphans of this process's children from now on."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _bury(pid: int) -> None:
    """Wait for the end of a process that was killed; take it out of the table of processes if it is ours."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], 30)
        os.close(descriptor)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for the length of the block."""
    home = Path(tempfile.mkdtemp(prefix="hrpg"))
    try:
        cluster = Cluster(home)
        cluster.initialise()
        server = cluster.start(environment=unsynchronised.environment())
        try:
            yield server
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the session."""
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """A fresh database of its own for one test, migrated."""
    return postgres_server.migrated_database()
