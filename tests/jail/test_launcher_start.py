"""A launcher whose start nobody waits for any more is ended."""

import asyncio
from pathlib import Path

import pytest

from hand_adapters.jail.link import Link
from tests.until import until


async def test_a_start_that_is_cancelled_leaves_no_launcher() -> None:
    link = Link(lambda *_: None)
    opening = asyncio.create_task(link.open({}))
    await until(lambda: link.pid)
    pid = link.pid
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not link.alive
    assert not Path(f"/proc/{pid}").exists()
