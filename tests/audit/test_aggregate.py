"""A flood before authentication becomes a few entries, and no address stands in the log."""

import json

import pytest

from audit import aggregate
from audit.aggregate import Aggregator
from audit.errors import LogUnavailable
from audit.fsck import check
from audit.query import Filter
from gateway.entries import EntryDraft, EntryType

REFUSAL = EntryDraft(EntryType.ACCESS_REFUSED, "default", reasons=("auth.invalid",))


async def test_a_flood_is_one_entry_per_reason_and_source_written_at_the_latest_at_the_end(engine, open_log):
    async with open_log(engine) as log:
        for number in range(5000):
            log.aggregate(REFUSAL, f"192.0.2.{number % 2}")
    async with open_log(engine) as log:
        page = log.reader.query(Filter(type="ACCREF"))
        bodies = [json.loads(entry.body) for entry in page.entries]
        assert [body["facts"] for body in bodies] == [{"count": 2500, "window_seconds": 60}] * 2
        values = [(await log.open([entry.fields["source"]]))[entry.fields["source"]][1] for entry in page.entries]
        assert sorted(values) == [b"192.0.2.0", b"192.0.2.1"]
        assert not any(b"192.0.2" in entry.body for entry in page.entries)
    assert list(check(engine)) == []


def test_sources_beyond_the_bound_are_counted_together(monkeypatch):
    monkeypatch.setattr(aggregate, "KEYS_MAX", 3)
    counter = Aggregator(60)
    for number in range(10):
        counter.add(REFUSAL, str(number))
    taken = counter.take()
    assert [draft.facts["count"] for _, draft in taken] == [1, 1, 1, 7]
    assert taken[-1][1].facts["source"] == "other"
    assert counter.take() == []
    counter.put_back(taken)
    counter.add(REFUSAL, "0")
    assert [draft.facts["count"] for _, draft in counter.take()] == [2, 1, 1, 7]


async def test_what_could_not_be_written_is_counted_again(sqlite_engine, open_log, monkeypatch):
    async with open_log(sqlite_engine) as log:

        async def refuse(_item):
            raise LogUnavailable("full")

        log.aggregate(REFUSAL, "a")
        monkeypatch.setattr(log, "append", refuse)
        await log._flush()
        monkeypatch.undo()
        log.aggregate(REFUSAL, "a")
        await log._flush()
        entry = log.reader.query(Filter(type="ACCREF")).entries
        assert [json.loads(one.body)["facts"]["count"] for one in entry] == [2]


@pytest.mark.parametrize("source", ["", "\ud800", "x" * 1000])
async def test_any_source_can_be_counted(sqlite_engine, open_log, source):
    async with open_log(sqlite_engine) as log:
        log.aggregate(REFUSAL, source)
        await log._flush()
        assert len(log.reader.query(Filter(type="ACCREF")).entries) == 1
