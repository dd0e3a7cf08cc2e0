"""``make bench``: measure, check, write bench/results/TIME.json and print the tables."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from bench import calls as ways_in
from bench import code_hands, jail, log, managed_agents, messages, policy, runs
from bench.governed import Measurement, measure, say_to_terminal, summary
from bench.load import BenchError
from bench.page import (
    BEGIN,
    BEGIN_AGENTS,
    BEGIN_CALLS,
    BEGIN_CODE,
    BEGIN_JAIL,
    BEGIN_LOG,
    BEGIN_MESSAGES,
    BEGIN_POLICY,
    BEGIN_RUNS,
    RESULTS,
    machine,
    measured,
    write_page,
)

TITLES = ("of bare", "p50 ms", "p99 ms", "p50 added ms", "CPU us/step")
MEMORY = {
    "memory_bytes": "tree MB",
    "resident_bytes": "server MB",
    "worker_bytes": "worker MB",
    "grown_bytes": "grown MB",
}
"""The whole process tree, the server's own process, its largest worker, and what the server grew by in a round."""


def table(rows: list[dict[str, Any]]) -> Table:
    """The summary for people."""
    shown = Table(title="A governed step against a bare proxy hop (medians; one core for the server)")
    for column in ("connections", "subject", "steps/s", *TITLES):
        shown.add_column(column, justify="left" if column == "subject" else "right")
    for column in MEMORY.values():
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(
            str(row["connections"]),
            row["subject"],
            f"{row['steps_per_second']:,.0f}",
            f"{row['ratio_to_bare']:.2f}",
            f"{row['p50_milliseconds']:.2f}",
            f"{row['p99_milliseconds']:.2f}",
            f"{row['p50_added_milliseconds']:.2f}",
            f"{row['cpu_microseconds_per_step']:,.0f}",
            *(f"{row[name] / 1e6:,.0f}" for name in MEMORY),
            end_section=row["subject"] == "ten",
        )
    return shown


def policy_table(rows: list[dict[str, Any]]) -> Table:
    """Decisions per second, for people."""
    shown = Table(title="Decisions by the shipped policies (a decision is one step)")
    for name, title in policy.COLUMNS.items():
        shown.add_column(title, justify="left" if name == "engine" else "right")
    for row in rows:
        shown.add_row(*policy.cells(row))
    return shown


def log_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """The audit log alone, for people."""
    for title, columns, rows in log.tables(found):
        shown = Table(title=title)
        for column in columns:
            shown.add_column(column, justify="right")
        for row in rows:
            shown.add_row(*row)
        yield shown


Times = list[tuple[str, dict[str, float]]]
"""(what was started or called, milliseconds)."""


def jails() -> tuple[Times, Times]:
    """Cold starts, and calls of hands that run code. Raises BenchError where no jail can start."""
    return jail.rows(asyncio.run(jail.measure(50, 0.05))), list(asyncio.run(code_hands.measure(50, 0.05)).items())


def jail_table(times: Times) -> Table:
    """Milliseconds of starts and calls, for people."""
    shown = Table(title="Cold starts of jails, and calls of hands that run code (milliseconds)")
    for column in ("", "median", "p90", "least"):
        shown.add_column(column, justify="right" if column else "left")
    for name, one in times:
        shown.add_row(name, str(one["median"]), str(one["p90"]), str(one["min"]))
    return shown


def added_table(title: str, what: str, found: Mapping[str, Mapping[str, float]]) -> Table:
    """Times directly and governed, for people."""
    shown = Table(title=title)
    for column in (what, *messages.COLUMNS.values()):
        shown.add_column(column, justify="left" if column == what else "right")
    for size, times in found.items():
        shown.add_row(size, *(str(times[name]) for name in messages.COLUMNS))
    return shown


def calls_table(found: Mapping[str, Mapping[str, float]]) -> Table:
    """One call by each way in, for people."""
    shown = Table(title="One call of a tool by each way in")
    for column in ("a call by", *ways_in.COLUMNS.values()):
        shown.add_column(column, justify="left" if column == "a call by" else "right")
    for subject, times in found.items():
        shown.add_row(subject, *ways_in.cells(times))
    return shown


