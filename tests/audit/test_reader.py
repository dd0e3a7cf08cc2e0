"""Queries: every filter, pages that neither repeat nor skip, tenants apart."""

import json
import threading

import pytest

from audit.query import Filter
from audit.reader import Reader
from gateway.entries import EntryType
from gateway.ports import Append
from tests.audit.conftest import draft


@pytest.fixture
async def reader(engine, open_log):
    async with open_log(engine) as log:
        await log.append(
            Append(
                [
                    draft(1, hand="git", action="git_log", effect="allow"),
                    draft(
                        2,
                        type=EntryType.POLICY_DENIED,
                        hand="git",
                        action="git_commit",
                        effect="deny",
                        reasons=("paths.outside", "time.night"),
                        policy_digest="d" * 64,
                    ),
                    draft(3, type=EntryType.POLICY_DENIED, tenant="other", principal="p-2", reasons=("paths_outside",)),
                    draft(4, step_id="s1"),
                ]
            )
        )
    return Reader(engine)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"tenant": "default"}, [0, 1, 2, 4]),
        ({"tenant": "nobody"}, []),
        ({"type": "POLDNY"}, [2, 3]),
        ({"type": "POLDNY", "tenant": "default"}, [2]),
        ({"effect": "allow"}, [1]),
        ({"context_id": "c4"}, [4]),
        ({"plan_id": f"{2:064x}"}, [2]),
        ({"step_id": "s1"}, [4]),
        ({"hand": "git"}, [1, 2]),
        ({"hand": "git", "action": "git_log"}, [1]),
        ({"principal": "p-2"}, [3]),
        ({"policy_digest": "d" * 64}, [2]),
        ({"reason": "time.night"}, [2]),
        ({"reason": "paths.outside"}, [2]),
        ({"reason": "paths_outside"}, [3]),
        ({"reason": "%"}, []),
        ({"reason": "time"}, []),
        ({"since": "2026-11-21T02:00:00.125Z"}, [0, 1, 2, 3, 4]),
        ({"until": "2026-11-21T02:00:00.125Z"}, []),
    ],
)
async def test_a_filter_finds_exactly_its_entries(reader, wanted, found):
    page = reader.query(Filter(**wanted))
    assert [entry.index for entry in page.entries] == found
    assert (page.next, page.tree_size) == (None, 5)


@pytest.mark.parametrize(("newest_first", "order"), [(False, [0, 1, 2, 4]), (True, [4, 2, 1, 0])])
async def test_pages_neither_repeat_nor_skip(reader, newest_first, order):
    seen, after = [], None
    while True:
        page = reader.query(Filter(tenant="default"), after=after, limit=3, newest_first=newest_first)
        seen += [entry.index for entry in page.entries]
        after = page.next
        if after is None:
            break
    assert seen == order


async def test_an_entry_carries_its_code_body_and_fields(reader):
    entry = reader.entry(2)
    assert (entry.index, entry.code, entry.fields) == (2, "POLDNY", {})
    assert json.loads(entry.body)["reasons"] == ["paths.outside", "time.night"]


async def test_proofs_read_few_rows(engine, open_log):
    """A proof in a large tree reads stored subtrees, not leaves."""
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(2000)]))
        reads = []
        from sqlalchemy import event

        reader = threading.get_ident()

        def count(_connection, cursor, *_):
            if threading.get_ident() == reader:  # the log's own thread may be signing a checkpoint meanwhile
                reads.append(cursor)

        event.listen(engine, "after_cursor_execute", count)
        assert len(log.reader.inclusion(1234, 2001)) == 11
        event.remove(engine, "after_cursor_execute", count)
    assert len(reads) <= 6
