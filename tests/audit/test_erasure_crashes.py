"""An erasure whose gateway is killed at any point is completed by another, and no survivor is lost on the way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from audit.buckets import SLOTS
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.fsck import check
from audit.tables import data_keys, erasures, key_buckets, payload_keys, payloads
from gateway.commitments import commit, person_key
from gateway.entries import EntryType
from gateway.ports import Append
from tests.audit.conftest import CheckpointSigner, draft
from tests.audit.erasing import eraser_of, own_log
from tests.audit.erasing_process import MASTER, POINTS
from tests.meta.tree import ROOT

ANN, BOB = person_key("ann@example.com"), person_key("bob@example.com")


def killed_at(point: str, directory: Path, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.erasing_process", str(directory), url, point],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_erasure_is_completed_by_whoever_comes_next(
    point: str, database_url: str, engine: Engine, tmp_path: Path
) -> None:
    def epochs() -> EpochKeys:
        return EpochKeys(tmp_path / "epochs", MASTER)

    signer = CheckpointSigner()
    values = {
        "ann": commit(b"of Ann", ANN),
        "bob": commit(b"of Bob", BOB),
        "both": commit(b"of both", ANN, BOB),
        "context": commit(b"of a context", "default/bot/c"),
    }
    keys = epochs()
    async with own_log(engine, signer, keys, "g1") as log, eraser_of(engine, log, keys) as asked:
        await log.append(Append([draft(fields={"args": one}) for one in values.values()]))
        erasure_id = await asked.request("default", ANN, by="p-9")
        root = log.reader.head()
    killed_at(point, tmp_path, database_url)
    keys = epochs()
    fresh = make_engine(database_url)
    async with own_log(fresh, signer, keys, "g1") as log, eraser_of(fresh, log, keys) as erasing:
        opened = await log.open([one.commitment for one in values.values()])
        assert {value for _, value in opened.values()} == {b"of Bob", b"of a context"}, "at no time anything else"
        while not await erasing.advance():
            pass
        opened = await log.open([one.commitment for one in values.values()])
        assert {value for _, value in opened.values()} == {b"of Bob", b"of a context"}
        with fresh.connect() as connection:
            assert connection.execute(select(payload_keys)).all() == []
            assert len(connection.execute(select(payloads)).all()) == 2
            assert {row.epoch for row in connection.execute(select(key_buckets))} == set(keys.names())
            buckets = [row.bucket for row in connection.execute(select(key_buckets))]
            assert len(buckets) == SLOTS
            assert {row.bucket for row in connection.execute(select(data_keys))} <= set(buckets)
            [row] = connection.execute(select(erasures)).all()
        assert row.erasure_id == erasure_id
        assert row.done_index is not None
        assert len(keys.names()) == 1
        assert not list((tmp_path / "epochs").glob("*.destroyed"))
        done = [
            one
            for index in range(log.reader.head()[0])
            if (one := log.reader.entry(index)).code == EntryType.ERASURE_DONE
        ]
        assert len(done) == 1, "one proof, however often it was tried"
        assert b'"payloads":2' in done[0].body
        assert log.reader.root(root[0]) == root[1]
        assert list(check(fresh, epochs=keys)) == []
    fresh.dispose()
