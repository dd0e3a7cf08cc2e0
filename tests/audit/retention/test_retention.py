"""What is dropped is dropped, what stays is provable, and nothing goes that has to stay."""

import pytest
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from audit import holds
from audit.assurance.catalogue import Framework, catalogues
from audit.assurance.report import ReportRequest, report
from audit.checkpoint import VerifierKey, verify_tlog_proof
from audit.cosignature import Quorum, WitnessKey
from audit.database import changing_schema, writing
from audit.errors import ArchiveRefused, Dropped, LogUnavailable
from audit.findings import Fault
from audit.fsck import check
from audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.query import Filter
from audit.reader import Reader
from audit.retained import PARTITION
from audit.retention import State, months_before
from audit.tables import dropped_partitions, entries, payloads, posting_blocks, postings, retained_hashes
from audit.tiles import Tiles
from audit.tiles import parse as parse_tile
from audit.verifier.report import Exit, Verdict
from gateway.commitments import commit
from gateway.entries import STANDING, EntryType
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.reports.controls import _range
from gateway.web.errors import ERRORS
from tests.audit.conftest import TIME, draft
from tests.audit.export.house import House, make_keyset, said
from tests.audit.export.house import check as evidence_of
from tests.audit.owner import attack
from tests.audit.retention.conftest import MONTH, fill, retention

DUE, DROPPED, YOUNG, HELD, VALUES = State.DUE, State.DROPPED, State.YOUNG, State.HELD, State.VALUES


async def states(found):
    return [one.state for one in await found.survey()]


def faults(engine, **options):
    return [(finding.fault, finding.first, finding.last) for finding in check(engine, **options)]


@pytest.fixture
async def dropped(aged, opened, clock):
    """The same log with its two old partitions dropped; with all that a client kept of them."""
    reader = Reader(aged)
    size = reader.head()[0]
    kept = {
        "bodies": {index: reader.entry(index).body for index in (0, 5, 4095, 4096, 5000, 8191)},
        "roots": {size: reader.root(size) for size in (1, 300, 4096, 5001, 8192, size)},
        "size": size,
    }
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        kept["deleted"] = [await one.drop(0), await one.drop(1)]
        kept["key"] = VerifierKey.parse(log.vkey())
    return kept


async def test_only_what_is_old_and_whole_is_due(aged, opened, clock):
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        assert await states(one) == [DUE, DUE, YOUNG]
        assert await states(retention(aged, log, clock, months=60)) == [YOUNG, YOUNG, YOUNG]


@pytest.mark.parametrize("months", [0, 5])
async def test_less_than_six_months_is_refused(aged, opened, clock, months):
    async with opened(aged) as log:
        with pytest.raises(ValueError, match="at least 6"):
            retention(aged, log, clock, months=months)


async def test_dropping_deletes_all_but_what_stands_and_keeps_the_hashes(aged, dropped):
    with aged.connect() as connection:
        left = connection.execute(select(entries.c.idx, entries.c.type).where(entries.c.idx < 2 * PARTITION)).all()
        assert {row.type for row in left} <= {str(kind) for kind in STANDING}
        assert [row.idx for row in left] == [0, *range(7, 8192, 1000)][: len(left)]
        assert connection.execute(select(func.count()).select_from(retained_hashes)).scalar() == 2 * PARTITION // 256
        assert connection.execute(select(func.count()).where(postings.c.block < 2)).scalar() == 0
        assert connection.execute(select(posting_blocks.c.block)).scalars().all() == [2]
    assert sum(dropped["deleted"]) == 2 * PARTITION - len(left)
    assert list(check(aged, keys=[dropped["key"]])) == []


async def test_every_old_proof_can_be_made_again(aged, dropped, opened):
    reader = Reader(aged)
    size, root = reader.head()
    for index, body in dropped["bodies"].items():
        verify_inclusion(leaf_hash(body), index, size, reader.inclusion(index, size), root)
        verify_inclusion(leaf_hash(body), index, 8192, reader.inclusion(index, 8192), dropped["roots"][8192])
    for old, old_root in dropped["roots"].items():
        assert reader.root(old) == old_root
        verify_consistency(old, size, reader.consistency(old, size), old_root, root)
    async with opened(aged) as log:
        found = verify_tlog_proof(await log.proof(5000), leaf_hash(dropped["bodies"][5000]), [dropped["key"]])
    assert found[0] == 5000


