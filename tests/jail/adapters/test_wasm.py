"""Modules that misbehave, and what their callers learn."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.wasm import WasmAdapter
from tests.hands.hands_support import call
from tests.jail.adapters.modules import ARITHMETIC, ECHO, EXIT, WRITE, command, says
from tests.jail.adapters.support import EXECUTED, NOT_EXECUTED, refused, schema
from tests.until import until

pytestmark = pytest.mark.jail
ANY = {"type": "object", "additionalProperties": True}
COMMAND = {"args_schema": ANY}
NUMBERS = {
    "add": {"export": "add", "params": ("a", "b"), "args_schema": schema("a", "b", a="number", b="number")},
    "large": {"export": "large", "params": ("a",), "args_schema": schema("a", a="integer")},
    "half": {"export": "half", "params": ("a",), "args_schema": schema("a", a="number")},
    "nothing": {"export": "nothing", "args_schema": schema()},
    "pair": {"export": "pair", "args_schema": schema()},
    "count": {"export": "count", "args_schema": schema()},
}


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """``module(text)`` -> the file of a compiled module."""

    def write(text: str) -> Path:
        made = tmp_path / "module.wasm"
        made.write_bytes(wat2wasm(text))
        return made

    return write


async def hand(opened: Any, file: Path, actions: dict[str, Any] | None = None, **more: Any) -> Any:
    wasm = {"module": file, **more.pop("wasm", {})}
    return await opened(WasmAdapter, adapter="wasm", wasm=wasm, actions=actions or {"it": COMMAND}, **more)


async def test_a_function_takes_and_gives_numbers(opened: Any, module: Any) -> None:
    _, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    result = await run("add", {"a": 2, "b": 40})
    assert (result.structured, result.content) == (42, ({"type": "text", "text": "42"},))
    assert (await run("add", {"a": -(2**31), "b": 2.0})).structured == -(2**31) + 2
    assert (await run("half", {"a": 5})).structured == 2.5
    assert (await run("nothing")).structured is None
    assert (await run("pair")).structured == [1, 2]
    for bad in ({"a": 2**31, "b": 0}, {"a": 0.5, "b": 0}):
        assert await refused(run("add", bad)) == (Reason.SCHEMA_ARGS, NOT_EXECUTED)
    assert await refused(run("large", {"a": 2**53 - 1})) == (Reason.HAND_PROTOCOL, EXECUTED)


async def test_a_command_reads_its_arguments_and_writes_its_answer_as_json(opened: Any, module: Any) -> None:
    _, run = await hand(opened, module(ECHO))
    args = {"text": 'é "quoted"', "list": [1, None, {"deep": True}]}
    assert (await run("it", args)).structured == args
    assert (await run("it")).structured == {}


async def test_a_module_may_be_text_and_have_fixed_arguments(opened: Any, tmp_path: Path) -> None:
    file = tmp_path / "module.wat"
    sizes = '(import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))'
    get = '(import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))'
    body = """
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (drop (call $get (i32.const 32) (i32.const 1024)))
    (i32.store (i32.const 0) (i32.load (i32.const 36)))
    (i32.store (i32.const 4) (i32.const 2))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
    file.write_text(command(body, sizes, get, WRITE))
    _, run = await hand(opened, file, {"one": {**COMMAND, "argv": ("11",)}, "two": {**COMMAND, "argv": ("22",)}})
    assert [(await run(name)).structured for name in ("one", "two")] == [11, 22]


async def test_an_exit_status_is_an_error_with_a_marked_note(opened: Any, module: Any) -> None:
    _, run = await hand(opened, module(command(says("words", 2) + "(call $exit (i32.const 3))", WRITE, EXIT)))
    failed = await run("it")
    assert (failed.is_error, failed.structured) == (True, {"status": 3})
    assert failed.content == ({"type": "text", "text": "words", "_meta": {"stream": "stderr"}},)


@pytest.mark.parametrize("text", ["", "Traceback", '{"a":1}{"a":2}', '{"a":1,"a":2}', "NaN", '"half'])
async def test_an_answer_that_is_no_json_is_none(opened: Any, module: Any, text: str) -> None:
    _, run = await hand(opened, module(command(says(text), WRITE)))
    assert await refused(run("it")) == (Reason.HAND_PROTOCOL, EXECUTED)


async def test_each_call_has_an_instance_of_its_own(opened: Any, module: Any) -> None:
    _, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    for who in ("ana", "ana", "bob"):
        assert (await run("count", principal_id=who)).structured == 1


async def test_two_principals_never_share_a_worker(opened: Any, module: Any) -> None:
    adapter, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    await asyncio.gather(run("count"), run("count", principal_id="bob"), run("count", tenant="other"))
    serving = adapter._workers._serving
    assert len({session._process.pid for session in serving.values()}) == 3
    first = serving["default", "ana", "default"]
    await run("count")
    assert serving["default", "ana", "default"] is first


async def test_a_worker_is_stopped_when_idle_and_started_anew(opened: Any, module: Any) -> None:
    adapter, run = await hand(opened, module(ARITHMETIC), NUMBERS, idle_seconds=0.2)
    await run("count")
    worker = adapter._workers._serving["default", "ana", "default"]
    await until(lambda: worker._process.returncode is not None)
    assert (await run("count")).structured == 1


