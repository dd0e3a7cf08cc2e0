"""A throw-away MariaDB server for tests: its own data in a temporary directory, on loopback alone."""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests import services
from tests.ports import free_port
from tests.until import until

USER, PASSWORD = "handrail", "a-password-of-tests"


@dataclass(frozen=True)
class MariadbServer:
    """A running server.

    Attributes:
        socket: its unix socket, for whoever administers it.
    """

    port: int
    socket: Path
    pid: int

    def administer(self, database: str | None = None) -> Any:
        """A connection that may do everything."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)

    def create_database(self, *statements: str) -> str:
        """A new database with what the statements make; the user may change its rows."""
        name = "t" + secrets.token_hex(6)
        with contextlib.closing(self.administer()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO '{USER}'@'%'")
            cursor.execute(f"USE {name}")
            for statement in statements:
                cursor.execute(statement)
        return name


def _programs() -> tuple[str, str]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    server, maker = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    services.require(server and maker, "MariaDB", "Install mariadbd (Debian: mariadb-server-core).")
    return str(server), str(maker)


@contextlib.contextmanager
def running(*options: str) -> Iterator[MariadbServer]:
    """A server for the length of the block; ``options`` as its command line has them."""
    server, maker = _programs()
    home = Path(tempfile.mkdtemp(prefix="hrmd"))
    data = home / "data"
    try:
        method = "--auth-root-authentication-method=normal"
        make = [maker, "--no-defaults", f"--datadir={data}", "--skip-test-db", method]
        if os.geteuid() == 0:
            make.append("--user=root")
        subprocess.run(make, check=True, capture_output=True, timeout=120)
        port = free_port()
        command = [
            server, "--no-defaults", f"--datadir={data}", f"--socket={home / 's'}", f"--port={port}",
            "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M", "--skip-log-bin", "--skip-name-resolve",
            f"--pid-file={home / 'pid'}", f"--log-error={home / 'log'}", *options,
        ]  # fmt: skip
        if os.geteuid() == 0:
            command.append("--user=root")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = MariadbServer(port, home / "s", process.pid)
            with ThreadPoolExecutor(1) as thread:  # the fixture's own may have a loop already
                thread.submit(
                    lambda: asyncio.run(until(lambda: _answers(found) or process.poll() is not None))
                ).result()
            with contextlib.closing(found.administer()) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'")
            yield found
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _answers(server: MariadbServer) -> bool:
    """Its socket takes connections only once it is ready for them."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(server.socket))
        return True
    return False


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariadbServer]:
    """One server for the session."""
    with running() as server:
        yield server
