"""What is killed: the real log with many callers who append without end, and say what was acknowledged on a pipe."""

import asyncio
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.canonical import b64url_encode
from gateway.commitments import commit
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.ports import Append
from gateway.settings import LogSettings

SEALED_EVERY = 8
"""One append in so many carries a value for the erasable side table."""
_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"tests.audit.crash").digest())
_MASTER = hashlib.sha256(b"tests.audit.crash epochs").digest()

VERIFIER = VerifierKey(LogSettings().origin, _KEY.public_key().public_bytes_raw())


class Signer:
    """The same checkpoint key in every life."""

    def sign_raw(self, purpose: Any, message: bytes) -> bytes:
        return _KEY.sign(message)

    def active_jwk(self, purpose: Any) -> dict[str, str]:
        return {"x": b64url_encode(_KEY.public_key().public_bytes_raw())}


def epoch_keys(home: Path) -> EpochKeys:
    return EpochKeys(home / "epochs", _MASTER)


def plan_id(number: int) -> str:
    """By which the verdict knows the entry again."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def value(number: int) -> bytes | None:
    """What is sealed beside the entry, if anything is."""
    return None if number % SEALED_EVERY else hashlib.sha256(b"value %d" % number).digest() * 8


def draft(number: int) -> EntryDraft:
    content = value(number)
    fields = {} if content is None else {"args": commit(content, f"default/crash/c{number % 50}")}
    return EntryDraft(
        EntryType.STEP_EXECUTED,
        "default",
        context_id=f"c{number % 50}",
        plan_id=plan_id(number),
        facts={"filler": "x" * 400},
        fields=fields,
    )


def live(url: str, home: Path, first: int, callers: int, pipe: int) -> None:
    """Append until killed. A line on ``pipe`` is one acknowledged append: ``index number``.

    Args:
        first: numbers are counted from here; no two lives may use the same.
    """
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=level)
    sys.setswitchinterval(0.0005)
    asyncio.run(_live(url, home, iter(range(first, 2**60)), callers, pipe))


async def _live(url: str, home: Path, numbers: Iterator[int], callers: int, pipe: int) -> None:
    log = Log(make_engine(url), LogSettings(), Signer(), epoch_keys(home), "crash")  # type: ignore[arg-type]
    await log.start()
    await asyncio.gather(*(_call(log, numbers, pipe) for _ in range(callers)))


async def _call(log: Log, numbers: Iterator[int], pipe: int) -> None:
    while True:
        number = next(numbers)
        try:
            (index,) = await log.append(Append([draft(number)]))
        except HandrailError:
            continue  # the server was killed, and not we: the next append has to get through again
        os.write(pipe, b"%d %d\n" % (index, number))
