"""The audit log alone, for ``make bench``: appends, acknowledgements at a given rate, growth to a million entries, and
several processes on one log. Each part runs in a process of its own.

    python -m bench.log [--entries 1000000] [--seconds 5] [--record]
    python -m bench.log PART URL ...    (one part, as the others run it; one JSON object)

Every append is durable (SQLite: write-ahead log, ``synchronous=FULL``), integrated into the tree, and under a signed
checkpoint within a second; entries are 1 KiB. Afterwards ``fsck`` goes through each log.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from audit.database import make_engine
from audit.fsck import check
from bench import bare
from bench.append import draft, measure, opened, percentile, postgres
from bench.load import BenchError
from bench.page import BEGIN_LOG, machine, measured, write_page
from gateway.ports import Append

CALLERS: Final = 128
OFFERED_PER_SECOND: Final = 1_000
WARM_SECONDS: Final = 1
"""Of appends at the given rate before those that are timed: the first ones make connections and prepare statements."""
SIZES: Final = (10_000, 100_000, 1_000_000)
PROOFS: Final = 2_000
FILL_ENTRIES: Final = 256
"""Entries of one append of the filler; eight are under way."""
WRITERS: Final = (1, 2, 4)
_PARTS: Final = {
    "bare": ("bare",),
    "append": ("append",),
    "sealed": ("append", "--payload"),
    "offered": ("offered",),
}
"""On each database: name of the result -> part and flags."""

Say = Callable[[str], None]


async def offered(url: str, seconds: float) -> dict[str, Any]:
    """Appends that begin at :data:`OFFERED_PER_SECOND` whatever became of the earlier ones. An acknowledgement is timed
    from when its append was due, so that a stall counts for all who would have come in it.
    """
    latencies: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        async with opened(url, Path(home)) as log:

            async def one(number: int, due: float) -> None:
                await log.append(Append([draft(number, payload=False)]))
                if number >= WARM_SECONDS * OFFERED_PER_SECOND:
                    latencies.append(time.perf_counter() - due)

            began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for number in range(int((WARM_SECONDS + seconds) * OFFERED_PER_SECOND)):
                    due = began + number / OFFERED_PER_SECOND
                    if (early := due - time.perf_counter()) > 0:
                        await asyncio.sleep(early)
                    tasks.create_task(one(number, due))
    return {
        "appends_per_second": OFFERED_PER_SECOND,
        "p50_milliseconds": percentile(latencies, 0.5),
        "p99_milliseconds": percentile(latencies, 0.99),
        "max_milliseconds": percentile(latencies, 1),
    }


async def growth(url: str, entries: int) -> dict[str, Any]:
    """Fill a log through the writer; at each size, memory of the process and what a proof takes."""
    sizes = [size for size in SIZES if size < entries] + [entries]
    rows, done, filling = [], 1, 0.0
    with tempfile.TemporaryDirectory() as home:
        async with opened(url, Path(home)) as log:
            for size in sizes:
                began = time.perf_counter()
                batches = iter(
                    [range(at, min(at + FILL_ENTRIES, size)) for at in range(done, size, FILL_ENTRIES)],
                )

                async def fill(batches: Iterator[range] = batches) -> None:
                    for batch in batches:
                        await log.append(Append([draft(number, payload=False) for number in batch]))

                await asyncio.gather(*(fill() for _ in range(8)))
                filling, done = filling + time.perf_counter() - began, size
                await log.checkpoint()
                while (found := await asyncio.to_thread(log.reader.checkpoint)) is None or found[0] < size:
                    await log._signed()  # noqa: SLF001 - the newest head, not one that is a second old
                prove = log._proof  # noqa: SLF001 - without the thread that it is read in
                rows.append(
                    {
                        "entries": size,
                        "filled_seconds": round(filling, 1),
                        "resident_bytes": resident(),
                        **await asyncio.to_thread(proofs, prove, size),
                    }
                )
    return {"sizes": rows}


def proofs(prove: Callable[[int], str], size: int) -> dict[str, float]:
    """How long the proof of a random entry under the newest checkpoint takes to make, reading from the database."""
    chosen, took = random.Random(7), []
    for _ in range(PROOFS):
        index = chosen.randrange(size)
        began = time.perf_counter()
        prove(index)
        took.append(time.perf_counter() - began)
    return {"proof_p50_milliseconds": percentile(took, 0.5), "proof_p99_milliseconds": percentile(took, 0.99)}


def resident() -> int:
    """Resident set of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def writers(url: str, count: int, seconds: float) -> dict[str, Any]:
    """``count`` processes append to one log at once, with all callers shared out among them.

    Raises:
        BenchError: an append is missing, or there twice.
    """
    share = ["append", url, "--seconds", str(seconds), "--callers", str(CALLERS // count)]
    _part("append", url, "--seconds", "0.2", "--callers", "1")  # makes the tables
    before = fsck(url)
    processes = [_start(*share) for _ in range(count)]
    found = [_finish(process) for process in processes]
    appended = sum(one["appends"] for one in found)
    entries = fsck(url) - before
    if entries != appended:
        raise BenchError(f"{appended} appends were acknowledged to {count} processes, and the log grew by {entries}")
    return {
        "processes": count,
        "appends_per_second": sum(one["appends_per_second"] for one in found),
        "p50_milliseconds": max(one["p50_milliseconds"] for one in found),
        "p99_milliseconds": max(one["p99_milliseconds"] for one in found),
    }


def fsck(url: str) -> int:
    """Check the whole log; returns how many entries it has. Raises :class:`BenchError`."""
    engine, total = make_engine(url), 0

    def note(_done: int, entries: int) -> None:
        nonlocal total
        total = entries

    try:
        for finding in check(engine, progress=note):
            raise BenchError(f"the log is damaged: {finding}")
    finally:
        engine.dispose()
    return total


# --- all parts -------------------------------------------------------------------------------------------------------


def measure_all(seconds: float, entries: int, say: Say) -> dict[str, Any]:
    """Every part on every database that is there, each checked afterwards.

    Returns:
        ``databases`` (name -> its rows), ``growth`` (SQLite's), ``writers`` (PostgreSQL's) and ``checked`` (entries).
    """
    found: dict[str, Any] = {"databases": {}, "growth": [], "writers": [], "checked": 0}
    with databases() as urls:
        for name, fresh in urls.items():
            say(f"measuring the log on {name}")
            parts: dict[str, Any] = {}
            for name_of_part, (part, *flags) in _PARTS.items():
                url = next(fresh)
                os.sync()  # what the parts before left to be written would be waited for by this one
                parts[name_of_part] = _part(part, url, "--seconds", str(seconds), *flags)
                found["checked"] += 0 if part == "bare" else fsck(url)
            parts["ratio_to_bare"] = parts["append"]["appends_per_second"] / parts["bare"]["rows_per_second"]
            found["databases"][name] = parts
        say(f"filling a log with {entries:,} entries")
        url = next(urls["sqlite"])
        found["growth"] = _part("growth", url, "--entries", str(entries))["sizes"]
        found["checked"] += fsck(url)
        if "postgresql" in urls:
            say("several processes on one log")
            found["writers"] = [writers(next(urls["postgresql"]), count, seconds) for count in WRITERS]
    return found


@contextmanager
def databases() -> Iterator[Mapping[str, Iterator[str]]]:
    """Name -> URLs of empty databases, as many as are asked for."""
    with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory, postgres() as server:
        found: dict[str, Iterator[str]] = {"sqlite": (f"sqlite:///{directory}/{number}.db" for number in range(1_000))}
        if server is not None:
            found["postgresql"] = iter(server.create_database, None)
        yield found


def tables(found: Mapping[str, Any]) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    """Title, columns and cells of each table, for people."""
    first = (
        "",
        "appends/s",
        "of bare rows",
        "with a sealed value",
        "p50 ms at 1,000/s",
        "p99 ms at 1,000/s",
        "CPU us/append",
    )
    second = ("entries", "filled in s", "process MB", "proof p50 ms", "proof p99 ms")
    third = ("processes", "appends/s", "p50 ms", "p99 ms")
    return [
        (
            f"Durable appends of 1 KiB by {CALLERS} callers, and their acknowledgement at a fixed rate",
            first,
            [
                (
                    name,
                    f"{parts['append']['appends_per_second']:,}",
                    f"{parts['ratio_to_bare']:.2f}",
                    f"{parts['sealed']['appends_per_second']:,}",
                    f"{parts['offered']['p50_milliseconds']:.1f}",
                    f"{parts['offered']['p99_milliseconds']:.1f}",
                    f"{parts['append']['cpu_microseconds_per_append']:.0f}",
                )
                for name, parts in found["databases"].items()
            ],
        ),
        (
            "A growing log on SQLite",
            second,
            [
                (
                    f"{row['entries']:,}",
                    f"{row['filled_seconds']:.0f}",
                    f"{row['resident_bytes'] / 1e6:.0f}",
                    f"{row['proof_p50_milliseconds']:.2f}",
                    f"{row['proof_p99_milliseconds']:.2f}",
                )
                for row in found["growth"]
            ],
        ),
        (
            f"Processes on one log on PostgreSQL, {CALLERS} callers together",
            third,
            [
                (
                    str(row["processes"]),
                    f"{row['appends_per_second']:,}",
                    f"{row['p50_milliseconds']:.1f}",
                    f"{row['p99_milliseconds']:.1f}",
                )
                for row in found["writers"]
            ],
        ),
    ]


def document(found: Mapping[str, Any], about: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [measured(about), ""]
    for title, columns, rows in tables(found):
        if rows:
            heading = f"| {' | '.join(columns)} |", f"|{'|'.join(['---'] + ['---:'] * (len(columns) - 1))}|"
            lines += [f"{title}:", "", *heading, *(f"| {' | '.join(row)} |" for row in rows), ""]
    if len(found["databases"]) < len(("sqlite", "postgresql")):
        lines += ["PostgreSQL was not installed where this was measured.", ""]
    return "\n".join(lines).rstrip()


# --- one part, in a process of its own -------------------------------------------------------------------------------


def _part(*arguments: str) -> dict[str, Any]:
    return _finish(_start(*arguments))


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.log", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, complaint = process.communicate()
    if process.returncode:
        raise BenchError(f"a part of the log's benchmark failed: {complaint[-2000:]}")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument("part", nargs="?", choices=["bare", "append", "offered", "growth"])
    parser.add_argument("url", nargs="?")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--entries", type=int, default=SIZES[-1])
    parser.add_argument("--callers", type=int, default=CALLERS)
    parser.add_argument("--payload", action="store_true")
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    if options.part is None:
        found = measure_all(options.seconds, options.entries, lambda text: print(text, file=sys.stderr))
        text = document(found, machine())
        print(text)
        print(f"\n{found['checked']:,} entries checked")
        if options.record:
            write_page(text, BEGIN_LOG)
        return 0
    if options.url is None:
        parser.error("a part needs the URL of a database")
    if options.part == "bare":
        result = bare.measure(options.url, options.seconds, options.callers)
    elif options.part == "append":
        result = asyncio.run(measure(options.url, options.seconds, options.callers, payload=options.payload))
    elif options.part == "offered":
        result = asyncio.run(offered(options.url, options.seconds))
    else:
        result = asyncio.run(growth(options.url, options.entries))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