async def test_a_dropped_entry_says_that_it_was_dropped_and_one_that_stands_is_there(aged, dropped):
    reader = Reader(aged)
    with pytest.raises(Dropped) as caught:
        reader.entry(1)
    assert ERRORS[caught.value.reason][0] == 410
    assert caught.value.reason is Reason.LOG_DROPPED
    assert reader.entry(7).code == EntryType.PRINCIPAL_CHANGED


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_query_finds_what_is_left_and_says_where_it_cannot_know(aged, dropped, newest_first):
    reader = Reader(aged)
    page = reader.query(Filter(tenant="default", type="PRNCHG"), limit=100, newest_first=newest_first)
    assert sorted(one.index for one in page.entries) == [*range(7, 3 * PARTITION + 50, 1000)]
    assert page.dropped == [(0, 2 * PARTITION - 1)]
    page = reader.query(Filter(tenant="default", hand="git"), after=None, limit=3)
    assert page.entries[0].index >= 2 * PARTITION
    page = reader.query(Filter(tenant="default", hand="git"), after=3 * PARTITION - 1, limit=3)
    assert page.dropped == []
    counted = reader.query(Filter(tenant="default", type="PRNCHG"), limit=1, counted=True)
    assert counted.matches == len([*range(7, 3 * PARTITION + 50, 1000)])


async def test_a_bundle_of_entries_says_that_they_were_dropped(aged, dropped):
    with pytest.raises(Dropped):
        Tiles(Reader(aged)).bundle(parse_tile("entries", "001"))
    assert Tiles(Reader(aged)).bundle(parse_tile("entries", "040"))


async def test_evidence_of_a_range_says_what_of_it_was_dropped(aged, dropped, opened, tmp_path):
    async with opened(aged) as log:
        house = House(log, make_keyset(tmp_path))
        report = evidence_of(await house.bundle(first=4000, end=2 * PARTITION + 5), house.key)
        assert report.exit is not Exit.FAILED, list(report.lines())
        assert "entries 4000 to 8191 were dropped" in said(report, Verdict.LIMIT)["retention"]
        assert "completeness" not in said(report, Verdict.PROVED)
        young = evidence_of(await house.bundle(first=2 * PARTITION, end=2 * PARTITION + 5), house.key)
        assert "retention" not in said(young, Verdict.LIMIT)
        assert "completeness" in said(young, Verdict.PROVED)


async def test_evidence_by_control_says_what_it_cannot_count(aged, dropped):
    period = {"tenant": "default", "since": 0.0, "until": TIME, "now": TIME, "samples": 1}
    asked = ReportRequest(catalogue=catalogues()[Framework.GDPR], **period)
    told = report(Reader(aged), asked)
    assert told["range"]["dropped"] == 2 * PARTITION
    assert "of them were dropped" in _range(told["range"])
    [outcomes] = {
        one["detail"]
        for control in told["controls"]
        for one in control["expectations"]
        if one["id"] == "outcomes-recorded"
    }
    assert "nobody can tell" in outcomes


async def test_a_log_that_goes_on_stays_sound_and_indexes_what_comes(aged, dropped, opened):
    async with opened(aged) as log:
        await fill(log, 4 * PARTITION + 3)
        await _indexed(log, aged, [2, 3])
    assert list(check(aged)) == []


async def _indexed(log, engine, blocks):
    from tests.until import until

    def found():
        with engine.connect() as connection:
            return connection.execute(select(posting_blocks.c.block).order_by(posting_blocks.c.block)).scalars().all()

    await until(lambda: found() == blocks)


async def test_dropping_again_does_nothing(aged, dropped, opened, clock):
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        assert await states(one) == [DROPPED, DROPPED, YOUNG]
        assert await one.sweep() == 0
        size = log.reader.head()[0]
        assert await one.drop(0) == 0
        assert log.reader.head()[0] == size


# --- what has to stay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held",
    [
        holds.Held(),
        holds.Held(first=4096, last=4096),
        holds.Held(tenant="other", first=4100, last=8000),
        holds.Held(plan_id=f"{5000:064x}"),
    ],
)
async def test_a_hold_keeps_the_partition_of_an_entry_that_it_is_about(aged, opened, clock, held):
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        hold_id, entry = holds.setting(held, "2026/17")
        await log.append(Append([entry]))
        found = await one.survey()
        assert found[1].state is HELD
        assert found[1].holds == (hold_id,)
        assert found[0].state is (HELD if held == holds.Held() else DUE)
        with aged.connect() as connection:
            [hold] = holds.in_force(connection)
        await log.append(Append([holds.lifting(hold)]))
        assert await states(one) == [DUE, DUE, YOUNG]


