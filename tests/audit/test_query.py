"""The index against the entries: whatever is asked, in whatever state the index is, the answer is that of a plain look
through every entry.
"""

import random
from itertools import pairwise

import orjson
import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from audit import indexing, query
from audit.database import changing_schema, writing
from audit.driver import Driver
from audit.entry import build
from audit.errors import LogUnavailable
from audit.findings import Fault
from audit.fsck import check
from audit.postings import BLOCK, _raw_controls, decode, encode, offsets_of
from audit.query import Filter, Scope
from audit.reader import Reader
from audit.tables import entries, posting_blocks, postings
from gateway.entries import EntryType
from gateway.ports import Append
from tests.audit.conftest import CONTROLS, TIME, Opener, draft
from tests.audit.indexed import disarm, missing
from tests.until import until

SIZE = 2 * BLOCK + 700
HANDS = ("git", "mail", "db")
TYPES = (EntryType.POLICY_ALLOWED, EntryType.POLICY_DENIED, EntryType.STEP_EXECUTED, EntryType.ACCESS_REFUSED)


def drafts(count: int):
    chosen = random.Random(7)
    for number in range(count):
        kind = chosen.choices(TYPES, (50, 2, 40, 8))[0]
        yield draft(
            number,
            type=kind,
            tenant="rare" if number % 997 == 0 else "default",
            hand=chosen.choice(HANDS),
            action=chosen.choice(("read", "write")),
            principal=f"p-{chosen.randrange(40)}",
            effect="deny" if kind is EntryType.POLICY_DENIED else None,
            reasons=("paths.outside",) if number % 2000 == 5 else ("time.night", 'a"b') if number % 11 == 0 else (),
            policy_digest="d" * 64 if number > BLOCK else "e" * 64,
            facts={"controls": 'x","controls":["gdpr:none"]', "gdpr:none": "gdpr:none"} if number % 13 == 0 else {},
        )


@pytest.fixture
async def reader(engine, open_log: Opener):
    async with open_log(engine) as log:
        clock = iter(range(1, 100_000))
        log._writer._clock = lambda: TIME + next(clock)
        everything = list(drafts(SIZE - 1))
        for start in range(0, len(everything), 1500):
            await log.append(Append(everything[start : start + 1500]))
        await until(lambda: not missing(log.reader))
    return Reader(engine)


MAIL = Scope(hands=frozenset({"mail"}), types=frozenset({"ACCREF"}))
NOWHERE = Scope(hands=frozenset(), types=frozenset())

FILTERS = [
    {},
    {"tenant": "default"},
    {"tenant": "rare"},
    {"tenant": "nobody"},
    {"tenant": "default", "type": "POLDNY"},
    {"tenant": "default", "type": "POLDNY", "hand": "db", "action": "write"},
    {"tenant": "rare", "type": "POLDNY", "hand": "db", "action": "write"},
    {"tenant": "default", "effect": "deny", "principal": "p-7"},
    {"tenant": "default", "reason": "paths.outside"},
    {"tenant": "default", "reason": 'a"b', "hand": "git"},
    {"tenant": "default", "reason": "paths"},
    {"tenant": "default", "control": "gdpr:9"},
    {"tenant": "default", "control": "gdpr:none"},
    {"tenant": "default", "control": "gdpr:none", "context_id": "c3"},
    {"tenant": "default", "control": "gdpr:9", "context_id": "c3"},
    {"tenant": "default", "control": "soc2:CC6.1", "hand": "mail", "effect": "deny"},
    {"tenant": "default", "policy_digest": "e" * 64, "type": "STPEXE"},
    {"tenant": "default", "plan_id": f"{4711:064x}"},
    {"tenant": "default", "plan_id": f"{4711:064x}", "control": "gdpr:9"},
    {"tenant": "default", "context_id": "c3", "hand": "db", "effect": "deny"},
    {"tenant": "default", "since": "2026-11-21T02:00:02.000Z", "until": "2026-11-21T02:00:04.000Z"},
    {"tenant": "default", "since": "2026-11-21T02:00:02.000Z", "hand": "git", "effect": "deny"},
    {"tenant": "default", "until": "2026-11-21T02:00:02.000Z", "type": "ACCREF"},
    {"tenant": "default", "since": "2030-01-01T00:00:00.000Z"},
    {"tenant": "default", "reason": "Paths.Outside"},
    {"tenant": "default", "reason": "paths.outside", "context_id": "c3"},
    {"tenant": "default", "scope": MAIL},
    {"tenant": "default", "scope": MAIL, "hand": "mail", "effect": "deny"},
    {"tenant": "default", "scope": MAIL, "hand": "db"},
    {"tenant": "default", "scope": MAIL, "control": "gdpr:9"},
    {"tenant": "default", "scope": MAIL, "context_id": "c3"},
    {"tenant": "rare", "scope": MAIL},
    {"tenant": "default", "scope": NOWHERE},
    {"tenant": "default", "scope": NOWHERE, "plan_id": f"{4711:064x}"},
]


def expected(engine):
    """By hand: every entry, one condition after the other."""
    with engine.connect() as connection:
        bodies = connection.execute(select(entries.c.body).order_by(entries.c.idx)).scalars().all()
    parsed = [orjson.loads(bytes(body)) for body in bodies]
    return [[index for index, entry in enumerate(parsed) if fits(entry, wanted)] for wanted in FILTERS]


def fits(entry, wanted):
    special = {"reason": "reasons", "control": "controls"}
    for name, value in wanted.items():
        if name == "since":
            ok = entry["time"] >= value
        elif name == "until":
            ok = entry["time"] < value
        elif name == "scope":
            ok = entry.get("hand") in value.hands or entry["type"] in value.types
        elif name in special:
            ok = value in entry[special[name]]
        else:
            ok = entry.get(name) == value
        if not ok:
            return False
    return True


