"""WebAssembly modules as text, and what of WASI they use."""

WASI = "wasi_snapshot_preview1"
READ = f'(import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
WRITE = f'(import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
EXIT = f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'

ARITHMETIC = """
(module
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "large") (param i64) (result i64) local.get 0 i64.const 1 i64.add)
  (func (export "half") (param f64) (result f64) local.get 0 f64.const 2 f64.div)
  (func (export "nothing"))
  (func (export "pair") (result i32 i32) i32.const 1 i32.const 2)
  (func (export "object") (result externref) ref.null extern)
  (func (export "count") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (global.get $calls)))
    (i32.load (i32.const 0))))
"""


def command(body: str, *imports: str, pages: int = 1, more: str = "") -> str:
    """A WASI command whose ``_start`` is ``body``; reads go to 1024, with an iovec at 0 and a length at 8."""
    return f"""
(module
  {" ".join(imports)}
  (memory (export "memory") {pages})
  {more}
  (func (export "_start") {body}))
"""


def says(text: str, number: int = 1) -> str:
    """Code that writes ``text`` to a stream."""
    raw = text.encode()
    store = " ".join(f"(i32.store8 (i32.const {2048 + place}) (i32.const {byte}))" for place, byte in enumerate(raw))
    return (
        f"{store} (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const {len(raw)})) "
        f"(drop (call $write (i32.const {number}) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )


ECHO = command(
    """
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 32768))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """,
    READ,
    WRITE,
)


def asks(name: str, parameters: str, *values: int | str) -> str:
    """A command that calls a host function and answers the ``errno`` that it got, as JSON."""
    given = " ".join(f"({kind}.const {value})" for kind, value in zip(parameters.split(), values, strict=True))
    function = f'(import "{WASI}" "{name}" (func $asked (param {parameters}) (result i32)))'
    digits = """
    (local $errno i32)
    (local.set $errno (call $asked GIVEN))
    (i32.store8 (i32.const 2048) (i32.add (i32.const 48) (i32.div_u (local.get $errno) (i32.const 10))))
    (i32.store8 (i32.const 2049) (i32.add (i32.const 48) (i32.rem_u (local.get $errno) (i32.const 10))))
    (i32.store8 (i32.const 2047) (i32.const 34))
    (i32.store8 (i32.const 2050) (i32.const 34))
    (i32.store (i32.const 0) (i32.const 2047))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
    return command(digits.replace("GIVEN", given), function, WRITE)
