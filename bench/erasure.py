"""How long an erasure takes beside how many data keys have to be wrapped anew, on SQLite.

``python -m bench.erasure [--keys N] [--json]``. Each of N people has one value; one of them is erased, while others
go on appending. Measured: from the request to the proof, and the slowest append meanwhile.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.log import Log
from gateway.canonical import b64url_encode
from gateway.commitments import commit, person_key
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings

CHUNK = 500


class _Signer:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign_raw(self, _purpose: Any, message: bytes) -> bytes:
        return self._key.sign(message)

    def active_jwk(self, _purpose: Any) -> dict[str, str]:
        return {"x": b64url_encode(self._key.public_key().public_bytes_raw())}


def _append(number: int) -> Append:
    value = commit(os.urandom(200), person_key(f"person {number}"))
    return Append([EntryDraft(EntryType.PLAN_RECEIVED, "bench", fields={"args": value})])


async def measure(keys: int, directory: Path) -> dict[str, float]:
    """Seconds of one erasure among ``keys`` people, and of the slowest append beside it."""
    url = f"sqlite:///{directory / 'log.db'}"
    engine, eraser = make_engine(url), make_eraser(url)
    migrations.upgrade(engine)
    epochs = EpochKeys(directory / "epochs", os.urandom(32))
    signer: Any = _Signer()
    log = Log(engine, LogSettings(), signer, epochs, "bench")
    await log.start()
    try:
        for start in range(0, keys, CHUNK):
            await asyncio.gather(*(log.append(_append(number)) for number in range(start, min(start + CHUNK, keys))))
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
        while not await erasures.advance():
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - begun
        going = False
        await others
        return {"keys": keys, "erasure_seconds": round(seconds, 3), "slowest_append_ms": round(slowest * 1000, 1)}
    finally:
        await log.close()
        engine.dispose()
        eraser.dispose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(measure(asked.keys, Path(directory)))
    print(json.dumps(found) if asked.json else "  ".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
