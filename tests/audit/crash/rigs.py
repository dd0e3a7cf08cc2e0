"""What a life runs on, and the ways to end it."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import psycopg

import migrations
from audit.database import make_engine
from tests.audit.crash.disk import Disk
from tests.audit.crash.ledger import Lost
from tests.postgres import Cluster

SERVER_STRIKE_EVERY = 8
"""One kill in so many is the database server's and not the gateway's."""


@dataclass(frozen=True)
class Life:
    """A process that appends, as far as a rig needs to know it."""

    pid: int
    listen: Callable[[int], None]
    """Take in so many more acknowledgements."""
    outlive: Callable[[], None]
    """Take in one of an append that began from now on."""


class Rig(Protocol):
    """A database and the directory of epoch keys."""

    url: str
    home: Path
    shared: bool
    """Whether a second process appends to the same log all the while."""

    def strike(self, life: Life, random: Random) -> str:
        """End ``life`` in some way, and bring back what else was ended with it; says how."""

    def close(self) -> None:
        """Stop what was started."""


class SqliteRig:
    """A file. The process is killed; what it wrote stays."""

    shared = False

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.url = f"sqlite:///{directory / 'log.db'}"
        _migrate(self.url)

    def strike(self, life: Life, random: Random) -> str:
        os.kill(life.pid, signal.SIGKILL)
        return "process killed"

    def close(self) -> None:
        """Nothing runs."""


class PostgresRig:
    """A server. Mostly the client is killed; else a backend, or every process of the server, or it is restarted without
    a checkpoint, and then the client has to get through again by itself before it is killed too. A second client, which
    nobody kills, moves the same head.
    """

    shared = True

    def __init__(self, directory: Path, server_home: Path) -> None:
        self.home = directory
        self._cluster = Cluster(server_home)
        self._cluster.initialise()
        self._server = self._cluster.start()
        self.url = self._server.create_database()
        _migrate(self.url)

    def strike(self, life: Life, random: Random) -> str:
        how = "process killed"
        if random.randrange(SERVER_STRIKE_EVERY) == 0:
            how = random.choice(["backend killed", "server killed", "server restarted"])
            life.listen(1)  # a gateway does not start without its database; one that runs must outlive it
            if how == "backend killed":
                self._kill_a_backend(random)
            elif how == "server killed":
                self._cluster.kill()
                self._server = self._cluster.start()
            else:
                self._cluster.stop("immediate")
                self._server = self._cluster.start()
            life.outlive()
        os.kill(life.pid, signal.SIGKILL)
        return how

    def close(self) -> None:
        self._cluster.stop()

    def _kill_a_backend(self, random: Random) -> None:
        with psycopg.connect(self._server.dsn("postgres")) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            pids = [pid for (pid,) in connection.execute(query)]
            if pids:
                os.kill(random.choice(pids), signal.SIGKILL)
                with contextlib.suppress(psycopg.OperationalError):
                    connection.execute("SELECT pg_sleep(60)")  # ended with all others when the server notices
        self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._server.dsn("postgres")):
                return
        raise Lost("the server does not come back")


class SqliteDiskRig:
    """A file on a disk that loses power. This process and those that it forks run with the disk's environment.

    Args:
        survives: see ``Disk.cut``; drawn anew for each cut from these.
    """

    shared = False

    def __init__(self, disk: Disk, survives: tuple[float, ...]) -> None:
        self._disk, self._survives = disk, survives
        self.home = disk.live
        self.url = f"sqlite:///{disk.live / 'log.db'}"
        _migrate(self.url)
        disk.settle()

    def strike(self, life: Life, random: Random) -> str:
        os.kill(life.pid, signal.SIGKILL)
        os.waitpid(life.pid, 0)
        survives = random.choice(self._survives)
        return _lost(self._disk.cut(random, survives), survives)

    def close(self) -> None:
        """Nothing runs."""


class PostgresDiskRig:
    """A server on a disk that loses power.

    Args:
        settings: of the server, ``name=value`` each.
    """

    shared = False

    def __init__(self, disk: Disk, server_home: Path, survives: tuple[float, ...], *settings: str) -> None:
        self._disk, self._survives = disk, survives
        self._settings = ("dynamic_shared_memory_type=mmap", *settings)
        self._cluster = Cluster(server_home, disk.live / "data")
        self._cluster.initialise()
        self.home = server_home
        self.url = self._cluster.start().create_database()
        _migrate(self.url)
        self._cluster.stop("fast")
        disk.settle()  # how a database is made is PostgreSQL's affair, and not what is tried here
        self._start()

    def strike(self, life: Life, random: Random) -> str:
        self._cluster.kill()
        os.kill(life.pid, signal.SIGKILL)
        os.waitpid(life.pid, 0)
        survives = random.choice(self._survives)
        lost = self._disk.cut(random, survives)
        # PostgreSQL does not synchronise it, refuses to start over an empty one, and says itself to remove it where no
        # server runs: after a power cut none does.
        (self._cluster.data / "postmaster.pid").unlink(missing_ok=True)
        self._start()
        return _lost(lost, survives)

    def close(self) -> None:
        self._cluster.stop()

    def _start(self) -> None:
        self._cluster.start(*self._settings, environment=self._disk.environment)


def _migrate(url: str) -> None:
    engine = make_engine(url)
    migrations.upgrade(engine)
    engine.dispose()


def _lost(count: int, survives: float) -> str:
    return f"power cut, {survives:.0%} of the unsynchronised sectors survive" if count else "power cut, nothing pending"
