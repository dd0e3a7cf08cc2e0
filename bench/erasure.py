"""How long an erasure takes beside how many data keys there are, on SQLite and PostgreSQL.

``python -m bench.erasure [--keys N ...] [--only sqlite|postgresql] [--json]``. Each of N people has one value, sealed
as the writer seals; one of them is erased, while others go on appending. Measured: from the request to the proof, which
is when no copy opens any more, and the slowest append meanwhile.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

import migrations
from audit.database import make_engine, writing
from audit.driver import BulkInsert, Driver
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.log import Log
from audit.sealing import Sealer
from audit.tables import data_keys, key_buckets, payloads
from bench.append import postgres
from gateway.canonical import b64url_encode
from gateway.commitments import Committed, commit, person_key
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings

CHUNK = 2_000


class _Signer:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign_raw(self, _purpose: Any, message: bytes) -> bytes:
        return self._key.sign(message)

    def active_jwk(self, _purpose: Any) -> dict[str, str]:
        return {"x": b64url_encode(self._key.public_key().public_bytes_raw())}


def _value(number: int) -> Committed:
    return commit(os.urandom(200), person_key(f"person {number}"))


def _append(number: int) -> Append:
    return Append([EntryDraft(EntryType.PLAN_RECEIVED, "bench", fields={"args": _value(number)})])


def _fill(engine: Engine, epochs: EpochKeys, keys: int) -> None:
    """Values of people 1 to ``keys``, sealed by the writer's own sealer, without entries above them."""
    dialect, sealer = engine.dialect, Sealer(epochs, engine.dialect)
    buckets = BulkInsert(dialect, key_buckets, ("bucket", "epoch", "wrapped", "created_at"))
    rows = BulkInsert(dialect, data_keys, ("key_id", "tenant", "subject", "bucket", "wrapped", "created_at"))
    columns = ("commitment", "tenant", "key_id", "owners", "sealed", "idx", "created_at")
    values = BulkInsert(dialect, payloads, columns)
    with writing(engine.connect()) as connection:
        driver = Driver(connection)
        for start in range(1, keys, CHUNK):
            with connection.begin():
                people = range(start, min(start + CHUNK, keys))
                sealed = sealer.seal(driver, [("bench", _value(number), 0) for number in people], time.time())
                buckets.execute(driver, [astuple(row) for row in sealed.bucket_rows])
                rows.execute(driver, sealed.key_rows)
                values.execute(driver, sealed.payload_rows)
            sealer.remember(sealed)


async def measure(keys: int, url: str, directory: Path) -> dict[str, Any]:
    """Seconds of one erasure among ``keys`` people, and of the slowest append beside it."""
    engine, eraser = make_engine(url), make_eraser(url)
    migrations.upgrade(engine)
    epochs = EpochKeys(directory / "epochs", os.urandom(32))
    signer: Any = _Signer()
    log = Log(engine, LogSettings(), signer, epochs, "bench")
    await log.start()
    try:
        await log.append(_append(0))
        await asyncio.to_thread(_fill, engine, epochs, keys)
        erasures = Erasures(log, log.reader, eraser, epochs)
        slowest, going = 0.0, True

        async def go_on() -> None:
            nonlocal slowest
            while going:
                before = time.perf_counter()
                await log.append(_append(keys + 1))
                slowest = max(slowest, time.perf_counter() - before)

        others = asyncio.create_task(go_on())
        begun = time.perf_counter()
        await erasures.request("bench", person_key("person 0"), by="bench")
        requested = time.perf_counter() - begun
        while not await erasures.advance():
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - begun
        going = False
        await others
        return {
            "database": engine.dialect.name,
            "keys": keys,
            "request_seconds": round(requested, 3),
            "erasure_seconds": round(seconds, 3),
            "slowest_append_ms": round(slowest * 1000, 1),
        }
    finally:
        await log.close()
        engine.dispose()
        eraser.dispose()


@contextmanager
def _databases(only: str | None, directory: Path) -> Iterator[Iterator[str]]:
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if only != "sqlite" else None
        urls = [f"sqlite:///{directory / 'log.db'}"] if only != "postgresql" else []
        yield iter([*urls, *([server.create_database()] if server else [])])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=[10_000])
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for keys in asked.keys:
        with tempfile.TemporaryDirectory() as directory, _databases(asked.only, Path(directory)) as urls:
            for number, url in enumerate(urls):
                home = Path(directory, str(number))
                home.mkdir()
                found = asyncio.run(measure(keys, url, home))
                said = (
                    json.dumps(found) if asked.json else "  ".join(f"{name}: {value}" for name, value in found.items())
                )
                print(said, flush=True)


if __name__ == "__main__":
    main()
