"""A server proves who it is before it is told a password; whoever cannot is told nothing."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.errors import HandrailError
from gateway.reasons import Reason
from tests import mariadb, postgres
from tests.authority import Authority
from tests.ports import free_port
from tests.sql.conftest import PASSWORD, Database


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def tls_postgres(authority: Authority) -> Iterator[Database]:
    home = Path(tempfile.mkdtemp(prefix="hrpg"))
    try:
        cluster = postgres.Cluster(home)
        cluster.initialise()
        for file in authority.issue("postgres"):
            placed = Path(shutil.copy(file, cluster.data / file.name))
            shutil.chown(placed, cluster.data.stat().st_uid, cluster.data.stat().st_gid)
        (cluster.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        port = free_port()
        files = ("ssl=on", "ssl_cert_file=postgres.pem", "ssl_key_file=postgres.key")
        server = cluster.start("listen_addresses='127.0.0.1'", f"port={port}", *files)
        with psycopg.connect(f"{server.dsn('postgres')} port={port}", autocommit=True) as connection:
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        place = {"host": "127.0.0.1", "port": port, "name": "postgres", "user": "app"}
        try:
            yield Database("postgresql", place, "public", lambda *_: [], PASSWORD)
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def tls_mariadb(authority: Authority) -> Iterator[Database]:
    certificate, key = authority.issue("mariadb")
    with mariadb.running(f"--ssl-cert={certificate}", f"--ssl-key={key}", "--require-secure-transport=ON") as server:
        name = server.create_database()
        place = {"host": "127.0.0.1", "port": server.port, "name": name, "user": mariadb.USER}
        yield Database("mariadb", place, name, lambda *_: [], mariadb.PASSWORD)


@pytest.mark.parametrize("which", ["tls_postgres", "tls_mariadb"])
async def test_a_server_is_who_its_certificate_says_or_is_told_nothing(
    request: pytest.FixtureRequest, connect: Any, authority: Authority, tmp_path: Path, which: str
) -> None:
    database: Database = request.getfixturevalue(which)
    hand = await connect(database, ca_file=authority.certificate)
    assert (await hand.run("query", "SELECT 1 AS a")).structured["rows"] == [[1]]
    other = Authority(tmp_path / "other")
    for change in (
        {"ca_file": other.certificate},
        {"ca_file": authority.certificate, "host": "localhost"},  # its certificate names the address alone
        {},
    ):
        wrong = await connect(database, **change)
        with pytest.raises(HandrailError) as refusal:
            await wrong.run("query", "SELECT 1 AS a")
        assert refusal.value.reason is Reason.HAND_UNAVAILABLE
