"""How long an auditor waits for a page of a large log: ``python -m bench.query [--entries 1000000] [--url URL]``.

The log is filled through the real writer, with the mix that a gateway leaves: a few hands and actions, many contexts,
denials that are rare. Then each kind of question is asked, oldest and newest first, with and without the count, at
a page of 100 with its proofs. What is timed is the reader alone: no HTTP, and no entry about the query.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import migrations
from audit import indexing
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from audit.query import Filter, Scope
from audit.reader import Reader
from bench.append import BenchSigner
from gateway.entries import COMMON, EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings

BATCH: Final = 512
TURNS: Final = 5
START: Final = 1_795_226_400.0
_HANDS: Final = ("git", "mail", "files", "tickets", "ledger", "calendar")
_ACTIONS: Final = ("read", "list", "write", "delete")
_TYPES: Final = (
    (EntryType.PLAN_RECEIVED, 20),
    (EntryType.POLICY_ALLOWED, 25),
    (EntryType.CREDENTIAL_ISSUED, 24),
    (EntryType.STEP_EXECUTED, 24),
    (EntryType.POLICY_DENIED, 1),
    (EntryType.APPROVAL_REQUESTED, 3),
    (EntryType.APPROVAL_GRANTED, 3),
)


_COMMON: Final = frozenset(map(str, COMMON))
_SCOPES: Final = {
    "two hands": Scope(hands=frozenset(_HANDS[:2]), types=_COMMON),
    "300 hands": Scope(hands=frozenset([*_HANDS[:2], *(f"hand-{number}" for number in range(298))]), types=_COMMON),
    "no hand": Scope(hands=frozenset(), types=_COMMON),
}
"""What auditors are bound to: of 300 hands, most write nothing, as in a house with many."""


def drafts(count: int) -> Iterator[EntryDraft]:
    """The same log every time."""
    chosen = random.Random(7)
    types, weights = zip(*_TYPES, strict=True)
    for number in range(count):
        kind = chosen.choices(types, weights)[0]
        denied = kind is EntryType.POLICY_DENIED
        yield EntryDraft(
            kind,
            "default",
            context_id=f"context-{number // 50}",
            plan_id=f"{number // 5:064x}",
            step_id=f"s{number % 5}",
            principal=f"p-{chosen.randrange(200):010x}",
            hand=chosen.choice(_HANDS),
            action=chosen.choice(_ACTIONS),
            effect="deny" if denied else "allow",
            reasons=("paths.outside" if number % 100_000 < 100 else "grants.missing",) if denied else ("grants.held",),
            policy_digest=f"{number // 200_000:064x}",
        )


def questions(entries: int) -> dict[str, dict[str, Any]]:
    """What auditors ask, by words."""
    hour = {"since": _time(entries // 2), "until": _time(entries // 2 + 3_600)}
    return {
        "all": {},
        "one plan": {"plan_id": f"{entries // 10:064x}"},
        "one context": {"context_id": f"context-{entries // 100}"},
        "one principal": {"principal": f"p-{7:010x}"},
        "denials": {"effect": "deny"},
        "denials of one action of one hand": {"effect": "deny", "hand": "ledger", "action": "delete"},
        "a rare reason": {"reason": "paths.outside", "hand": "mail"},
        "a control": {"control": "gdpr:22(3)"},
        "an hour": hour,
        "denials in an hour": {**hour, "effect": "deny"},
        "what is not there": {"hand": "git", "action": "read", "reason": "paths.outside", "effect": "allow"},
        "one policy bundle, executed": {"policy_digest": f"{entries // 400_000:064x}", "type": "STPEXE"},
        **{
            f"{words}, bound to {hands}": {**wanted, "scope": scope}
            for hands, scope in _SCOPES.items()
            for words, wanted in (("all", {}), ("denials", {"effect": "deny"}))
        },
    }


def _time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(START + second))


async def fill(url: str, home: Path, entries: int) -> float:
    """A log of ``entries`` with its index; returns how many entries a second went in."""
    engine = make_engine(url)
    migrations.upgrade(engine)
    clock = [START]
    log = Log(engine, LogSettings(), BenchSigner(), EpochKeys(home, os.urandom(32)), "bench", lambda: clock[0])
    await log.start()
    began, done = time.perf_counter(), 0
    batch: list[EntryDraft] = []
    waiting: set[asyncio.Task[Any]] = set()
    for draft in drafts(entries - 1):
        batch.append(draft)
        if len(batch) == BATCH:
            waiting.add(asyncio.create_task(log.append(Append(batch))))
            batch, done = [], done + BATCH
            clock[0] = START + done
            if len(waiting) == 4:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                _say(f"\r{done:,} of {entries:,} entries")
    if batch:
        waiting.add(asyncio.create_task(log.append(Append(batch))))
    await asyncio.gather(*waiting)
    rate = entries / (time.perf_counter() - began)
    while await asyncio.to_thread(_behind, log.reader):
        await asyncio.sleep(0.2)
    await log.close()
    engine.dispose()
    _say("\n")
    return rate


def _behind(reader: Reader) -> bool:
    with reader.connect() as connection:
        return bool(indexing.missing(connection))


def ask(reader: Reader, wanted: dict[str, Any], *, newest_first: bool, counted: bool) -> float:
    """Seconds for one page of 100 with its proofs."""
    began = time.perf_counter()
    page = reader.query(Filter(tenant="default", **wanted), limit=100, newest_first=newest_first, counted=counted)
    reader.inclusions([entry.index for entry in page.entries], page.tree_size)
    return time.perf_counter() - began


def measure(url: str, entries: int) -> list[tuple[str, int | None, float, float]]:
    """Per question: its words, how many entries match, p50 and worst in milliseconds. The questions take turns, so that
    what else the machine does falls on all of them alike."""
    engine = make_engine(url)
    reader = Reader(engine)
    rows: list[tuple[str, int | None, float, float]] = []
    everything: list[float] = []
    times: dict[str, list[float]] = {words: [] for words in questions(entries)}
    for _ in range(TURNS):
        for words, wanted in questions(entries).items():
            times[words] += [
                ask(reader, wanted, newest_first=newest, counted=counted)
                for newest in (False, True)
                for counted in (False, True)
            ]
    for words, wanted in questions(entries).items():
        took = times[words]
        everything += took
        matches = reader.query(Filter(tenant="default", **wanted), limit=1, counted=True).matches or 0
        rows.append((words, matches, 1000 * statistics.median(took), 1000 * max(took)))
    rows.append(
        (
            "all of these, p95 in the last column",
            None,
            1000 * statistics.median(everything),
            1000 * statistics.quantiles(everything, n=20)[-1],
        )
    )
    engine.dispose()
    return rows


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def main() -> None:
    """Fill, ask, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.query", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--url", help="an empty database; default: SQLite in a temporary directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory:
        home = Path(directory)
        url = arguments.url or f"sqlite:///{home / 'log.db'}"
        rate = asyncio.run(fill(url, home / "epochs", arguments.entries))
        rows = measure(url, arguments.entries)
    print(f"{arguments.entries:,} entries; filled at {rate:,.0f} entries/s")
    print("\n| question | entries that match | p50 ms | worst ms |\n|---|---:|---:|---:|")
    for words, matches, middle, worst in rows:
        print(f"| {words} | {'' if matches is None else f'{matches:,}'} | {middle:.1f} | {worst:.1f} |")
    middles = {words: middle for words, _, middle, _ in rows}
    print("\n| p50 of who is bound to ... by that of who is not | all | denials |\n|---|---:|---:|")
    for hands in _SCOPES:
        ratios = [middles[f"{words}, bound to {hands}"] / middles[words] for words in ("all", "denials")]
        print(f"| {hands} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