async def test_a_hold_outlives_its_own_partition(aged, opened, clock):
    """Set in a partition that is dropped later: it still holds, and can still be lifted."""
    async with opened(aged) as log:
        _, entry = holds.setting(holds.Held(first=0, last=0), "c")
        await log.append(Append([entry]))
        await fill(log, 4 * PARTITION)
        clock.now = TIME + 50 * MONTH
        await fill(log, 5 * PARTITION + 1)
        one = retention(aged, log, clock)
        assert await states(one) == [HELD, DUE, DUE, DUE, YOUNG]
        for number in (1, 2, 3):
            await one.drop(number)
        assert await states(one) == [HELD, DROPPED, DROPPED, DROPPED, YOUNG]
    assert list(check(aged)) == []


async def test_a_value_that_is_still_kept_keeps_its_partition(opened, clock, engine):
    async with opened() as log:
        await log.append(Append([draft(1, fields={"args": commit(b"v", "s")})]))
        await fill(log, PARTITION)
        clock.now = TIME
        await fill(log, PARTITION + 1)
        one = retention(engine, log, clock)
        assert await states(one) == [VALUES]
        with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
            connection.execute(delete(payloads))
        assert await states(one) == [DUE]


async def test_a_context_that_is_in_use_keeps_what_it_did(opened, clock, engine):
    """What a context read taints what it may do: forgetting that would allow more than before."""
    async with opened() as log:
        await fill(log, PARTITION)
        clock.now = TIME
        await log.append(Append([draft(1, type=EntryType.PLAN_RECEIVED, context_id="c0-3")]))
        one = retention(engine, log, clock)
        await one.drop(0)
        with engine.connect() as connection:
            query = select(entries.c.context_id, func.count()).where(entries.c.idx < PARTITION)
            left = connection.execute(query.group_by(entries.c.context_id)).all()
        named = {context: count for context, count in left if context}
        assert list(named) == ["c0-3"]
        assert named["c0-3"] > 500
        assert list(check(engine)) == []
        clock.now = TIME + 30 * MONTH
        await log.append(Append([draft(1, type=EntryType.PLAN_RECEIVED, context_id="c4")]))
        assert await one.sweep() == named["c0-3"]
        assert list(check(engine)) == []


async def test_what_the_database_says_of_times_drops_nothing_young(aged, opened, clock):
    """Whoever writes the index could say that a young block is old."""
    async with opened(aged) as log:
        with pytest.raises(ArchiveRefused, match="whatever its index says"):
            await retention(aged, log, clock).drop(2)
    assert list(check(aged)) == []


async def test_a_partition_that_was_tampered_with_is_not_dropped(aged, opened, clock):
    attack(aged, entries.update().where(entries.c.idx == 77).values(body=b"{}"))
    async with opened(aged) as log:
        with pytest.raises(ArchiveRefused, match="entry 77"):
            await retention(aged, log, clock).drop(0)
    with aged.connect() as connection:
        assert connection.execute(select(dropped_partitions)).first() is None


@pytest.mark.parametrize(
    ("column", "value"),
    [("type", "POLDNY"), ("tenant", "other"), ("context_id", "c9"), ("plan_id", "f" * 64), ("principal", "p-x"),
     ("time", "2001-01-01T00:00:00.000Z"), ("reasons", '["a.b"]'), ("hand", None)],
)  # fmt: skip
async def test_a_partition_whose_columns_say_something_else_than_its_entries_is_not_dropped(
    aged, opened, clock, column, value
):
    """Else what stands could be made to look like what does not, and the drop itself would take the traces away."""
    attack(aged, entries.update().where(entries.c.idx == (8 if column == "hand" else 7)).values({column: value}))
    async with opened(aged) as log:
        with pytest.raises(ArchiveRefused, match=f"entry [78]: column {column}"):
            await retention(aged, log, clock).drop(0)
    with aged.connect() as connection:
        assert connection.execute(select(dropped_partitions)).first() is None


async def test_what_stands_stands_also_where_a_column_is_changed_between_record_and_deletion(
    aged, opened, clock, monkeypatch
):
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        with monkeypatch.context() as crash:
            crash.setattr("audit.retention._delete", lambda *_: 0)
            await one.drop(0)
        attack(aged, entries.update().where(entries.c.idx == 7).values(type="POLDNY"))
        with pytest.raises(LogUnavailable, match="not the entries stand"):
            await one.sweep()
        assert log.reader.entry(7)
        attack(aged, entries.update().where(entries.c.idx == 7).values(type="PRNCHG"))
        assert await one.sweep() > 4000
    assert list(check(aged)) == []