def write(
    measurement: Measurement,
    rows: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    logged: Mapping[str, Any],
    jailed: tuple[Times, Times],
    tokens: Mapping[str, Mapping[str, float]],
    turns: Mapping[str, Mapping[str, float]],
    called: Mapping[str, Mapping[str, float]],
    agents: Mapping[str, Mapping[str, float]],
    about: dict[str, Any],
) -> Path:
    """The whole run as one JSON file; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"governed-{about['time'].replace(':', '').replace('+0000', 'Z')}.json"
    content = {
        "machine": about,
        "summary": rows,
        "policy": decisions,
        "log": logged,
        "jail": {name: times for group in jailed for name, times in group},
        "messages": tokens,
        "runs": turns,
        "calls": called,
        "managed_agents": agents,
        "turns": [
            {
                "connections": turn.connections,
                "rounds": {name: figures.document() for name, figures in turn.rounds.items()},
            }
            for turn in measurement.turns
        ],
        "turns_discarded": measurement.discarded,
        "checked": {
            "steps": measurement.steps_checked,
            "receipts": measurement.receipts_verified,
            "entries": measurement.entries_checked,
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def document(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The summary as the Markdown that docs/performance.md holds."""
    lines = [
        measured(about),
        "",
        "| connections | | " + " | ".join(("steps/s", *TITLES, *MEMORY.values())) + " |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['connections']} | {row['subject']} | {row['steps_per_second']:,.0f} | {row['ratio_to_bare']:.2f} "
        f"| {row['p50_milliseconds']:.2f} | {row['p99_milliseconds']:.2f} | {row['p50_added_milliseconds']:.2f} "
        f"| {row['cpu_microseconds_per_step']:,.0f} | "
        + " | ".join(f"{row[name] / 1e6:,.0f}" for name in MEMORY)
        + " |"
        for row in rows
    ]
    return "\n".join(lines)


def policy_document(rows: list[dict[str, Any]]) -> str:
    """Decisions per second as Markdown."""
    lines = [
        "| " + " | ".join(policy.COLUMNS.values()) + " |",
        "|---|" + "---:|" * (len(policy.COLUMNS) - 1),
        *("| " + " | ".join(policy.cells(row)) + " |" for row in rows),
    ]
    if all(row["engine"] != policy.OPA for row in rows):
        lines += ["", "OPA was not installed where this was measured."]
    return "\n".join(lines)


def main() -> int:
    """Parse the flags and run; 1 where the run could not be trusted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--connections", default="1,8,32", help="numbers of connections, with commas")
    parser.add_argument("--turns", type=int, default=3, help="accepted turns at each number of connections")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument("--entries", type=int, default=log.SIZES[-1], help="how far a log is filled")
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.connections.split(",")]
    with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory:
        try:
            measurement = asyncio.run(
                measure(numbers, arguments.turns, arguments.seconds, Path(directory), say_to_terminal)
            )
        except BenchError as error:
            sys.stderr.write(f"bench: {error}\n")
            return 1
    say_to_terminal("measuring the policy engines")
    decisions = uvloop.run(policy.decisions_per_second(arguments.seconds, say_to_terminal))
    try:
        logged = log.measure_all(arguments.seconds, arguments.entries, say_to_terminal)
        say_to_terminal("measuring jails")
        starts, calls = jails()
        # In a process of their own: they pin themselves to the core of the load.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            tokens = alone.submit(messages.measured_alone).result()
            turns = alone.submit(runs.measured_alone).result()
            called = alone.submit(ways_in.measured_alone).result()
            agents = alone.submit(managed_agents.measured_alone).result()
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    rows = summary(measurement)
    about = machine()
    path = write(measurement, rows, decisions, logged, (starts, calls), tokens, turns, called, agents, about)
    if arguments.record:
        write_page(document(rows, about), BEGIN)
        write_page(policy_document(decisions), BEGIN_POLICY)
        write_page(log.document(logged, about), BEGIN_LOG)
        write_page(jail.document(starts, about), BEGIN_JAIL)
        write_page(jail.document(calls, about), BEGIN_CODE)
        write_page(messages.document(tokens, about), BEGIN_MESSAGES)
        write_page(messages.document(turns, about, "a turn"), BEGIN_RUNS)
        write_page(ways_in.document(called, about), BEGIN_CALLS)
        write_page(messages.document(agents, about, managed_agents.WHAT), BEGIN_AGENTS)
    console = Console(width=max(Console().width, 140))
    console.print(table(rows))
    console.print(policy_table(decisions))
    for shown in log_tables(logged):
        console.print(shown)
    console.print(jail_table([*starts, *calls]))
    console.print(added_table("The time to a model's first token", "a request", tokens))
    console.print(added_table("The time of a turn of a run", "a turn", turns))
    console.print(calls_table(called))
    console.print(added_table("Tool calls of Claude Managed Agents", managed_agents.WHAT, agents))
    print(
        f"{measurement.steps_checked:,} governed steps had the right body and a receipt; "
        f"{measurement.receipts_verified} receipts verified offline; {measurement.entries_checked:,} log entries "
        f"checked, and {logged['checked']:,} of the log alone; {measurement.discarded} turns discarded. "
        f"{path.relative_to(RESULTS.parent.parent)}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
