"""How long evidence by control takes over a large log, how much memory, and what an append beside it waits: a year of
entries on SQLite, and on PostgreSQL where it is installed.

    python -m bench.controls [--entries 1000000] [--only sqlite|postgresql]

The log is filled through the writer, so that proofs are real.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

import migrations
from audit.assurance.catalogue import Framework, catalogues
from audit.assurance.evidence import DAY_SECONDS, Stretch, usage
from audit.assurance.report import ReportRequest, report
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from audit.reader import Reader
from bench.append import BenchSigner, postgres
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings

BATCH = 2_000
BESIDE_SECONDS = 5.0
YEAR_SECONDS = 365 * DAY_SECONDS
BEGINNING = 1_767_225_600.0
RARE = {
    EntryType.KEY_ROTATED: 60,
    EntryType.LOG_VERIFIED: 3,
    EntryType.AUDIT_QUERIED: 10,
    EntryType.ACCESS_REVIEWED: 90,
    EntryType.POLICY_ACTIVATED: 30,
}
"""Type -> every how many days."""
USUAL = (
    EntryType.PLAN_RECEIVED,
    EntryType.POLICY_ALLOWED,
    EntryType.CREDENTIAL_ISSUED,
    EntryType.STEP_DISPATCHED,
    EntryType.STEP_EXECUTED,
)


def one(number: int, kind: EntryType) -> EntryDraft:
    """A plausible entry."""
    called = number % 5 != 0
    return EntryDraft(
        kind,
        "default",
        context_id=f"c{number // 10}",
        plan_id=f"{number // 5:064x}",
        principal="p",
        hand=f"hand{number % 7}" if called else None,
        action=f"action{number % 49}" if called else None,
    )


def drafts(first: int, count: int, entries: int) -> list[EntryDraft]:
    """A stretch of a year in which one thing follows on another."""
    found = []
    for number in range(first, first + count):
        day = number * 365 / entries
        before = (number - 1) * 365 / entries
        kind = next((kind for kind, days in RARE.items() if day // days != before // days), USUAL[number % len(USUAL)])
        found.append(one(number, kind))
    return found


async def fill(engine: Engine, entries: int, home: str) -> None:
    """Write the log, as the gateway does."""
    now = [BEGINNING]
    log = Log(engine, LogSettings(), BenchSigner(), EpochKeys(Path(home), os.urandom(32)), "bench", lambda: now[0])
    await log.start()
    for first in range(0, entries, BATCH):
        now[0] = BEGINNING + first * YEAR_SECONDS / entries
        await log.append(Append(drafts(first, min(BATCH, entries - first), entries)))
    await log.proof(entries)  # has a checkpoint cover the last of them
    await log.close()


def measure(engine: Engine) -> dict[str, Any]:
    """Each framework's report over the whole year, five times."""
    reader = Reader(engine)
    found: dict[str, Any] = {}
    for framework, catalogue in catalogues().items():
        asked = ReportRequest(
            catalogue=catalogue,
            tenant="default",
            since=BEGINNING,
            until=BEGINNING + YEAR_SECONDS,
            now=BEGINNING + YEAR_SECONDS,
        )
        times = []
        for _ in range(5):
            began = time.perf_counter()
            made = report(reader, asked)
            times.append(time.perf_counter() - began)
        tracemalloc.start()
        report(reader, asked)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        counted = sum({e["type"]: e["count"] for c in made["controls"] for e in c["evidence"]}.values())
        found[str(framework)] = (statistics.median(times), peak, counted)
    began = time.perf_counter()
    size, _ = reader.head()
    with reader.connect() as connection:
        actions = len(usage(connection, Stretch(connection, "default", 0, size)))
    found[f"use of {actions} actions"] = (time.perf_counter() - began, 0, size)
    return found


async def beside(engine: Engine, home: str, seconds: float, *, reports: bool) -> tuple[float, float]:
    """Median and worst of appends, one after another, in milliseconds; with ``reports`` while one is always made."""
    keys = EpochKeys(Path(home), os.urandom(32))
    log = Log(engine, LogSettings(), BenchSigner(), keys, "bench", time.time)
    await log.start()
    asked = ReportRequest(
        catalogue=catalogues()[Framework.ISO27001],
        tenant="default",
        since=BEGINNING,
        until=BEGINNING + YEAR_SECONDS,
        now=BEGINNING + YEAR_SECONDS,
    )

    async def report_on() -> None:
        while True:
            await log.reads.report(asked)

    reporting = asyncio.create_task(report_on()) if reports else None
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await log.append(Append([one(len(took), EntryType.PLAN_RECEIVED)]))
        took.append(time.perf_counter() - began)
    if reporting is not None:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    await log.close()
    return 1000 * statistics.median(took), 1000 * max(took)


def run(url: str, directory: str, entries: int) -> None:
    """Fill, measure and print the rows of one database."""
    engine = make_engine(url)
    migrations.upgrade(engine)
    asyncio.run(fill(engine, entries, f"{directory}/epochs"))
    kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[engine.dialect.name]
    for name, (seconds, peak, counted) in measure(engine).items():
        memory = f"{peak / 1e6:.1f}" if peak else ""
        print(f"| {kind} | {name} | {counted:,} | {seconds * 1000:,.0f} | {memory} |", flush=True)
    for words, reports in (("an append alone", False), ("an append beside a report", True)):
        middle, worst = asyncio.run(beside(engine, f"{directory}/epochs", BESIDE_SECONDS, reports=reports))
        print(f"| {kind} | {words} | | {middle:.1f}, worst {worst:.0f} | |", flush=True)
    engine.dispose()


def main() -> None:
    """Fill, measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    arguments = parser.parse_args()
    print(f"A year of {arguments.entries:,} entries.\n", flush=True)
    print("| database | what | entries that count | ms | MB |\n|---|---|---:|---:|---:|", flush=True)
    if arguments.only != "postgresql":
        with tempfile.TemporaryDirectory() as directory:
            run(f"sqlite:///{directory}/log.db", directory, arguments.entries)
    if arguments.only != "sqlite":
        with tempfile.TemporaryDirectory() as directory, postgres() as server:
            if server is not None:
                run(server.create_database(), directory, arguments.entries)


if __name__ == "__main__":
    main()
