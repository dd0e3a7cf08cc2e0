"""Programs that write more than a result may have."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.calls import HandResult, Truncation
from gateway.reasons import Reason
from gateway.truncation import LOOK_AHEAD_BYTES
from hand_adapters.process import ProcessAdapter
from hand_adapters.process.adapter import DRAIN_MAX_BYTES
from tests.jail.adapters.support import EXECUTED, UNKNOWN, refused, schema

pytestmark = pytest.mark.jail
LIMIT = 1000
READ = LIMIT + LOOK_AHEAD_BYTES
Run = Callable[..., Awaitable[HandResult]]


async def program(opened: Any, code: str, **word: Any) -> Run:
    action = {"argv": ("/usr/bin/python3", "-c", code), "args_schema": schema(), **word}
    _, run = await opened(ProcessAdapter, adapter="process", actions={"it": action})

    async def it(**changes: Any) -> HandResult:
        return await run("it", {}, **{"result_max_bytes": LIMIT, "truncates": True, **changes})

    return it


async def test_it_runs_to_its_end_and_what_is_too_much_is_counted(opened: Any) -> None:
    run = await program(opened, "import sys; print('x' * 4_999_999); print('words', file=sys.stderr)")
    result = await run()
    assert result.content == ({"type": "text", "text": "x" * READ},)
    assert result.truncated == Truncation(5_000_000 - READ)
    assert (result.is_error, result.structured) == (False, None)


@pytest.mark.parametrize("size", [LIMIT + 1, READ])
async def test_what_is_read_ahead_goes_along(opened: Any, size: int) -> None:
    result = await (await program(opened, f"print('x' * {size}, end='')"))()
    assert (len(result.content[0]["text"]), result.truncated) == (size, None)


async def test_how_it_ends_is_known_also_where_its_words_are_cut(opened: Any) -> None:
    run = await program(opened, "print('x' * 300_000); raise SystemExit(3)")
    result = await run()
    assert (result.is_error, result.structured) == (True, {"status": 3})
    assert result.truncated == Truncation(300_001 - READ)
    killed = await program(opened, "print('x' * 300_000, flush=True); import ctypes; ctypes.string_at(0)")
    assert await refused(killed()) == (Reason.HAND_CRASHED, UNKNOWN)


@pytest.mark.parametrize(("side_effects", "failure"), [("external", UNKNOWN), ("none", EXECUTED)])
async def test_one_that_never_ends_is_killed(opened: Any, side_effects: str, failure: Any) -> None:
    endless = "import os\nwhile True: os.write(1, bytes(65536))"
    run = await program(opened, endless, side_effects=side_effects)
    assert await refused(run()) == (Reason.HAND_RESULT_TOO_LARGE, failure)
    sleeps = "print('x' * 300_000, flush=True); import time; time.sleep(1000)"
    slow = await program(opened, sleeps, side_effects=side_effects)
    assert await refused(slow(deadline_seconds=1.0)) == (Reason.HAND_TIMEOUT, failure)


async def test_so_much_is_drained_and_no_more(opened: Any) -> None:
    most = READ + DRAIN_MAX_BYTES
    write = "import os\nleft = {}\nwhile left: left -= os.write(1, b'x' * min(left, 65536))"
    code = write.replace("{}", str(most))
    result = await (await program(opened, code))()
    assert result.truncated == Truncation(DRAIN_MAX_BYTES)
    more = write.replace("{}", str(most + 1))
    assert await refused((await program(opened, more, side_effects="none"))()) == (
        Reason.HAND_RESULT_TOO_LARGE,
        EXECUTED,
    )


async def test_half_a_character_at_the_end_is_none_and_no_utf_8_is_a_failure(opened: Any) -> None:
    run = await program(
        opened,
        "import os\nwhole = b'a' + '\\U0001f600'.encode() * 90_000\nwhile whole: whole = whole[os.write(1, whole):]",
    )
    assert set((await run()).content[0]["text"]) == {"a", "\U0001f600"}
    latin = await program(opened, "import os; os.write(1, b'\\xe9' * 60_000); os.write(1, b'\\xe9' * 60_000)")
    assert await refused(latin()) == (Reason.HAND_PROTOCOL, EXECUTED)
