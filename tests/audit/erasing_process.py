"""A process that carries erasures out and is killed with SIGKILL at one point, for ``test_erasure_crashes``.

``python -m tests.audit.erasing_process DIRECTORY URL POINT``
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit import erasure, rotation
from audit.controls import shipped
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.log import Log
from audit.rotation import Rotation
from gateway.settings import LogSettings
from tests.audit.conftest import CheckpointSigner
from tests.until import until

MASTER = b"m" * 32


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, nth: int = 1) -> None:
    """Die when ``owner.name`` is about to be called for the ``nth`` time."""
    real, calls = getattr(owner, name), 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            die()
        return real(*args, **kwargs)

    setattr(owner, name, call)


def after(owner: Any, name: str) -> None:
    """Die when ``owner.name`` has returned."""
    real = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        die()

    setattr(owner, name, call)


def after_async(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    async def call(*args: Any, **kwargs: Any) -> Any:
        await real(*args, **kwargs)
        die()

    setattr(owner, name, call)


POINTS: dict[str, Callable[[], None]] = {
    "after_the_request": lambda: before(Erasures, "_delete_values"),
    "between_two_deletions": lambda: before(erasure, "delete_payloads", 2),
    "after_the_deletions": lambda: after(Erasures, "_delete_values"),
    "after_the_new_key_is_on_disk": lambda: after(EpochKeys, "rotate"),
    "after_the_epoch_is_on_record": lambda: after_async(Rotation, "begin"),
    "before_the_data_keys_go": lambda: before(Erasures, "_delete_keys"),
    "after_the_data_keys_went": lambda: after(Erasures, "_delete_keys"),
    "before_the_data_keys_move": lambda: before(Rotation, "_move"),
    "before_the_old_bucket_goes": lambda: before(rotation, "delete"),
    "before_the_bucket_keys_move": lambda: before(Rotation, "_move", 2),
    "before_the_holds_move": lambda: before(Rotation, "_move", 3),
    "before_the_old_key_goes": lambda: before(EpochKeys, "destroy"),
    "while_the_old_key_goes": lambda: before(EpochKeys, "_sweep", 2),
    "after_the_old_key_went": lambda: after(EpochKeys, "destroy"),
    "before_the_wal_is_truncated": lambda: before(rotation, "truncate_wal"),
    "before_the_proof": lambda: before(Erasures, "_done"),
    "after_the_proof": lambda: after_async(Erasures, "_done"),
}


async def main(directory: Path, url: str) -> None:
    engine, erasing = make_engine(url), make_eraser(url)
    epochs = EpochKeys(directory / "epochs", MASTER)
    log = Log(engine, LogSettings(), CheckpointSigner(), epochs, "g-dying", controls=shipped())
    await log.start()
    await until(Erasures(log, log.reader, erasing, epochs).advance)


if __name__ == "__main__":
    POINTS[sys.argv[3]]()
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
