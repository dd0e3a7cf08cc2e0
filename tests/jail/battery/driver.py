"""Many probes in one process tree, each in a child of its own: how an adapter that runs code runs the whole battery.

A program (orders on standard input, findings on standard output) and a module with one function, :func:`battery`.
Standard library only; the jail sees this file alone.
"""

import contextlib
import json
import os
import signal
import sys
from typing import Any

SECONDS = 30
"""A probe that hangs is ended and counts as not held."""


def battery(orders: list[dict[str, str]]) -> dict[str, Any]:
    """Name -> ``{"said", "ended"}`` of each order ``{"name", "code", "arguments"}``."""
    supervisor = os.getppid()
    return {order["name"]: _one(order, supervisor) for order in orders}


def _one(order: dict[str, str], supervisor: int) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(order, supervisor, writing)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)  # what a bomb has started holds the pipe open
    with os.fdopen(reading, errors="replace") as pipe:
        said = pipe.read(4000)
    return {"said": said, "ended": os.waitstatus_to_exitcode(status)}


def _become(order: dict[str, str], supervisor: int, writing: int) -> None:
    try:
        os.setpgid(0, 0)
        signal.alarm(SECONDS)
        os.dup2(writing, 1)
        os.close(writing)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        given = {**json.loads(order["arguments"]), "supervisor": supervisor}
        sys.argv = ["probe", json.dumps(given)]
        exec(compile(order["code"], order["name"], "exec"), {"__name__": "__main__"})
    finally:
        sys.stdout.flush()
        os._exit(1)


if __name__ == "__main__":
    print(json.dumps(battery(json.load(sys.stdin)["orders"])))  # noqa: T201
