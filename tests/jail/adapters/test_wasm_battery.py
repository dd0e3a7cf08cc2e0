"""What a hostile module tries, most with a mild form that succeeds. ``docs/sandbox.md`` lists them."""

from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from gateway.reasons import Reason
from hand_adapters.wasm import WasmAdapter
from tests.jail.adapters.attempts import ATTEMPTS, Attempt
from tests.jail.adapters.support import EXECUTED, refused

pytestmark = pytest.mark.jail


async def run(opened: Any, tmp_path: Path, text: str, allow: tuple[str, ...]) -> Any:
    file = tmp_path / f"{abs(hash(text))}.wasm"
    file.write_bytes(wat2wasm(text))
    word = {"args_schema": {"type": "object"}, "fuel_max": 100_000_000}
    hand = {"adapter": "wasm", "wasm": {"module": file, "allow": allow}, "actions": {"it": word}}
    adapter, call = await opened(WasmAdapter, **hand)
    return adapter, call


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
async def test_an_attempt_is_held(attempt: Attempt, opened: Any, tmp_path: Path) -> None:
    allow = attempt.allow if attempt.name == "random_bomb" else ()
    adapter, call = await run(opened, tmp_path, attempt.text, allow)
    if isinstance(attempt.ends, Reason):
        deadline = 1.0 if attempt.ends is Reason.HAND_TIMEOUT else 20.0
        assert await refused(call("it", deadline_seconds=20.0 if attempt.name == "fuel" else deadline)) == (
            attempt.ends,
            EXECUTED,
        )
    else:
        assert (await call("it")).structured == attempt.ends
    worker = next(iter(adapter._workers._serving.values()))
    assert worker._process.returncode is None, "the worker itself was not harmed"


@pytest.mark.parametrize("attempt", [one for one in ATTEMPTS if one.mild], ids=lambda attempt: attempt.name)
async def test_its_mild_form_succeeds(attempt: Attempt, opened: Any, tmp_path: Path) -> None:
    _, call = await run(opened, tmp_path, attempt.mild or "", attempt.allow)
    result = await call("it")
    assert not result.is_error
    if not isinstance(attempt.ends, Reason):
        assert result.structured == "00"


def test_the_battery_is_as_long_as_promised() -> None:
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS) >= 20
