"""One deadline for a whole call of a library that bounds each read alone: a server that sends a byte now and then would
keep such a call for ever.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

Result = TypeVar("Result")

CALLS_MAX: Final = 16
"""Calls under way at most, and those among them whose callers gave up: their threads cannot be ended from outside."""


class Bounded:
    """Makes blocking calls on threads of their own. Thread-safe."""

    def __init__(self, calls_max: int = CALLS_MAX) -> None:
        self._free = threading.BoundedSemaphore(calls_max)

    def call(self, work: Callable[[], Result], seconds: float) -> Result:
        """What ``work`` gives or raises.

        Raises:
            TimeoutError: it took longer, or waited so long for others to end. It may still be done.
        """
        until = time.monotonic() + seconds
        if not self._free.acquire(timeout=seconds):
            raise TimeoutError("too many calls have no answer yet")
        future: Future[Result] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's, on another thread
                future.set_exception(error)
            finally:
                self._free.release()

        try:
            threading.Thread(target=run, name="handrail bounded call", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            self._free.release()
            raise TimeoutError("no thread to make the call on") from None
        return future.result(max(0.0, until - time.monotonic()))
