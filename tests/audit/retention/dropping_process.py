"""Drops partition 0 of a log and is killed on the way: ``DATABASE-URL KEY-HEX TIME STAGE``."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event

from audit import retention as module
from audit.checkpoint import VerifierKey
from audit.database import make_owner
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.canonical import b64url_encode
from gateway.entries import EntryType
from gateway.settings import LogSettings

STATEMENTS = {
    "hashes": "INSERT INTO retained_hashes",
    "postings": "DELETE FROM postings",
    "entries": "DELETE FROM entries",
}
STAGES = ("archived", "recorded", *STATEMENTS, "done")


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Signer:
    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(raw)

    def sign_raw(self, _purpose: Any, message: bytes) -> bytes:
        return self._key.sign(message)

    def active_jwk(self, _purpose: Any) -> dict[str, str]:
        return {"x": b64url_encode(self._key.public_key().public_bytes_raw())}


async def main(url: str, key: str, now: str, stage: str) -> None:
    engine = make_owner(url)
    epochs = EpochKeys(Path(mkdtemp()), bytes(32))
    log = Log(engine, LogSettings(), Signer(bytes.fromhex(key)), epochs, "g2", lambda: float(now))
    await log.start()
    one = module.Retention(engine, log, [VerifierKey.parse(log.vkey())], 24, None, 60, lambda: float(now))
    append = log.append

    async def unrecorded(item: Any) -> Any:
        if any(draft.type is EntryType.RETENTION_APPLIED for draft in item.entries):
            die()
        return await append(item)

    if stage == "archived":
        log.append = unrecorded  # type: ignore[method-assign]
    elif stage == "recorded":
        module._delete = die  # type: ignore[assignment]
    elif stage in STATEMENTS:

        @event.listens_for(engine, "after_cursor_execute")
        def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(STATEMENTS[stage]):
                die()

    await one.drop(0)
    die()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
