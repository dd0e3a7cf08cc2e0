"""A long read that never returns costs whoever asked for it an answer, and nobody else a thread."""

import asyncio
import threading

import pytest

from audit import threads
from audit.errors import LogUnavailable
from audit.threads import at_length


async def test_a_read_that_hangs_is_refused_and_holds_no_thread_of_the_process(monkeypatch):
    monkeypatch.setattr(threads, "LONG_SECONDS", 0.05)
    answers, held = threading.Event(), []

    def hang() -> None:
        held.append(threading.current_thread().name)
        answers.wait()

    try:
        with pytest.raises(LogUnavailable, match="in time"):
            await at_length(hang)
        assert held[0].startswith("handrail-audit-long")
        assert await asyncio.to_thread(lambda: 1) == 1
    finally:
        answers.set()
    monkeypatch.setattr(threads, "LONG_SECONDS", 60.0)
    assert await at_length(max, 1, 2) == 2


async def test_what_a_read_raises_comes_out_of_it():
    def fail() -> None:
        raise LogUnavailable("gone")

    with pytest.raises(LogUnavailable, match="gone"):
        await at_length(fail)
