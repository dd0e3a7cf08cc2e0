"""Cold start of a jail against a plain start of the same program: ``python -m bench.jail [--record]``. JSON on standard
output.

Rounds alternate between the kinds, so that other load on the machine falls on all alike.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.load import BenchError
from bench.page import BEGIN_JAIL, machine, measured, write_page
from gateway.settings import JailSettings
from hand_adapters.jail import Jail, JailSpec, landlock, landlock_exec
from hand_adapters.jail.arguments import mounts

PROGRAMS = {
    "true": ("/bin/true",),
    "python": ("/usr/bin/python3", "-I", "-S", "-c", "pass"),
    "node": ("/usr/bin/node", "-e", "0"),
}
KINDS = {"plain": "no jail", "confined": "by `landlock-exec` alone", "jailed": "in a jail"}


async def jailed(jail: Jail, argv: tuple[str, ...]) -> float:
    """Milliseconds from asking to the end of the whole tree."""
    started = time.perf_counter()
    ended = await jail.run(JailSpec(argv))
    elapsed = (time.perf_counter() - started) * 1000
    if ended.returncode != 0:
        raise BenchError(f"{argv} failed: {ended}")
    return elapsed


def plain(argv: tuple[str, ...]) -> float:
    """Milliseconds of the same program with nothing around it."""
    started = time.perf_counter()
    subprocess.run(argv, env={}, check=True)
    return (time.perf_counter() - started) * 1000


def summary(times: list[float]) -> dict[str, float]:
    """Median and extremes, in milliseconds."""
    return {
        "median": round(statistics.median(times), 2),
        "min": round(min(times), 2),
        "p90": round(statistics.quantiles(times, n=10)[-1], 2),
    }


def confined(program: Path, argv: tuple[str, ...]) -> float:
    """The same with the rules about files of a jail, and no jail."""
    places = [landlock.Mount(path, writable, files=files) for path, writable, files in mounts()]
    rights = landlock.rights_of(places, landlock.ABI)
    words = [word for path, right in rights.items() for word in (f"{right:x}", path)]
    with Path(os.devnull).open("wb") as status:
        told = (f"{status.fileno():x}", f"{landlock.file_rights(landlock.ABI):x}", *words, "--", *argv)
        started = time.perf_counter()
        subprocess.run((str(program), *told), env={}, check=True, pass_fds=(status.fileno(),))
        return (time.perf_counter() - started) * 1000


async def measure(rounds: int, pause: float) -> dict[str, dict[str, dict[str, float]]]:
    """Program that is here -> kind of start -> milliseconds."""
    programs = {name: argv for name, argv in PROGRAMS.items() if Path(argv[0]).exists()}
    times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in KINDS} for name in programs}
    with tempfile.TemporaryDirectory() as home:
        built = await asyncio.to_thread(landlock_exec.build, Path(home, "landlock-exec"))
        jail = Jail(JailSettings(landlock_exec=built.path), Path(home))
        problems = await asyncio.to_thread(jail.missing)
        if problems:
            raise BenchError(" ".join(problems))
        for _ in range(rounds):
            for name, argv in programs.items():
                times[name]["plain"].append(plain(argv))
                await asyncio.sleep(pause)
                times[name]["confined"].append(confined(built.path, argv))
                await asyncio.sleep(pause)  # a start is cold: the launcher has its spare processes again
                times[name]["jailed"].append(await jailed(jail, argv))
                await asyncio.sleep(pause)
        await jail.close()
    return {name: {kind: summary(values) for kind, values in kinds.items()} for name, kinds in times.items()}


def rows(found: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, dict[str, float]]]:
    """(what, milliseconds), each program in each kind of start."""
    return [
        (f"`{' '.join(PROGRAMS[name])}`, {KINDS[kind]}", times)
        for name, kinds in found.items()
        for kind, times in kinds.items()
    ]


def document(shown: list[tuple[str, dict[str, float]]], about: dict[str, Any]) -> str:
    """Milliseconds as the Markdown that docs/performance.md holds."""
    lines = [measured(about), "", "| | median ms | p90 ms | least ms |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {times['median']} | {times['p90']} | {times['min']} |" for name, times in shown]
    return "\n".join(lines)


def options_of(description: str | None) -> argparse.Namespace:
    """What this and ``bench.code_hands`` are told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--pause-seconds", type=float, default=0.05)
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    options = options_of(__doc__)
    try:
        figures = asyncio.run(measure(options.rounds, options.pause_seconds))
    except BenchError as error:
        sys.exit(f"bench: {error}")
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(rows(figures), machine()), BEGIN_JAIL)