@pytest.mark.parametrize("index", [3, PARTITION * 3 + 1])
async def test_nothing_is_deleted_of_a_partition_that_no_entry_says_is_dropped(aged, opened, clock, index):
    attack(aged, insert(dropped_partitions).values(partition=0, idx=index))
    async with opened(aged) as log:
        with pytest.raises(LogUnavailable, match="no entry says"):
            await retention(aged, log, clock).sweep()
        assert log.reader.entry(5)


async def test_nothing_is_dropped_before_the_quorum_has_cosigned_what_covers_it(aged, opened, clock):
    async with opened(aged) as log:
        log.cosigned.quorum = Quorum((WitnessKey("witness.example", bytes(range(32))),), 1)
        with pytest.raises(ArchiveRefused, match="quorum"):
            await retention(aged, log, clock).drop(0)
        assert log.reader.entry(1)


# --- fsck ------------------------------------------------------------------------------------------------------------


def test_months_are_calendar_months():
    from datetime import UTC, datetime

    def before(text_, months):
        return months_before(datetime.fromisoformat(text_).replace(tzinfo=UTC).timestamp(), months)[:10]

    assert before("2026-08-31", 6) == "2026-02-28"
    assert before("2028-08-31", 6) == "2028-02-29"
    assert before("2026-01-15", 24) == "2024-01-15"
    assert before("2026-03-31", -3) == "2026-06-30"


@pytest.mark.parametrize(
    ("attack_", "fault"),
    [
        ("DELETE FROM dropped_partitions WHERE partition = 0", Fault.MISSING_ENTRY),
        ("UPDATE dropped_partitions SET idx = 3 WHERE partition = 1", Fault.RETENTION),
        ("UPDATE dropped_partitions SET idx = (SELECT max(idx) FROM dropped_partitions)", Fault.RETENTION),
        ("DELETE FROM retained_hashes WHERE tile = 3", Fault.MISSING_ENTRY),
        ("DELETE FROM entries WHERE idx = 1007", Fault.RETENTION),
        ("DELETE FROM entries WHERE idx = 9000", Fault.MISSING_ENTRY),
        ("INSERT INTO dropped_partitions (partition, idx) VALUES (2, 5)", Fault.RETENTION),
        ("INSERT INTO retained_hashes SELECT 40, leaves, above FROM retained_hashes WHERE tile = 1", Fault.RETENTION),
    ],
)
async def test_fsck_tells_dropped_from_missing(aged, dropped, attack_, fault):
    attack(aged, text(attack_))
    assert fault in {found for found, _, _ in faults(aged)}


@pytest.mark.parametrize("place", [0, 33, 8191])
@pytest.mark.parametrize("column", ["leaves", "above"])
async def test_one_flipped_byte_of_a_kept_hash_is_found(aged, dropped, column, place):
    with aged.connect() as connection:
        rows = connection.execute(select(retained_hashes).order_by(retained_hashes.c.tile)).all()
    tile = next(row for row in rows if len(getattr(row, column)) > place % 32)
    value = bytearray(getattr(tile, column))
    value[place % len(value)] ^= 1
    attack(aged, retained_hashes.update().where(retained_hashes.c.tile == tile.tile).values({column: bytes(value)}))
    assert faults(aged) != []


async def test_a_range_that_nobody_dropped_on_record_is_named(aged, opened, clock):
    attack(
        aged,
        insert(dropped_partitions).values(partition=0, idx=1),
        delete(entries).where(entries.c.idx.between(1, 100)),
    )
    found = faults(aged)
    assert (Fault.MISSING_ENTRY, 1, 1) in found
    assert (Fault.RETENTION, 0, PARTITION - 1) in found


# --- the database itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack_",
    [
        "DELETE FROM entries WHERE idx = 9000",
        "DELETE FROM entries WHERE idx = 7",
        "DELETE FROM entries",
        "DELETE FROM postings",
        "DELETE FROM posting_blocks",
        "DELETE FROM dropped_partitions",
        "DELETE FROM retained_hashes",
        "UPDATE retained_hashes SET leaves = above",
        "UPDATE dropped_partitions SET partition = 2 WHERE partition = 1",
        "UPDATE entries SET type = 'PLNRCV' WHERE idx = 7",
    ],
)
async def test_the_database_lets_go_of_nothing_but_what_was_dropped(aged, dropped, attack_):
    with writing(aged.connect()) as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(attack_))
    assert list(check(aged)) == []
