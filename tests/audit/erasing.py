"""Logs with epoch keys of their own, and what erases in them."""

import contextlib
from collections.abc import AsyncIterator

from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.log import Log
from gateway.settings import LogSettings
from tests.audit.conftest import CONTROLS, TIME


@contextlib.asynccontextmanager
async def eraser_of(engine, log, epochs) -> AsyncIterator[Erasures]:
    eraser = make_eraser(engine.url.render_as_string(hide_password=False))
    try:
        yield Erasures(log, log.reader, eraser, epochs, lambda: TIME)
    finally:
        eraser.dispose()


@contextlib.asynccontextmanager
async def own_log(engine, signer, epochs, name) -> AsyncIterator[Log]:
    log = Log(engine, LogSettings(), signer, epochs, name, lambda: TIME, controls=CONTROLS)
    await log.start()
    try:
        yield log
    finally:
        await log.close()
