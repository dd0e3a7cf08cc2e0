# What every probe begins with; the names that only probes use are imported for them.
# ruff: noqa: F401, T201
import ctypes
import json
import os
import platform
import socket
import struct
import sys

ARGUMENTS = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)


def escaped(how=""):
    print("ESCAPED", how, flush=True)
    os._exit(0)


def held(why=""):
    print("HELD", why, flush=True)
    os._exit(0)


def syscall(x86_64, aarch64, *arguments):
    """The raw call: a library's own refusal must not stand in for the kernel's."""
    number = {"x86_64": x86_64, "aarch64": aarch64}[platform.machine()]
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def child():
    """A process of our own, to be attacked."""
    secret = ctypes.create_string_buffer(b"child memory")
    pid = os.fork()
    if pid == 0:
        import time

        time.sleep(30)
        os._exit(0)
    return pid, ctypes.addressof(secret), len(secret)