def walk(reader, wanted, *, limit, newest_first=False):
    """All pages: their entries, and that their ranges lie side by side and leave nothing out."""
    seen, ranges, after = [], [], None
    while True:
        page = reader.query(Filter(**wanted), after=after, limit=limit, newest_first=newest_first)
        assert all(page.first <= entry.index <= page.last for entry in page.entries)
        seen += [entry.index for entry in page.entries]
        ranges.append((page.first, page.last))
        after = page.next
        if after is None:
            break
    ranges.sort()
    assert (ranges[0][0], ranges[-1][1]) == (0, SIZE - 1)
    assert all(below[1] + 1 == above[0] for below, above in pairwise(ranges))
    return seen


async def test_every_filter_finds_what_a_look_through_all_entries_finds(engine, reader):
    assert reader.head()[0] == SIZE
    due = expected(engine)
    for wanted, indices in zip(FILTERS, due, strict=True):
        assert walk(reader, wanted, limit=1000) == indices, wanted
        assert walk(reader, wanted, limit=1000, newest_first=True) == indices[::-1], wanted
        assert reader.query(Filter(**wanted), limit=1, counted=True).matches == len(indices), wanted
    assert len(due[5]) > 3
    assert walk(reader, FILTERS[5], limit=1) == due[5]
    assert walk(reader, FILTERS[5], limit=2, newest_first=True) == due[5][::-1]

    # The index was used, and agrees; another gateway that indexes the same block changes nothing.
    with writing(engine.connect()) as connection, connection.begin():
        assert connection.execute(select(posting_blocks.c.block)).scalars().all() == [0, 1]
        parts = list(query._parts(connection, Filter(tenant="default", effect="deny"), 0, SIZE, 2, newest_first=False))
        indexing.storing(indexing.make(connection, 1))(connection, Driver(connection))
    assert [part.bits is None for part in parts] == [False, False, True]
    assert list(check(engine)) == []

    # An index that lags, or that a crash left with a hole, makes a query slower and never poorer.
    with engine.begin() as connection:
        disarm(connection)
        with changing_schema(connection):
            for table in (posting_blocks, postings):
                connection.execute(delete(table).where(table.c.block == 0))
    for wanted, indices in zip(FILTERS, due, strict=True):
        assert walk(reader, wanted, limit=1000) == indices, wanted
        assert reader.query(Filter(**wanted), limit=1, counted=True).matches == len(indices), wanted
    assert list(check(engine)) == []


async def test_fsck_names_a_term_that_hides_an_entry(engine, reader):
    where = (postings.c.tenant == "default", postings.c.term == "effect:deny", postings.c.block == 1)
    with engine.begin() as connection:
        disarm(connection)
        bits = decode(bytes(connection.execute(select(postings.c.offsets).where(*where)).scalar_one()))
        hidden = list(offsets_of(bits))
        connection.execute(update(postings).where(*where).values(offsets=encode(hidden[1:])))
        connection.execute(insert(postings).values(tenant="default", term="hand:x", block=0, offsets=encode([1])))
    found = list(check(engine))
    assert [(item.fault, item.first, item.last) for item in found] == [
        (Fault.INDEX, 0, BLOCK - 1),
        (Fault.INDEX, BLOCK, 2 * BLOCK - 1),
    ]
    assert "hand:x" in found[0].detail
    assert "effect:deny" in found[1].detail
    with pytest.raises(LogUnavailable):  # a term that lies is met at the entry itself
        reader.query(Filter(tenant="default", hand="x"))


def test_fsck_names_postings_of_a_block_that_is_not_counted(engine):
    with engine.begin() as connection:
        connection.execute(insert(postings).values(tenant="default", term="hand:x", block=9, offsets=encode([1])))
    assert [item.fault for item in check(engine)] == [Fault.INDEX]


def test_the_index_is_append_only(engine):
    with engine.begin() as connection:
        connection.execute(insert(posting_blocks).values(block=0, first_time="a", last_time="b"))
        connection.execute(insert(postings).values(tenant="default", term="*", block=0, offsets=encode([1])))
    for table in (postings, posting_blocks):
        for statement in (update(table).values(block=7), delete(table)):
            with pytest.raises(DBAPIError), engine.begin() as connection:
                connection.execute(statement)


@pytest.mark.parametrize("raw", [b"", b"X", b"L\x01", b"L\xff\xff", b"B", b"B" + bytes(511), b"B" + bytes(513)])
def test_damaged_postings_are_refused(raw):
    with pytest.raises(LogUnavailable):
        decode(raw)


def test_offsets_survive_both_forms():
    chosen = random.Random(1)
    for count in (0, 1, 2, 255, 256, 257, BLOCK):
        offsets = sorted(chosen.sample(range(BLOCK), count))
        raw = encode(offsets)
        assert len(raw) <= 513
        assert list(offsets_of(decode(raw))) == offsets
        assert list(offsets_of(decode(raw), descending=True)) == offsets[::-1]


def test_controls_are_cut_out_of_any_body(make_body):
    for number, kind in enumerate(EntryType):
        hostile = {"context_id": '"controls":["gdpr:666"]', "action": '\\","controls":[]', "hand": "controls"}
        body = make_body(draft(number, type=kind, **hostile))
        assert orjson.loads(_raw_controls(body)) == orjson.loads(body)["controls"] == list(CONTROLS.ids[kind])
    assert _raw_controls(make_body(draft(1), controls=())) == b"[]"


@pytest.fixture
def make_body():
    def made(one, controls=None):
        ids = CONTROLS.ids[one.type] if controls is None else controls
        return build(one, time="2026-11-21T02:00:00.125Z", origin="o", gateway="g", controls=ids).body

    return made
