"""What a hostile module tries, as data; ``docs/sandbox.md`` lists it."""

from dataclasses import dataclass

from gateway.reasons import Reason
from tests.jail.adapters.modules import READ, WRITE, asks, command, says

PATH = "i32 i32 i32 i32 i32 i64 i64 i32 i32"
GROW = "(drop (memory.grow (i32.const {pages}))) (i32.store (i32.const {place}) (i32.const 1))"
DEEP = "(func $deep (param i32) (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))"


@dataclass(frozen=True)
class Attempt:
    """One attack.

    Attributes:
        text: the module.
        ends: the reason that the call ends with, or the JSON that the module answers: an ``errno``.
        mild: the same module within its bounds, which succeeds; ``None`` where there is no mild form.
        allow: what the control is allowed besides.
    """

    name: str
    tries: str
    stopped_by: str
    text: str
    ends: Reason | str
    mild: str | None = None
    allow: tuple[str, ...] = ()


def spun(body: str, count: str) -> str:
    return f"(local $n i64) (loop (local.set $n (i64.add (local.get $n) (i64.const 1))) {body} (br_if 0 {count}))"


def some(count: int) -> str:
    return f"(i64.lt_u (local.get $n) (i64.const {count}))"


ALWAYS = "(i32.const 1)"
ATTEMPTS: tuple[Attempt, ...] = (
    Attempt(
        "open_file",
        "open a file of the host",
        "no directory is given: `path_open` answers EBADF",
        asks("path_open", PATH, 3, 0, 0, 8, 0, 0, 0, 0, 0),
        "08",
    ),
    Attempt(
        "find_directory",
        "find a directory that was opened for it",
        "none is: `fd_prestat_get` answers EBADF",
        asks("fd_prestat_get", "i32 i32", 3, 64),
        "08",
    ),
    Attempt("read_descriptor", "read from a descriptor of the worker", "the host knows 0, 1 and 2",
            asks("fd_read", "i32 i32 i32 i32", 5, 0, 0, 64), "08"),
    Attempt("write_descriptor", "write to a descriptor of the worker", "the host knows 0, 1 and 2",
            asks("fd_pread", "i32 i32 i32 i64 i32", 1, 0, 0, 0, 64), "08"),
    Attempt("socket", "accept a connection", "no sockets: EBADF", asks("sock_accept", "i32 i32 i32", 3, 0, 64), "08"),
    Attempt("wait", "sleep in the host", "`poll_oneoff` answers ENOSYS",
            asks("poll_oneoff", "i32 i32 i32 i32", 0, 64, 1, 128), "52"),
    Attempt("signal", "raise a signal in the worker", "`proc_raise` answers ENOSYS",
            asks("proc_raise", "i32", 9), "52"),
    Attempt("clock", "read a clock, to time others", "`clock_time_get` answers ENOTSUP unless it is allowed",
            asks("clock_time_get", "i32 i64 i32", 0, 0, 64), "58",
            asks("clock_time_get", "i32 i64 i32", 0, 0, 64), ("clock",)),
    Attempt("random", "draw random numbers", "`random_get` answers ENOTSUP unless it is allowed",
            asks("random_get", "i32 i32", 64, 8), "58", asks("random_get", "i32 i32", 64, 8), ("random",)),
    Attempt("random_bomb", "have 4 GiB of random numbers drawn", "the length is held against its memory: EFAULT",
            asks("random_get", "i32 i32", 64, -1), "21", asks("random_get", "i32 i32", 64, 8), ("random",)),
    Attempt("foreign_pointer", "have the host write beyond its memory",
            "every pointer is held against its memory: EFAULT",
            asks("environ_sizes_get", "i32 i32", 65_534, 64), "21", asks("environ_sizes_get", "i32 i32", 64, 68)),
    Attempt("negative_pointer", "the same with a pointer that wraps around", "pointers are unsigned: EFAULT",
            asks("environ_sizes_get", "i32 i32", -4, 64), "21", asks("environ_sizes_get", "i32 i32", 64, 68)),
    Attempt("many_vectors", "hand over a list of buffers without end", "1,024 at most: EFAULT",
            asks("fd_read", "i32 i32 i32 i32", 0, 0, 1_000_000, 64), "21",
            asks("fd_read", "i32 i32 i32 i32", 0, 0, 0, 64)),
    Attempt("out_of_bounds", "read beyond its own memory", "bounds of linear memory: a trap",
            command("(drop (i32.load (i32.const 65536)))" + says("1"), WRITE), Reason.HAND_CRASHED,
            command("(drop (i32.load (i32.const 65532)))" + says("1"), WRITE)),
    Attempt("endless_loop", "run for ever", "the deadline: the engine's epoch",
            command(spun("", ALWAYS)), Reason.HAND_TIMEOUT, command(spun("", some(1000)) + says("1"), WRITE)),
    Attempt("fuel", "compute more than its share, as a fork bomb would", "fuel",
            command(spun("", some(40_000_000)) + says("1"), WRITE), Reason.HAND_TIMEOUT,
            command(spun("", some(1000)) + says("1"), WRITE)),
    Attempt("endless_host_calls", "spend its time in the host, where no fuel is used",
            "the deadline: the engine's epoch",
            command(spun("(drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)))", ALWAYS), READ),
            Reason.HAND_TIMEOUT,
            command(spun("(drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)))", some(10))
                    + says("1"), READ, WRITE)),
    Attempt("memory_growth", "grow its memory beyond the limit",
            "limit of the store: `memory.grow` gives -1, and the use traps",
            command(GROW.format(pages=4096, place=200_000_000) + says("1"), WRITE), Reason.HAND_CRASHED,
            command(GROW.format(pages=16, place=1_000_000) + says("1"), WRITE)),
    Attempt("initial_memory", "begin with more memory than it may have", "limit of the store: no instance",
            command(says("1"), WRITE, pages=2048), Reason.HAND_CRASHED, command(says("1"), WRITE, pages=16)),
    Attempt("table_growth", "grow a table without end", "limit of the store: no instance",
            command(says("1"), WRITE, more="(table 10000000 funcref)"), Reason.HAND_CRASHED,
            command(says("1"), WRITE, more="(table 10 funcref)")),
    Attempt("stack_overflow", "call itself without end", "limit of the stack: a trap",
            command("(call $deep (i32.const 10000000))" + says("1"), WRITE, more=DEEP), Reason.HAND_CRASHED,
            command("(call $deep (i32.const 100))" + says("1"), WRITE, more=DEEP)),
    Attempt("output_bomb", "write without end", "cap of the output",
            command(spun(says("1"), ALWAYS), WRITE), Reason.HAND_RESULT_TOO_LARGE,
            command(spun(says("1"), some(10)), WRITE)),
    Attempt("error_bomb", "write errors without end", "the last 4 KiB are kept; the deadline",
            command(spun(says("1", 2), ALWAYS), WRITE), Reason.HAND_TIMEOUT,
            command(spun(says("1", 2), some(10)) + says("1"), WRITE)),
    Attempt("start_function", "do it while it is instantiated, before it is called",
            "fuel and epoch hold from the start",
            command(says("1"), WRITE, more="(func $begin (loop br 0)) (start $begin)"), Reason.HAND_TIMEOUT,
            command(says("1"), WRITE, more="(func $begin) (start $begin)")),
    Attempt("wrong_call", "call a function by a wrong type", "types of indirect calls: a trap",
            command("(call_indirect (param i64) (i64.const 1) (i32.const 0))" + says("1"), WRITE,
                    more="(table funcref (elem $f)) (func $f)"), Reason.HAND_CRASHED,
            command("(call_indirect (i32.const 0))" + says("1"), WRITE, more="(table funcref (elem $f)) (func $f)")),
)  # fmt: skip
