"""How long evidence by control takes over a large log, and how much memory: a year of entries on SQLite and PostgreSQL.

    python -m bench.controls [--entries 1000000] [--postgres URL]

The log is filled through the writer, so that proofs are real; PostgreSQL is measured at ``--postgres`` (an empty
database).
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
from audit.assurance.catalogue import catalogues
from audit.assurance.evidence import DAY_SECONDS, Stretch, usage
from audit.assurance.report import ReportRequest, report
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from audit.reader import Reader
from bench.append import BenchSigner
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings

BATCH = 2_000
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


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--postgres", help="URL of an empty database")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        urls = [f"sqlite:///{directory}/log.db", *filter(None, [arguments.postgres])]
        for url in urls:
            engine = make_engine(url)
            migrations.upgrade(engine)
            began = time.perf_counter()
            asyncio.run(fill(engine, arguments.entries, f"{directory}/epochs"))
            print(
                f"{engine.dialect.name}: {arguments.entries:,} entries written in {time.perf_counter() - began:.0f} s"
            )
            for name, (seconds, peak, counted) in measure(engine).items():
                print(f"  {name:20} {seconds * 1000:8.0f} ms  {peak / 1e6:6.1f} MB  {counted:>10,} entries")
            engine.dispose()


if __name__ == "__main__":
    main()
