"""Changes a key in a process that stops at its n-th call, for many n; prints what each left as a line of JSON.

``python -m tests.keys.stores.contract.crashing SPEC CHANGE``, where CHANGE is ``create`` or a state to move to.
"""

import json
import os
import sys
from dataclasses import replace
from types import FrameType
from typing import Any

from gateway.ports import Purpose
from keys.rotation import KeyState
from keys.stores import KeyStore
from tests.keys.stores.contract.backends import Spec, open_store

POINTS_PER_DOUBLING = 2
STOPPED = 9


class _StopsAt:
    """A profiler that ends the process, as ``kill -9`` does, when the n-th function is entered or left."""

    def __init__(self, n: int) -> None:
        self._left = n

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        self._left -= 1
        if self._left <= 0:
            os._exit(STOPPED)


def _change(store: KeyStore, change: str) -> None:
    if change == "create":
        store.create(Purpose.RECEIPT, 2.0)
        return
    key = next(key for key in store.load() if key.record.purpose is Purpose.STEP)
    store.update(replace(key.record, state=KeyState(change), retired_at=2.0))


def _stopped_at(store: KeyStore, change: str, n: int) -> int:
    pid = os.fork()
    if pid == 0:
        with store.lock():
            store.load()  # connections are made, modules imported
            sys.setprofile(_StopsAt(n))
            _change(store, change)
            sys.setprofile(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _look(store: KeyStore) -> list[list[Any]]:
    """Purpose, state, and whether it signs, of every key, as the next process finds them under the lock."""
    pid_out, pid_in = os.pipe()
    if (pid := os.fork()) == 0:
        with store.lock():
            found = [[str(k.record.purpose), str(k.record.state), k.sign is not None] for k in store.load()]
            for key in store.load():
                if key.sign is not None:
                    key.sign(b"still here")
        os.write(pid_in, json.dumps(sorted(found)).encode())
        os._exit(0)
    os.close(pid_in)
    with os.fdopen(pid_out, "rb") as stream:
        content = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise SystemExit(f"the store does not open after a stop: exit code {code}")
    return list(json.loads(content))


def main(spec: Spec, change: str) -> None:
    """Stop later and later, until the change is done. Each process has a copy of a store that was opened and not used:
    it has looked at nothing and is connected to nothing, and what opening costs is paid once.
    """
    store, n = open_store(spec), 1
    while True:
        code = _stopped_at(store, change, n)
        sys.stdout.write(json.dumps({"n": n, "done": code == 0, "found": _look(store)}) + "\n")
        if code == 0:
            return
        if code != STOPPED:
            raise SystemExit(f"the change failed: exit code {code}")
        n = max(n + 1, round(n * 2 ** (1 / POINTS_PER_DOUBLING)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
