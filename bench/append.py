"""How many appends a second become durable: 1 KiB drafts from 128 concurrent callers, on SQLite and PostgreSQL.

    python -m bench.append [--seconds 5] [--callers 128] [--profile] [--only sqlite|postgresql]

PostgreSQL is measured where it is installed, on a throw-away cluster. ``bench.log`` measures more of the log.
"""

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.canonical import b64url_encode
from gateway.commitments import commit
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append, Purpose, Typ
from gateway.service import SWITCH_SECONDS
from gateway.settings import LogSettings


class BenchSigner:
    """One key for checkpoints."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:  # noqa: ARG002
        """An append alone signs no message."""
        raise RuntimeError(f"the benchmark of appends signs no {typ}")

    def sign_raw(self, purpose: Purpose, message: bytes) -> bytes:  # noqa: ARG002
        """Ed25519."""
        return self._key.sign(message)

    def active_jwk(self, purpose: Purpose) -> Mapping[str, str]:  # noqa: ARG002
        """The public key."""
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(self._key.public_key().public_bytes_raw())}

    def jwks(self) -> Mapping[str, Any]:
        """Not needed here."""
        return {"keys": []}


def draft(number: int, *, payload: bool) -> EntryDraft:
    """About 1 KiB of entry; with ``payload``, also 1 KiB sealed beside it under a new data key per 10 entries."""
    fields = {"args": commit(os.urandom(1024), f"default/bench/c{number // 10}")} if payload else {}
    return EntryDraft(
        EntryType.STEP_EXECUTED,
        "default",
        context_id=f"context-{number // 10}",
        plan_id=f"{number // 4:064x}",
        step_id="s1",
        principal="p-7f3a90c2d1",
        hand="git",
        action="git_log",
        effect="allow",
        reasons=("paths.inside",),
        policy_digest="a" * 64,
        manifest_digest="b" * 64,
        facts={"filler": "x" * 300},
        fields=fields,
    )


@contextlib.asynccontextmanager
async def opened(url: str, home: Path) -> AsyncIterator[Log]:
    """The log of a gateway on ``url``, migrated; the writer thread asks for the interpreter's lock after every call of
    the database, so it is handed over more often than Python does by default, as a gateway does it.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = make_engine(url)
    migrations.upgrade(engine)
    log = Log(engine, LogSettings(), BenchSigner(), EpochKeys(home, bytes(32)), "bench")
    await log.start()
    try:
        yield log
    finally:
        await log.close()
        engine.dispose()


async def measure(url: str, seconds: float, callers: int, *, payload: bool, profile: bool = False) -> dict[str, Any]:
    """One run in a closed loop: each caller appends again as soon as it was acknowledged."""
    with tempfile.TemporaryDirectory() as home:
        async with opened(url, Path(home)) as log:
            profiler = _profiled(log) if profile else None
            latencies: list[float] = []
            counter = iter(range(10**9))
            stop = time.monotonic() + seconds

            async def caller() -> None:
                while time.monotonic() < stop:
                    item = Append([draft(next(counter), payload=payload)])
                    began = time.perf_counter()
                    await log.append(item)
                    latencies.append(time.perf_counter() - began)

            cpu, wall = time.process_time(), time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(callers)))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            size = len(await log.entry(1))
    if profiler is not None:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
    return {
        "database": url.split(":", maxsplit=1)[0].split("+", maxsplit=1)[0],
        "payload": payload,
        "callers": callers,
        "appends": len(latencies),
        "appends_per_second": round(len(latencies) / wall),
        "cpu_microseconds_per_append": round(cpu / len(latencies) * 1e6, 1),
        "p50_milliseconds": percentile(latencies, 0.5),
        "p99_milliseconds": percentile(latencies, 0.99),
        "entry_bytes": size,
    }


def percentile(seconds: Sequence[float], part: float) -> float:
    """In milliseconds."""
    return round(sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * part))] * 1000, 3)


def _profiled(log: Log) -> cProfile.Profile:
    profiler = cProfile.Profile()
    run = log._writer._commit  # noqa: SLF001
    log._writer._commit = lambda tickets: profiler.runcall(run, tickets)  # type: ignore[method-assign] # noqa: SLF001
    return profiler


class Databases(Protocol):
    """A PostgreSQL server."""

    def create_database(self) -> str:
        """URL of a new, empty database."""


@contextlib.contextmanager
def postgres() -> Iterator[Databases | None]:
    """A throw-away server, where PostgreSQL is installed."""
    from tests import postgres as server  # noqa: PLC0415 - the fixture's cluster, only where it is wanted

    if server.find_binaries() is None:
        yield None
        return
    with server.running() as running:
        yield running


def main() -> None:
    """Run and print one JSON object per measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()

    def run(url: str, *, payload: bool) -> None:
        result = asyncio.run(measure(url, options.seconds, options.callers, payload=payload, profile=options.profile))
        print(json.dumps(result))

    if options.only != "postgresql":
        for payload in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                run(f"sqlite:///{directory}/log.db", payload=payload)
    if options.only != "sqlite":
        with postgres() as server:
            if server is not None:
                for payload in (False, True):
                    run(server.create_database(), payload=payload)


if __name__ == "__main__":
    main()
