"""Tessera's fsck, as its authors built it, walks our log over HTTP: it agrees, and it disagrees after one flipped byte.

Its exit status is zero either way, so its words are what counts.
"""

import asyncio
import os
import shutil
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select, update

from audit.tables import entries
from gateway.ports import Append
from gateway.settings import Settings
from gateway.web.asgi import create_app
from tests import services
from tests.audit.conftest import draft
from tests.audit.owner import attack
from tests.meta.tree import ROOT
from tests.web.conftest import serving
from tests.web.fake import testing_only_Gateway

GOOD = "Successfully fsck'd log with size"
SIZE = 700


@pytest.fixture
def fsck():
    found = shutil.which("fsck", path=str(ROOT / ".tools" / "tessera"))
    services.require(found, "Tessera's fsck", "'make tools' builds it into .tools/tessera.")
    return found


@asynccontextmanager
async def served(log, **server):
    """The log behind our routes and a real server; yields the port."""
    gateway = testing_only_Gateway()
    gateway.settings = Settings(server=server)
    gateway.log, gateway.reader = log, log.reader
    app = create_app(gateway)
    async with serving(app, gateway.settings) as port:
        yield port


async def walk(program, tmp_path, log, *options, key="hr_auditor_key", **server):
    """What fsck says of the served log."""
    (tmp_path / "log.pub").write_text(log.vkey())
    async with served(log, **server) as port:
        # More workers than tiles: at a disagreement its reader waits for ever for a worker that has gone.
        command = [program, f"-storage_url=http://127.0.0.1:{port}/log/", f"-public_key={tmp_path / 'log.pub'}",
                   f"-bearer_token={key}", "-ui=false", "-N=32", *options]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={"PATH": os.environ["PATH"]}
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 120)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return output.decode()


@pytest.fixture(params=[False, True], ids=["once", "twice"])
def signed_twice(request):
    """Whether checkpoints carry the signature by ML-DSA-44, which its key does not name."""
    return request.param


@pytest.fixture
async def logged(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(SIZE - 1)]))
    return engine


async def test_it_agrees_with_our_log(fsck, engine, open_log, tmp_path, signed_twice):
    async with open_log(engine, post_quantum=signed_twice) as log:
        await log.append(Append([draft(number) for number in range(SIZE - 1)]))
        note = await log.checkpoint()
        assert note.count("\u2014") == 1 + signed_twice
        said = await walk(fsck, tmp_path, log)
    assert f"{GOOD} {SIZE}" in said, said
    assert "fsck failed" not in said


@pytest.mark.parametrize("asked", [["-qps=20"], []], ids=["within", "beyond"])
async def test_it_walks_as_fast_as_a_reader_may_and_no_faster(fsck, engine, open_log, tmp_path, asked):
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(20 * 256 - 1)]))
        await log.checkpoint()
        said = await walk(fsck, tmp_path, log, *asked, log_reads_per_second=25, log_reads_burst=12)
    assert (f"{GOOD} {20 * 256}" in said) is bool(asked), said
    assert ("429" in said) is not bool(asked), said


def flip(engine, index, column, at):
    """One bit of one byte of one row, by the owner of the database."""
    with engine.connect() as connection:
        value = bytearray(connection.execute(select(entries.c[column]).where(entries.c.idx == index)).scalar())
    value[at] ^= 1
    attack(engine, update(entries).where(entries.c.idx == index).values({column: bytes(value)}))


@pytest.mark.parametrize(
    ("index", "column", "at"),
    [
        (0, "body", 0),
        (300, "body", -1),
        (SIZE - 1, "body", 9),
        (17, "hashes", 0),
        (SIZE - 1, "hashes", 31),
        (255, "hashes", 8 * 32 + 5),
        (511, "hashes", 8 * 32),
    ],
)
async def test_it_disagrees_after_one_flipped_byte(fsck, logged, open_log, tmp_path, index, column, at):
    flip(logged, index, column, at)
    async with open_log(logged) as log:
        said = await walk(fsck, tmp_path, log)
    assert GOOD not in said, said
    assert "fsck failed" in said or "panic" in said, said


async def test_it_gets_nowhere_without_an_auditor_s_key(fsck, logged, open_log, tmp_path):
    async with open_log(logged) as log:
        said = await walk(fsck, tmp_path, log, key="hr_agent_key")
    assert GOOD not in said, said
    assert "403" in said, said
