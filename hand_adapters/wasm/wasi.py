"""The host functions of a module: WASI preview 1 with standard streams in memory and nothing else.

wasmtime's own WASI is not used: it always gives clocks and random numbers, and file systems are a mistake away. Here a
module can read its input, write its output and end. Names, numbers and layouts are those of ``wasi_snapshot_preview1``.
Runs in the worker, inside the jail; imports nothing of Handrail.
"""

import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from wasmtime import Caller, Memory

MODULE: Final = "wasi_snapshot_preview1"
OK, BADF, FAULT, INVAL, NOSYS, NOTSUP, SPIPE = 0, 8, 21, 28, 52, 58, 70
"""``errno``."""
CHARACTER_DEVICE: Final = 2
RIGHTS: Final = {0: 1 << 1, 1: 1 << 6, 2: 1 << 6}
"""``fd_read`` and ``fd_write``."""
VECTORS_MAX: Final = 1024
ERRORS_MAX: Final = 4096


class Exit(Exception):
    """The module has called ``proc_exit``."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class TooMuch(Exception):
    """The module has written more than it may."""


class Streams:
    """What one call reads and has written.

    Attributes:
        allow: ``clock``, ``random``, both or neither.
    """

    def __init__(self, argv: Sequence[str], stdin: bytes, output_max: int, allow: frozenset[str]) -> None:
        self.argv = [word.encode() + b"\0" for word in argv]
        self.stdin = memoryview(stdin)
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.output_max = output_max
        self.allow = allow

    def take(self, length: int) -> bytes:
        """The next bytes of the input."""
        taken, self.stdin = bytes(self.stdin[:length]), self.stdin[length:]
        return taken

    def put(self, number: int, data: bytes) -> None:
        """Keep what is written; of the errors, the end."""
        if number == 1:
            if len(self.stdout) + len(data) > self.output_max:
                raise TooMuch
            self.stdout += data
        else:
            self.stderr = (self.stderr + data)[-ERRORS_MAX:]


class _Fault(Exception):
    """A pointer that leads out of the module's memory."""


class _Guest:
    """The module's memory, every access within its bounds."""

    def __init__(self, caller: Caller) -> None:
        memory = caller.get("memory")
        if not isinstance(memory, Memory):
            raise _Fault
        self._memory, self._caller, self._size = memory, caller, memory.data_len(caller)

    def read(self, start: int, length: int) -> bytes:
        start, length = start & 0xFFFFFFFF, length & 0xFFFFFFFF
        if start + length > self._size:
            raise _Fault
        return bytes(self._memory.read(self._caller, start, start + length))

    def write(self, start: int, data: bytes) -> None:
        start &= 0xFFFFFFFF
        if start + len(data) > self._size:
            raise _Fault
        self._memory.write(self._caller, data, start)

    def vectors(self, start: int, count: int) -> list[tuple[int, int]]:
        """(pointer, length) of an array of ``iovec``."""
        if not 0 <= count <= VECTORS_MAX:
            raise _Fault
        raw = self.read(start, 8 * count)
        return [struct.unpack_from("<II", raw, 8 * number) for number in range(count)]


# --- the functions ---------------------------------------------------------------------------------------------------


def _fd_write(streams: Streams, guest: _Guest, number: int, vectors: int, count: int, written: int) -> int:
    if number not in {1, 2}:
        return BADF
    total = 0
    for start, length in guest.vectors(vectors, count):
        streams.put(number, guest.read(start, length))
        total += length
    guest.write(written, struct.pack("<I", total & 0xFFFFFFFF))
    return OK


def _fd_read(streams: Streams, guest: _Guest, number: int, vectors: int, count: int, read: int) -> int:
    if number != 0:
        return BADF
    total = 0
    for start, length in guest.vectors(vectors, count):
        taken = streams.take(length)
        guest.write(start, taken)
        total += len(taken)
    guest.write(read, struct.pack("<I", total))
    return OK


def _fd_fdstat_get(_streams: Streams, guest: _Guest, number: int, into: int) -> int:
    if number not in RIGHTS:
        return BADF
    guest.write(into, struct.pack("<BxHxxxxQQ", CHARACTER_DEVICE, 0, RIGHTS[number], 0))
    return OK


def _args_sizes_get(streams: Streams, guest: _Guest, count: int, size: int) -> int:
    guest.write(count, struct.pack("<I", len(streams.argv)))
    guest.write(size, struct.pack("<I", sum(map(len, streams.argv))))
    return OK


