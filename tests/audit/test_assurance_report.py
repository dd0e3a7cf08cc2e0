"""What a report says of a log, on both databases: counts, silences, samples whose proofs hold, and nobody else's."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from audit.assurance.catalogue import Framework, catalogues
from audit.assurance.evidence import Stretch, silences, usage
from audit.assurance.report import ReportRequest, report
from audit.checkpoint import VerifierKey, verify_tlog_proof
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable
from audit.log import Log
from audit.merkle import leaf_hash
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.settings import LogSettings
from tests.audit.conftest import CONTROLS, CheckpointSigner

DAY = 86_400.0
START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class Diary:
    """A log whose entries are written on given days."""

    def __init__(self, log: Log, engine: Engine, moved: list[float]) -> None:
        self.log = log
        self.engine = engine
        self.moved = moved

    async def on(self, day: float, kind: EntryType, tenant: str = "default", **members: Any) -> None:
        self.moved[0] = START + day * DAY
        await self.log.append(Append([EntryDraft(kind, tenant, **members)]))

    async def report(
        self, framework: Framework, since: float, until: float, *, now: float | None = None, tenant: str = "default",
        samples: int = 2,
    ) -> dict[str, Any]:  # fmt: skip
        await self.log._signed()
        asked = ReportRequest(
            catalogue=catalogues()[framework],
            tenant=tenant,
            since=START + since * DAY,
            until=START + until * DAY,
            now=START + (until if now is None else now) * DAY,
            samples=samples,
        )
        return await asyncio.to_thread(report, self.log.reader, asked)

    def silences(self, kinds: Sequence[EntryType], days: int, since: float, until: float) -> list[tuple[float, float]]:
        size, _ = self.log.reader.head()
        with self.log.reader.connect() as connection:
            stretch = Stretch.between(connection, "default", START + since * DAY, START + until * DAY, size)
            found = silences(connection, stretch, kinds, days, START + since * DAY, START + until * DAY)
        return [((one.since - START) / DAY, (one.until - START) / DAY) for one in found]


@pytest.fixture
async def diary(engine: Engine, epochs: EpochKeys, signer: CheckpointSigner) -> AsyncIterator[Diary]:
    async with opened(engine, epochs, signer) as found:
        yield found


@asynccontextmanager
async def opened(engine: Engine, epochs: EpochKeys, signer: CheckpointSigner) -> AsyncIterator[Diary]:
    moved = [START]
    log = Log(engine, LogSettings(), signer, epochs, "g1", lambda: moved[0], controls=CONTROLS)
    await log.start()
    try:
        yield Diary(log, engine, moved)
    finally:
        await log.close()


def control(found: dict[str, Any], control_id: str) -> dict[str, Any]:
    return next(one for one in found["controls"] if one["id"] == control_id)


def expectation(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for c in found["controls"] for one in c["expectations"] if one["id"] == name)


async def test_counts_first_and_last_are_those_of_the_period_and_the_tenant(diary: Diary) -> None:
    for day in (1, 5, 9, 20):
        await diary.on(day, EntryType.PLAN_RECEIVED)
    await diary.on(21, EntryType.PLAN_RECEIVED, tenant="other")
    found = await diary.report(Framework.GDPR, 2, 20)
    [evidence] = [one for one in control(found, "30")["evidence"] if one["type"] == "PLNRCV"]
    assert evidence["count"] == 2
    assert evidence["first"]["time"] == "2026-01-06T00:00:00.000Z"
    assert evidence["last"]["time"] == "2026-01-10T00:00:00.000Z"
    other = await diary.report(Framework.GDPR, 0, 100, tenant="other")
    assert control(other, "30")["evidence"][0]["count"] == 1
    nobody = await diary.report(Framework.GDPR, 0, 100, tenant="nobody")
    assert all(not one["evidence"] for one in nobody["controls"])


async def test_each_sample_is_proved_under_the_reports_checkpoint(diary: Diary, signer: CheckpointSigner) -> None:
    for number in range(40):
        kind = EntryType.PLAN_RECEIVED if number % 3 else EntryType.POLICY_DENIED
        await diary.on(number / 10, kind)
    found = await diary.report(Framework.SOC2, 0, 10, samples=5)
    keys = [VerifierKey.parse(diary.log.vkey())]
    assert {one["type"] for one in found["samples"]} == {"PLNRCV", "POLDNY", "LOGOPN"}
    for one in found["samples"]:
        index, checkpoint = verify_tlog_proof(one["proof"], leaf_hash(one["entry"].encode()), keys, found["origin"])
        assert (index, checkpoint.tree_size) == (one["index"], found["tree_size"])
        with pytest.raises(Exception, match=r"."):
            verify_tlog_proof(one["proof"], leaf_hash(one["entry"].replace("g1", "g2").encode()), keys)
    again = await diary.report(Framework.SOC2, 0, 10, samples=5)
    assert [one["index"] for one in again["samples"]] == [one["index"] for one in found["samples"]]
    assert (await diary.report(Framework.SOC2, 0, 10, samples=0))["samples"] == []


async def test_a_silence_is_named_with_its_beginning_and_end(diary: Diary) -> None:
    await diary.on(0, EntryType.PLAN_RECEIVED)
    for day in (5, 10, 40, 45):
        await diary.on(day, EntryType.LOG_VERIFIED, facts={"findings": 0})
    kinds = [EntryType.LOG_VERIFIED]
    assert diary.silences(kinds, 7, 0, 50) == [(10, 40)]
    assert diary.silences(kinds, 30, 0, 50) == []
    assert diary.silences(kinds, 3, 0, 50) == [(0, 5), (5, 10), (10, 40), (40, 45), (45, 50)]
    # What was written before the period counts, and so does a silence that only reaches into it.
    assert diary.silences(kinds, 7, 12, 16) == []
    assert diary.silences(kinds, 7, 20, 30) == [(10, 30)]
    assert diary.silences(kinds, 7, 42, 50) == []
    assert diary.silences([EntryType.KEY_ROTATED], 7, 0, 50) == [(0, 50)]
    assert diary.silences([EntryType.KEY_ROTATED, EntryType.LOG_VERIFIED], 7, 0, 50) == [(10, 40)]


async def test_a_log_never_verified_is_missing_and_a_young_one_is_not_due(diary: Diary) -> None:
    await diary.on(0, EntryType.PLAN_RECEIVED)
    young = expectation(await diary.report(Framework.GDPR, 0, 5), "log-verified")
    assert young["state"] == "not_due"
    old = expectation(await diary.report(Framework.GDPR, 0, 30), "log-verified")
    assert old["state"] == "missing"
    assert "2026-01-01 to 2026-01-31 (30 days)" in old["detail"]
    assert "fsck" in old["remedy"]
    await diary.on(30, EntryType.LOG_VERIFIED, facts={"findings": 0})
    assert expectation(await diary.report(Framework.GDPR, 30, 35), "log-verified")["state"] == "met"
    # The future is no silence.
    assert expectation(await diary.report(Framework.GDPR, 30, 365, now=36), "log-verified")["state"] == "met"


async def test_no_rotation_in_ninety_days_is_missing(diary: Diary) -> None:
    await diary.on(0, EntryType.KEY_ROTATED)
    assert expectation(await diary.report(Framework.SOC2, 0, 90), "keys-rotated")["state"] == "met"
    assert expectation(await diary.report(Framework.SOC2, 0, 91), "keys-rotated")["state"] == "missing"
    await diary.on(89, EntryType.KEY_ROTATED)
    found = await diary.report(Framework.SOC2, 60, 150)
    assert expectation(found, "keys-rotated")["state"] == "met"
    assert control(found, "CC6.1")["status"] == "missing", "its other expectation, a policy in force, is not met"


async def test_approvals_that_nobody_exercised_are_missing(diary: Diary) -> None:
    await diary.on(1, EntryType.APPROVAL_REQUESTED)
    found = await diary.report(Framework.AI_ACT, 0, 10)
    assert control(found, "14")["status"] == "missing"
    assert expectation(found, "approvals-exercised")["state"] == "missing"
    await diary.on(2, EntryType.APPROVAL_REFUSED)
    assert control(await diary.report(Framework.AI_ACT, 0, 10), "14")["status"] == "evidence"


async def test_what_no_version_writes_says_so_instead_of_blaming_the_operator(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.assurance import report as module

    monkeypatch.setattr(module, "UNWRITTEN", frozenset({EntryType.KEY_ROTATED}))
    await diary.on(0, EntryType.PLAN_RECEIVED)
    found = await diary.report(Framework.SOC2, 0, 100)
    assert "writes no such entry" in expectation(found, "keys-rotated")["detail"]
    assert "KEYROT" in control(found, "CC6.1")["not_written_yet"]


async def test_expectations_beside_something_else_wait_for_it(diary: Diary) -> None:
    await diary.on(0, EntryType.PLAN_RECEIVED)
    found = await diary.report(Framework.SOC2, 0, 10)
    assert expectation(found, "outcomes-recorded")["state"] == "not_applicable"
    await diary.on(1, EntryType.STEP_DISPATCHED)
    assert expectation(await diary.report(Framework.SOC2, 0, 10), "outcomes-recorded")["state"] == "missing"
    await diary.on(2, EntryType.STEP_FAILED)
    assert expectation(await diary.report(Framework.SOC2, 0, 10), "outcomes-recorded")["state"] == "met"


async def test_the_gateways_own_entries_are_the_operators_and_no_other_tenant_sees_them(diary: Diary) -> None:
    await diary.on(0, EntryType.KEY_ROTATED)
    await diary.on(0, EntryType.PLAN_RECEIVED, tenant="other")
    found = await diary.report(Framework.SOC2, 0, 100, tenant="other")
    assert expectation(found, "keys-rotated")["state"] == "operator"
    assert control(found, "CC6.1")["evidence"] == []
    assert {one["type"] for one in found["samples"]} == {"PLNRCV"}


async def test_clocks_that_disagree_end_no_search(diary: Diary) -> None:
    for day in (10, 3, 12, 1, 50, 2, 60):
        await diary.on(day, EntryType.LOG_VERIFIED)
    assert diary.silences([EntryType.LOG_VERIFIED], 7, 0, 70)
    found = await diary.report(Framework.GDPR, 0, 70)
    assert expectation(found, "log-verified")["state"] == "missing"


async def test_a_log_without_a_checkpoint_gives_no_report(engine: Engine) -> None:
    from audit.reader import Reader

    asked = ReportRequest(catalogue=catalogues()[Framework.GDPR], tenant="default", since=0, until=1, now=1)
    with pytest.raises(LogUnavailable, match="checkpoint"):
        report(Reader(engine), asked)


async def test_use_is_counted_by_hand_and_action(diary: Diary) -> None:
    for day, hand, action in ((1, "git", "log"), (2, "git", "log"), (3, "git", "add"), (4, "mail", "send")):
        await diary.on(day, EntryType.STEP_DISPATCHED, hand=hand, action=action)
        await diary.on(day, EntryType.STEP_EXECUTED, hand=hand, action=action)
    await diary.on(5, EntryType.STEP_DISPATCHED, tenant="other", hand="bank", action="pay")
    await diary.on(5, EntryType.HAND_REGISTERED, hand="mail")
    size, _ = diary.log.reader.head()
    with diary.log.reader.connect() as connection:
        found = usage(connection, Stretch.between(connection, "default", START, START + 3 * DAY, size))
        everything = usage(connection, Stretch(connection, "default", 0, size))
    assert [(one["hand"], one["action"], one["calls"]) for one in found] == [("git", "log", 2)]
    assert [(one["hand"], one["action"]) for one in everything] == [("git", "add"), ("git", "log"), ("mail", "send")]
    assert everything[1]["first"] == "2026-01-02T00:00:00.000Z"


async def test_a_report_that_pauses_holds_nothing_of_the_database(diary: Diary) -> None:
    for day in range(20):
        await diary.on(day, EntryType.PLAN_RECEIVED)
        await diary.on(day, EntryType.KEY_ROTATED)
    await diary.log._signed()
    asked = ReportRequest(
        catalogue=catalogues()[Framework.GDPR], tenant="default", since=START, until=START + 30 * DAY, now=START
    )
    paused, going_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        loop.call_soon_threadsafe(paused.set)
        going_on.wait()

    making = asyncio.create_task(diary.log.reads.report(asked, progress))
    try:
        await paused.wait()
        await diary.on(21, EntryType.PLAN_RECEIVED)
        await asyncio.to_thread(_take_all, diary.engine)
    finally:
        going_on.set()
    found = await making
    assert found["tree_size"] < diary.log.reader.head()[0]
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 40


def _take_all(engine: Engine) -> None:
    """What only whom nobody is in the way of can do: fold in the write-ahead log; lock the entries against readers."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            busy, frames, folded = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            assert (busy, frames, folded) == (0, 0, 0)
        else:
            connection.exec_driver_sql("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE NOWAIT")
            connection.rollback()


@pytest.mark.parametrize("after", [0, 3])
async def test_whoever_watches_can_end_a_report(diary: Diary, after: int) -> None:
    await diary.on(1, EntryType.PLAN_RECEIVED)
    await diary.log._signed()

    class Enough(HandrailError):
        pass

    def progress(done: int, _total: int) -> None:
        if done >= after:
            raise Enough(Reason.INTERNAL)

    asked = ReportRequest(
        catalogue=catalogues()[Framework.GDPR], tenant="default", since=0, until=START + DAY, now=START
    )
    with pytest.raises(Enough):
        await diary.log.reads.report(asked, progress)
    with pytest.raises(Enough):
        await diary.log.reads.usage("default", 0, START + 2 * DAY, lambda _done, _total: progress(after, 0))
