"""Not a byte of what is sealed lies in clear anywhere; and what was erased opens by no key that is left."""

import base64
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select, text

from audit.buckets import Buckets
from audit.epochs import EpochKeys
from audit.errors import SealBroken
from audit.tables import data_keys, key_buckets, payloads
from gateway.keyring import stores as key_stores
from gateway.settings import Settings
from tests.postgres import Server
from tests.privacy.conftest import World, running, upstream
from tests.privacy.scan import files_of, found_in, spellings

ANN = "annemarie.mustermann@example.com"
MARKERS = (ANN, "Figs-for-Annemarie-7351", "Grüße an Annemarie Mustermann")


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("before", range(7))
def test_the_scan_finds_what_is_there(tmp_path: Path, marker: str, before: int) -> None:
    """A control: each spelling is found where it is, at any alignment."""
    raw = b"x" * before + marker.encode() + b"yz"
    for number, content in enumerate(
        (raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw), json.dumps(marker).encode())
    ):
        (tmp_path / "file").write_bytes(content)
        assert found_in([tmp_path / "file"], [marker]), number
    assert all(len(one) >= 8 for one in spellings(marker)), "and no spelling is so short that it is found by chance"


def directories(request: pytest.FixtureRequest, database: dict[str, Any], home: Path) -> list[Path]:
    """The home, and PostgreSQL's own files, with its write-ahead log."""
    if not database:
        return [home]
    server: Server = request.getfixturevalue("postgres_server")
    return [home, server.socket_directory / "data"]


async def history(world: World) -> None:
    for number in range(3):
        await world.note("bot", ANN, f"{MARKERS[1]} {number}", friend="bob")
        await world.note("bot", ANN, f"{MARKERS[2]} {number}")
        await world.note("jo.agent", "bob", "of Bob alone")


async def test_nothing_sealed_lies_in_clear_before_or_after_an_erasure(
    tmp_path: Path, database: dict[str, Any], request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    places = directories(request, database, home)
    async with upstream() as below, running(home, below, **database) as world:
        await history(world)
        with world.gateway.engine.connect() as connection:
            old_values = connection.execute(select(payloads)).all()
            old_keys = connection.execute(select(data_keys)).all()
            old_buckets = connection.execute(select(key_buckets)).all()
            if database:
                connection.execute(text("SET statement_timeout = 0"))  # the disk may be busy
                connection.execute(text("CHECKPOINT"))
        assert found_in(files_of(*places), MARKERS) == []
        assert files_of(*places)
        await world.erase(ANN)
        assert found_in(files_of(*places), MARKERS) == []
        with world.gateway.engine.connect() as connection:
            new_buckets = connection.execute(select(key_buckets)).all()
        page = await world.send("GET", "/v1/audit/entries?limit=1000", "auditor")
        said = capfd.readouterr()
        (tmp_path / "said").write_text(said.out + said.err + page.text)
        assert found_in([tmp_path / "said"], MARKERS) == []
        left = opened(home, [*old_buckets, *new_buckets], old_keys, old_values)
        assert not any("Mustermann" in value or "Figs" in value for value in left)
        erased = [row for row in old_values if row.commitment not in stored(world)]
        assert erased
        if not database:  # overwritten, not only let go (secure_delete), and truncated from the write-ahead log
            content = b"".join(file.read_bytes() for file in files_of(home))
            assert not any(row.sealed in content for row in erased)


def stored(world: World) -> set[str]:
    with world.gateway.engine.connect() as connection:
        return set(connection.execute(select(payloads.c.commitment)).scalars())


def opened(home: Path, buckets: list[Any], keys: list[Any], values: list[Any]) -> list[str]:
    """What somebody opens who kept every row, and has the master key and the epoch keys of today."""
    epochs = EpochKeys(home / "epochs", key_stores.open_root(Settings(home=home)).derive("epoch"))
    ciphers = []
    for row in keys:
        for bucket in Buckets.of(epochs, buckets).by_name.values():
            try:
                ciphers.append(AESGCM(bucket.unwrap(row.key_id, row.wrapped)[0]))
            except SealBroken:
                continue
    assert ciphers, "what was not erased opens: the test can tell"
    found = []
    for row in values:
        for cipher in ciphers:
            try:
                found.append(cipher.decrypt(row.sealed[:12], row.sealed[12:], row.commitment.encode())[16:].decode())
            except InvalidTag:
                continue
    return found


async def named_anew(world: World, people: dict[str, str]) -> None:
    """Nobody's id is known any more, and nobody may do anything but the admin, who names them."""
    listed = await world.json("GET", "/v1/principals", "admin")
    assert {one["id"] for one in listed["principals"]} == set(people.values())
    for who in ("officer", "bot", "auditor", "op"):
        await world.json("GET", "/v1/hands", who, None, 403)
        await world.json("GET", "/v1/privacy/holds", who, None, 403)
    for name, pseudonym in people.items():
        answer = await world.send("POST", f"/v1/principals/{pseudonym}/name", "admin", {"id": name})
        if answer.status_code == 202:  # somebody who decides: the other admin has to agree
            made = answer.json()
            asked = {"document_sha256": made["document_sha256"]}
            answer = await world.send("POST", f"/v1/proposals/{made['id']}/sign", "other-admin", asked)
        assert answer.status_code == 200, answer.text
    listed = await world.json("GET", "/v1/principals", "admin")
    assert {one["id"] for one in listed["principals"]} == set(people)


async def test_a_backup_of_the_database_that_is_restored_gives_nothing_back(tmp_path: Path) -> None:
    """One from before the erasure, put back after it, with the epoch keys of today."""
    home = tmp_path / "home"
    async with upstream() as below:
        async with running(home, below) as world:
            await history(world)
            keys = world.keys
            people = {one: (await world.gateway.directory.principal("default", one)).pseudonym for one in keys}
            with contextlib.closing(sqlite3.connect(home / "handrail.db")) as hot:
                hot.execute("VACUUM INTO ?", (str(tmp_path / "hot.db"),))
            await world.erase(ANN)
        for file in home.glob("handrail.db*"):
            file.unlink()
        (tmp_path / "hot.db").replace(home / "handrail.db")
        async with running(home, below, keys, pin=False) as world:
            with world.gateway.engine.connect() as connection:
                assert len(connection.execute(select(payloads)).all()) > 10, "the rows are back"
            await named_anew(world, people)
            await world.json("POST", "/v1/privacy/access", "officer", {"person": ANN}, 404)
            await world.note("bot", ANN, "new")  # and it goes on
            export = await world.json("POST", "/v1/privacy/access", "officer", {"person": ANN})
            assert "Figs" not in str(export)
            assert "new" in str(export)
