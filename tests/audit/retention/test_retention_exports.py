"""Exports of a log of which something was dropped: it is there as hashes, and nobody is told that it is whole."""

import json

import pytest

from audit.query import Filter
from audit.retained import PARTITION
from audit.verifier.report import Verdict
from tests.audit.conftest import TIME
from tests.audit.export.house import House, check, make_keyset, said, taken_apart
from tests.audit.retention.conftest import retention


@pytest.fixture
async def house(aged, opened, clock, tmp_path):
    """Whose first partition was dropped."""
    async with opened(aged) as log:
        assert await retention(aged, log, clock).drop(0)
        clock.now = TIME + 1
        yield House(log, make_keyset(tmp_path))


async def test_a_bundle_over_dropped_entries_is_proved_and_not_called_whole(house):
    raw = await house.bundle(end=PARTITION + 9)
    report = check(raw, house.key)
    assert not said(report, Verdict.FAILED)
    assert {"checkpoint", "entries"} <= set(said(report, Verdict.PROVED))
    assert "completeness" not in said(report, Verdict.PROVED)
    parts = dict(taken_apart(raw))
    assert json.loads(parts["manifest.json"])["complete"] is False
    assert parts["tree/000000.txt"].startswith((b"skip", b"have 0 1\nskip"))


async def test_what_stands_is_enclosed(house):
    raw = await house.bundle(end=PARTITION)
    bodies = [line for name, part in taken_apart(raw) if name.startswith("entries/") for line in part.splitlines()]
    there = house.log.reader.query(Filter(tenant="default"), limit=1000).entries
    assert bodies == [one.body for one in there if one.index < PARTITION]
    assert bodies
