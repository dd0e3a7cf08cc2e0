"""``make crash``: end the log at random moments, and look each time whether all that it acknowledged is there.

    python -m tests.audit.crash [--ends 1000] [--seed N] [--rig kill|power] [--database sqlite|postgresql]

``kill`` ends the process (or the database server) with SIGKILL: what was written stays. ``power`` also loses what was
not synchronised, whole or in random parts. ``--testing-only-unsafe`` turns synchronisation off, and must lose.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import Progress

from audit import database, session
from tests.audit.crash.disk import Disk, compile_interposer
from tests.audit.crash.harness import Tally, run
from tests.audit.crash.ledger import Lost
from tests.audit.crash.rigs import PostgresDiskRig, PostgresRig, Rig, SqliteDiskRig, SqliteRig
from tests.postgres import become_subreaper

SURVIVES = (0.0, 0.0, 0.1, 0.5, 0.9)
"""How much of what was not synchronised is on the disk all the same, drawn for each cut."""
WHOLE_EVERY = 100
LOG_ENDS = 100
"""A disk that loses power is put back as a whole each time: after so many ends a new log is begun."""
_DIRECTORY = "HANDRAIL_CRASH_DIRECTORY"
"""Given to the process that runs with the interposer."""


@contextmanager
def scratch(*, memory: bool) -> Iterator[Path]:
    """A directory of our own that the server's user may reach; in memory where that only saves time."""
    shared = Path("/dev/shm")
    place = shared if memory and shared.is_dir() and shutil.disk_usage(shared).free > 1 << 30 else None
    directory = Path(tempfile.mkdtemp(prefix="hrcrash", dir=place))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_rig(options: argparse.Namespace, directory: Path, library: Path) -> Rig:
    """What is asked for, in an empty directory."""
    server_home = directory / "server"
    server_home.mkdir()
    if options.rig == "kill":
        home = directory / "gateway"
        home.mkdir()
        return SqliteRig(home) if options.database == "sqlite" else PostgresRig(home, server_home)
    disk = Disk(directory, library, "posix" if options.database == "sqlite" else "linux")
    if options.database == "sqlite":
        return SqliteDiskRig(disk, SURVIVES)
    settings = ("fsync=off",) if options.unsafe else ()
    return PostgresDiskRig(disk, server_home, SURVIVES, *settings)


@contextmanager
def rigged(options: argparse.Namespace, directory: Path, library: Path) -> Iterator[Rig]:
    """:func:`make_rig`, and gone at the end."""
    directory.mkdir(mode=0o755)
    rig = make_rig(options, directory, library)
    try:
        yield rig
    finally:
        rig.close()
        shutil.rmtree(directory, ignore_errors=True)


def testing_only_unsafe() -> None:
    """Take away what makes a commit durable, to show that the harness would see it."""
    database._PRAGMAS = (*database._PRAGMAS, "PRAGMA synchronous = OFF")  # type: ignore[misc]
    session.Session._require_fsync = lambda *_: None  # type: ignore[method-assign]


def main() -> int:
    """Parse, run, print one JSON object; 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit.crash", description=__doc__)
    parser.add_argument("--ends", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--rig", choices=["kill", "power"], default="kill")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--testing-only-unsafe", action="store_true", dest="unsafe")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so through every finally
    if options.unsafe:
        testing_only_unsafe()
    inner = os.environ.get(_DIRECTORY)
    if inner is not None:
        return measure(options, Path(inner))
    with scratch(memory=options.rig == "power") as directory:
        if options.rig == "power":
            compile_interposer(directory)
        if options.rig == "power" and options.database == "sqlite":
            return run_interposed(options, directory)
        return measure(options, directory)


def run_interposed(options: argparse.Namespace, directory: Path) -> int:
    """SQLite runs in this very process, so it has to start again with the interposer."""
    preload = {"LD_PRELOAD": str(directory / "power_cut.so"), _DIRECTORY: str(directory)}
    flags = ["--ends", str(options.ends), "--seed", str(options.seed), "--rig", "power", "--database", "sqlite"]
    flags += ["--testing-only-unsafe"] if options.unsafe else []
    command = [sys.executable, "-m", "tests.audit.crash", *flags]
    return os.spawnve(os.P_WAIT, sys.executable, command, {**os.environ, **preload})


def measure(options: argparse.Namespace, directory: Path) -> int:
    """Run, with a bar for people and one line of JSON for programs."""
    began, total, verdict = time.monotonic(), Tally(), ""
    if options.database == "postgresql":
        become_subreaper()
    messages, random = directory / "messages", Random(options.seed)
    console = Console(stderr=True)
    console.print(f"{options.rig}, {options.database}: {options.ends} ends, seed {options.seed}")
    each = LOG_ENDS if options.rig == "power" else options.ends
    try:
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("ends", total=options.ends)

            def told(tally: Tally) -> None:
                bar.update(task, advance=1, description=f"{total.acknowledged + tally.acknowledged:,} acknowledged")

            for first in range(0, options.ends, each):
                with rigged(options, directory / f"log{first}", directory / "power_cut.so") as rig:
                    ends = min(each, options.ends - first)
                    total += run(rig, ends, random, whole_every=WHOLE_EVERY, messages=messages, told=told)
    except Lost as exc:
        verdict = str(exc)
        if messages.exists():
            console.print(messages.read_text(errors="replace")[-2000:], markup=False)
    found = {
        "rig": options.rig,
        "database": options.database,
        "seed": options.seed,
        "ends": sum(total.ends.values()),
        "how": dict(total.ends.most_common()),
        "acknowledged": total.acknowledged,
        "entries": total.entries,
        "whole_checks": total.checks,
        "seconds": round(time.monotonic() - began, 1),
        "lost": verdict or None,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if verdict else 0


if __name__ == "__main__":
    raise SystemExit(main())