def _args_get(streams: Streams, guest: _Guest, pointers: int, buffer: int) -> int:
    for number, word in enumerate(streams.argv):
        guest.write(pointers + 4 * number, struct.pack("<I", buffer & 0xFFFFFFFF))
        guest.write(buffer, word)
        buffer += len(word)
    return OK


def _environ_sizes_get(_streams: Streams, guest: _Guest, count: int, size: int) -> int:
    guest.write(count, bytes(4))
    guest.write(size, bytes(4))
    return OK


def _clock_time_get(streams: Streams, guest: _Guest, clock: int, _precision: int, into: int) -> int:
    if "clock" not in streams.allow:
        return NOTSUP
    if clock not in {0, 1}:
        return INVAL
    guest.write(into, struct.pack("<Q", time.time_ns() if clock == 0 else time.monotonic_ns()))
    return OK


def _random_get(streams: Streams, guest: _Guest, into: int, length: int) -> int:
    if "random" not in streams.allow:
        return NOTSUP
    guest.read(into, length)  # within its memory, before so much is drawn
    guest.write(into, os.urandom(length & 0xFFFFFFFF))
    return OK


def _proc_exit(_streams: Streams, _guest: _Guest, status: int) -> int:
    raise Exit(status)


def _answer(errno: int) -> Callable[..., int]:
    return lambda _streams, _guest, *_arguments: errno


Function = tuple[str, Callable[..., int]]
"""Parameter types, one letter each (``i`` 32 bits, ``l`` 64 bits), and the function."""
FUNCTIONS: Final[dict[str, Function]] = {
    "args_get": ("ii", _args_get),
    "args_sizes_get": ("ii", _args_sizes_get),
    "clock_res_get": ("ii", _answer(NOTSUP)),
    "clock_time_get": ("ili", _clock_time_get),
    "environ_get": ("ii", _answer(OK)),
    "environ_sizes_get": ("ii", _environ_sizes_get),
    "fd_advise": ("illi", _answer(BADF)),
    "fd_allocate": ("ill", _answer(BADF)),
    "fd_close": ("i", _answer(OK)),
    "fd_datasync": ("i", _answer(BADF)),
    "fd_fdstat_get": ("ii", _fd_fdstat_get),
    "fd_fdstat_set_flags": ("ii", _answer(NOTSUP)),
    "fd_fdstat_set_rights": ("ill", _answer(NOTSUP)),
    "fd_filestat_get": ("ii", _answer(BADF)),
    "fd_filestat_set_size": ("il", _answer(BADF)),
    "fd_filestat_set_times": ("illi", _answer(BADF)),
    "fd_pread": ("iiili", _answer(BADF)),
    "fd_prestat_dir_name": ("iii", _answer(BADF)),
    "fd_prestat_get": ("ii", _answer(BADF)),
    "fd_pwrite": ("iiili", _answer(BADF)),
    "fd_read": ("iiii", _fd_read),
    "fd_readdir": ("iiili", _answer(BADF)),
    "fd_renumber": ("ii", _answer(BADF)),
    "fd_seek": ("ilii", _answer(SPIPE)),
    "fd_sync": ("i", _answer(BADF)),
    "fd_tell": ("ii", _answer(SPIPE)),
    "fd_write": ("iiii", _fd_write),
    "path_create_directory": ("iii", _answer(BADF)),
    "path_filestat_get": ("iiiii", _answer(BADF)),
    "path_filestat_set_times": ("iiiilli", _answer(BADF)),
    "path_link": ("iiiiiii", _answer(BADF)),
    "path_open": ("iiiiillii", _answer(BADF)),
    "path_readlink": ("iiiiii", _answer(BADF)),
    "path_remove_directory": ("iii", _answer(BADF)),
    "path_rename": ("iiiiii", _answer(BADF)),
    "path_symlink": ("iiiii", _answer(BADF)),
    "path_unlink_file": ("iii", _answer(BADF)),
    "poll_oneoff": ("iiii", _answer(NOSYS)),
    "proc_exit": ("i", _proc_exit),
    "proc_raise": ("i", _answer(NOSYS)),
    "random_get": ("ii", _random_get),
    "sched_yield": ("", _answer(OK)),
    "sock_accept": ("iii", _answer(BADF)),
    "sock_recv": ("iiiiii", _answer(BADF)),
    "sock_send": ("iiiii", _answer(BADF)),
    "sock_shutdown": ("ii", _answer(BADF)),
}


def bound(name: str, current: Callable[[], Streams]) -> Callable[..., Any]:
    """A host function over the streams of the call under way."""
    _, function = FUNCTIONS[name]

    def host(caller: Caller, *arguments: int) -> int | None:
        try:
            return function(current(), _Guest(caller), *arguments)
        except _Fault:
            return FAULT

    return host
