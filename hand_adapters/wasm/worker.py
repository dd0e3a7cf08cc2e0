"""What runs inside the jail: compiles one module, then runs calls of it, each in an instance of its own.

A script of its own (``python -I /wasm/worker.py``); imports wasmtime, its sibling ``wasi``, the jail's ``landlock``
and nothing else of Handrail.

1. in a JSON line ``{"bytes", "memory_max_bytes", "allow"}`` and so many bytes of a module; out ``{"exports": {NAME:
   [PARAMETERS, RESULTS]}}`` or ``{"refused": WHY}``
2. in ``{"export", "argv", "params", "stdin", "fuel_max", "seconds", "output_max_bytes"}``, as often as there are calls;
   out ``{"value"}``, ``{"status", "stdout", "stderr"}`` (base64) or ``{"stopped": WHY}``
"""

import base64
import json
import sys
import threading
import time
import types
from typing import Any, BinaryIO, Final

if __name__ == "__main__":
    # As a script in isolated mode. The package's own __init__ would bring in half the gateway.
    for _name, _place in (("hand_adapters", []), ("hand_adapters.wasm", ["/wasm"]), ("hand_adapters.jail", ["/jail"])):
        _package = types.ModuleType(_name)
        _package.__path__ = _place
        sys.modules[_name] = _package

from wasmtime import (
    Config,
    Engine,
    Func,
    FuncType,
    InstancePre,
    Linker,
    Module,
    Store,
    Trap,
    TrapCode,
    ValType,
    WasmtimeError,
)

from hand_adapters.jail import landlock
from hand_adapters.wasm import wasi

TICK_SECONDS: Final = 0.005
STACK_MAX_BYTES: Final = 524_288
TABLE_ELEMENTS_MAX: Final = 65_536
GUARD_BYTES: Final = 65_536
COMMAND: Final = "_start"
_LETTERS: Final = {str(ValType.i32()): "i", str(ValType.i64()): "l", str(ValType.f32()): "f", str(ValType.f64()): "d"}
_WHY: Final = {
    TrapCode.OUT_OF_FUEL: "fuel",
    TrapCode.INTERRUPT: "deadline",
    TrapCode.STACK_OVERFLOW: "stack",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "memory",
}


class Refused(Exception):
    """A module that cannot be used, and why."""


def configuration(memory_max_bytes: int) -> Config:
    """What the compiler may assume and the module may use: one thread, one memory, the same answer everywhere."""
    config = Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.parallel_compilation = False
    config.max_wasm_stack = STACK_MAX_BYTES
    # Address space is what a jail without a cgroup is limited by; wasmtime would take 4 GiB for each memory.
    config.memory_reservation = memory_max_bytes
    config.memory_reservation_for_growth = 0
    config.memory_guard_size = GUARD_BYTES
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd_deterministic = True
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_component_model = False
    config.shared_memory = False
    return config


class Ticker:
    """Moves the engine's epoch on while a call runs, so that the deadline is held inside of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.running = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while self.running.wait():
            time.sleep(TICK_SECONDS)
            self._engine.increment_epoch()


class Worker:
    """One compiled module."""

    def __init__(self, module: bytes, memory_max_bytes: int, allow: frozenset[str]) -> None:
        """Compile. Raises :class:`Refused`."""
        self._allow = allow
        self._memory_max_bytes = memory_max_bytes
        self._streams = wasi.Streams((), b"", 0, allow)
        self._engine = Engine(configuration(memory_max_bytes))
        try:
            compiled = Module(self._engine, module)
            self._instance: InstancePre = self._linker(compiled).instantiate_pre(compiled)
        except WasmtimeError as exc:
            raise Refused(str(exc).splitlines()[0][:300]) from None
        self.exports = {
            entry.name: [_letters(entry.type.params), _letters(entry.type.results)]
            for entry in compiled.exports
            if isinstance(entry.type, FuncType)
        }
        self._ticker = Ticker(self._engine)

    def _linker(self, module: Module) -> Linker:
        linker = Linker(self._engine)
        for wanted in module.imports:
            kind = wanted.type
            known = wasi.FUNCTIONS.get(wanted.name or "") if wanted.module == wasi.MODULE else None
            if known is None or not isinstance(kind, FuncType):
                raise Refused(f"it imports {wanted.module}.{wanted.name}, which no hand is given")
            results = "" if wanted.name == "proc_exit" else "i"
            if (_letters(kind.params), _letters(kind.results)) != (known[0], results):
                raise Refused(f"it imports {wanted.name} with another type")
            host = wasi.bound(wanted.name or "", lambda: self._streams)
            linker.define_func(wanted.module, wanted.name or "", kind, host, access_caller=True)
        return linker

    def call(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run one call to its end, in an instance of its own."""
        store = Store(self._engine)
        store.set_limits(
            memory_size=self._memory_max_bytes, table_elements=TABLE_ELEMENTS_MAX, instances=1, tables=8, memories=1
        )
        store.set_fuel(order["fuel_max"])
        store.set_epoch_deadline(max(1, round(order["seconds"] / TICK_SECONDS)))
        self._streams = wasi.Streams(order["argv"], order["stdin"].encode(), order["output_max_bytes"], self._allow)
        self._ticker.running.set()
        status = 0
        try:
            function = self._instance.instantiate(store).exports(store)[order["export"]]
            if not isinstance(function, Func):
                return {"stopped": "no such function"}
            value = function(store, *order["params"])
        except wasi.Exit as ended:
            status, value = ended.status, None
        except wasi.TooMuch:
            return {"stopped": "output"}
        except Trap as trap:
            return {"stopped": _WHY.get(trap.trap_code, "trap") if trap.trap_code is not None else "trap"}
        except (WasmtimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as exc:
            return {"stopped": type(exc).__name__}
        finally:
            self._ticker.running.clear()
            store.close()
        if order["export"] != COMMAND:
            return {"value": value}
        streams = self._streams
        return {
            "status": status,
            "stdout": base64.b64encode(streams.stdout).decode(),
            "stderr": base64.b64encode(streams.stderr).decode(),
        }


def _letters(kinds: list[ValType]) -> str:
    """One letter a type; ``?`` for one that JSON does not have."""
    return "".join(_LETTERS.get(str(kind), "?") for kind in kinds)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Compile, then answer until the input ends."""

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    setup = json.loads(questions.readline())
    try:
        worker = Worker(questions.read(setup["bytes"]), setup["memory_max_bytes"], frozenset(setup["allow"]))
    except Refused as refused:
        say({"refused": str(refused)})
        return
    say({"exports": worker.exports})
    for line in questions:
        say(worker.call(json.loads(line)))


if __name__ == "__main__":
    # Everything is imported: whoever breaks out of wasmtime opens no file and executes no program from here on.
    landlock.restrict_files(landlock.abi())
    serve(sys.stdin.buffer, sys.stdout.buffer)