async def test_calls_of_one_principal_take_turns_and_may_be_too_many(
    opened: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    found = await asyncio.gather(*(run("add", {"a": number, "b": 1}) for number in range(20)))
    assert [result.structured for result in found] == [number + 1 for number in range(20)]
    monkeypatch.setattr("hand_adapters.wasm.session.WAITING_MAX", 0)
    assert await refused(run("count")) == (Reason.OVERLOADED, NOT_EXECUTED)


async def test_a_cancelled_call_takes_its_worker_with_it_and_the_next_gets_another(opened: Any, module: Any) -> None:
    loop = command("(loop br 0)", more='(func (export "fine"))')
    adapter, run = await hand(
        opened, module(loop), {"it": COMMAND, "fine": {"export": "fine", "args_schema": schema()}}
    )
    running = asyncio.ensure_future(run("it"))
    serving = adapter._workers._serving
    await until(lambda: any(one._turn.locked() and one.opened.done() for one in serving.values()))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await run("fine", deadline_seconds=20.0)).structured is None


async def test_a_worker_that_dies_or_is_stopped_leaves_nothing_ambiguous(opened: Any, module: Any) -> None:
    adapter, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    await run("count")
    worker = adapter._workers._serving["default", "ana", "default"]
    await worker._process.kill()
    assert (await run("count")).structured == 1


async def test_a_module_that_changed_since_it_was_pinned_is_not_run(opened: Any, module: Any) -> None:
    adapter, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    pinned = await adapter.manifest()
    module(ARITHMETIC.replace("i32.add)", "i32.sub)"))
    with pytest.raises(HandDrifted) as drift:
        await run("add", {"a": 1, "b": 1})
    assert drift.value.offered.digest != pinned.digest
    module(ARITHMETIC)
    with pytest.raises(HandDrifted):
        await adapter.run(call("h", "count", {}, drift.value.offered.digest))
    assert (await run("add", {"a": 1, "b": 1})).structured == 2


async def test_a_module_is_the_declared_one_a_plain_file_and_a_module(opened: Any, module: Any, tmp_path: Path) -> None:
    file = module(ARITHMETIC)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    await hand(opened, file, NUMBERS, wasm={"sha256": sha256})
    for other, said in (
        ({"module": file, "sha256": "0" * 64}, sha256),
        ({"module": tmp_path}, "not a regular file"),
        ({"module": tmp_path / "pipe"}, "not a regular file"),
        ({"module": tmp_path / "garbage"}, "the module:"),
    ):
        if not (tmp_path / "pipe").exists():
            os.mkfifo(tmp_path / "pipe")
            (tmp_path / "garbage").write_bytes(b"\0asm garbage")
        with pytest.raises(HandError) as caught:
            await hand(opened, file, NUMBERS, wasm=other)
        assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
        assert said in caught.value.detail


@pytest.mark.parametrize(
    ("imported", "said"),
    [
        ('(import "env" "system" (func (param i32)))', "env.system"),
        ('(import "wasi_snapshot_preview1" "made_up" (func))', "made_up"),
        ('(import "wasi_snapshot_preview1" "fd_write" (func (param i64)))', "another type"),
        ('(import "wasi_snapshot_preview1" "fd_write" (memory 1))', "fd_write"),
        ('(import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))', "wasi_unstable"),
    ],
)
async def test_a_module_that_wants_what_no_hand_is_given_is_not_loaded(
    opened: Any, module: Any, imported: str, said: str
) -> None:
    with pytest.raises(HandError) as caught:
        await hand(opened, module(f'(module {imported} (func (export "_start")))'))
    assert caught.value.reason is Reason.HAND_UNAVAILABLE
    assert said in caught.value.detail


async def test_an_action_that_the_module_does_not_fit_is_left_out(opened: Any, module: Any) -> None:
    unfit = {
        "start": COMMAND,
        "object": {"export": "object", "args_schema": schema()},
        "few": {"export": "add", "params": ("a",), "args_schema": schema("a", a="number")},
        "add": NUMBERS["add"],
    }
    adapter, _ = await hand(opened, module(ARITHMETIC), unfit)
    assert set((await adapter.manifest()).actions) == {"add"}
    assert len(adapter.notes) == 3


async def test_a_receipt_names_the_tier_and_what_confined_the_call(opened: Any, module: Any) -> None:
    adapter, _ = await hand(opened, module(ARITHMETIC), NUMBERS)
    plain, strict = adapter.confinement("default"), adapter.confinement("strict")
    assert plain["tier"] == strict["tier"] == "wasm"
    assert plain["profile_sha256"] != strict["profile_sha256"]


@pytest.mark.parametrize(
    ("word", "more", "said"),
    [
        ({"argv": ("{v}",)}, {}, "plain texts"),
        ({"params": ("a",)}, {}, "only an exported function"),
        ({"export": "add", "params": ("a",), "args_schema": schema(a="number")}, {}, "required"),
        ({"export": "add", "params": (), "args_schema": schema("a", a="number")}, {}, "every argument"),
        ({}, {"binds": ({"source": "/usr", "target": "/x"},)}, "no directory"),
        ({}, {"wasm": {"module": "/no/such/module"}}, "does not exist"),
        ({}, {"jail_profile": "none"}, "jail_profile"),
    ],
)
def test_a_wasm_hand_is_checked_before_it_is_used(
    module: Any, word: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    given = {"adapter": "wasm", "wasm": {"module": module(ECHO)}, "actions": {"a": {**COMMAND, **word}}, **more}
    with pytest.raises(SettingsError) as caught:
        WasmAdapter.validate("h", HandSettings(**given))
    assert said in caught.value.detail


async def test_a_worker_runs_in_the_narrowest_profile_too(opened: Any, module: Any) -> None:
    _, run = await hand(opened, module(ARITHMETIC), NUMBERS)
    assert (await run("add", {"a": 1, "b": 1}, jail_profile="strict")).structured == 2
