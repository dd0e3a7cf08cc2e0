"""Killed at every stage of dropping a partition: the log is sound, and the next run finishes what was begun."""

import signal
import subprocess
import sys

import pytest
from sqlalchemy import func, select

from audit.fsck import check
from audit.reader import Reader
from audit.retained import PARTITION
from audit.retention import State
from audit.tables import entries
from tests.audit.conftest import TIME
from tests.audit.retention.conftest import retention
from tests.audit.retention.dropping_process import STAGES


@pytest.mark.parametrize("stage", STAGES)
async def test_a_kill_leaves_a_sound_log_and_the_next_run_finishes(aged, opened, clock, signer, stage):
    url = aged.url.render_as_string(hide_password=False)
    size, root = Reader(aged).head()
    aged.dispose()
    raw = signer.key.private_bytes_raw().hex()
    command = [sys.executable, "-m", "tests.audit.retention.dropping_process", url, raw, str(TIME), stage]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-800:]
    assert list(check(aged)) == []
    reader = Reader(aged)
    assert reader.head()[0] == size + (stage != "archived")
    assert reader.root(size) == root
    with aged.connect() as connection:
        left = connection.execute(select(func.count()).where(entries.c.idx < PARTITION)).scalar()
    assert (left < 100) == (stage == "done")
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        finished = await one.sweep()
        assert (finished > 4000) == (stage in {"recorded", "hashes", "postings", "entries"})
        due = [found.number for found in await one.survey() if found.state is State.DUE]
        assert due == ([0, 1] if stage == "archived" else [1])
        for number in due:
            await one.drop(number)
        assert await one.sweep() == 0
    assert list(check(aged)) == []
    assert reader.head()[0] == size + 2
