"""Calls under way on hands, and how a freeze ends them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from gateway.freeze import Concern, Freeze, FreezeState
from gateway.reasons import Reason

KILL_SECONDS: Final = 2.0
"""How long a call may take to end after it was cancelled. Then its step ends without it."""

_log = structlog.get_logger("handrail.freeze")
Result = TypeVar("Result")


class Halted(Exception):
    """A call was stopped by a freeze.

    Attributes:
        freeze: ``None`` where it was none; ``reason`` says what it was.
        begun: whether the hand was called before.
    """

    def __init__(self, freeze: Freeze | None, *, begun: bool, reason: Reason = Reason.LOG_UNAVAILABLE) -> None:
        super().__init__("halted")
        self.freeze = freeze
        self.reason = reason
        self.begun = begun


@dataclass(slots=True, eq=False)
class _Call:
    concern: Concern
    halted: "asyncio.Future[Freeze | None]"
    reason: Reason = Reason.LOG_UNAVAILABLE


@dataclass(slots=True)
class Halts:
    """The calls of one process. Belongs to its event loop.

    Attributes:
        state: the freezes as they are known now.
    """

    state: Callable[[], FreezeState] = FreezeState
    _calls: set[_Call] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._calls)

    async def run(self, concern: Concern, work: Callable[[], Awaitable[Result]]) -> Result:
        """Call a hand, unless and until a freeze stops it.

        Raises:
            Halted: by a freeze; ``begun`` says whether the hand may have acted.
        """
        found = self.state().stopping(concern)
        if found is not None:
            raise Halted(found, begun=False)
        with self._call(concern) as call:
            task: asyncio.Future[Any] = asyncio.ensure_future(work())
            try:
                await asyncio.wait({task, call.halted}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait({task}, timeout=KILL_SECONDS)
                raise
            if task.done():
                result: Result = task.result()
                return result
            task.cancel()
            _, late = await asyncio.wait({task}, timeout=KILL_SECONDS)
            task.add_done_callback(_heed)
            if late:
                _log.error("a hand does not let go of a call that was frozen", hand=concern.hand)
            raise Halted(call.halted.result(), begun=True, reason=call.reason)

    def apply(self, state: FreezeState) -> int:
        """End every call that a freeze stops now; returns how many."""
        return self._halt(state.stopping)

    def count(self, state: FreezeState) -> int:
        """How many calls :meth:`apply` would end."""
        return sum(not call.halted.done() and state.stopping(call.concern) is not None for call in self._calls)

    def everything(self) -> int:
        """End every call, because it cannot be known what is frozen; returns how many."""
        ended = 0
        for call in self._calls:
            if not call.halted.done():
                call.halted.set_result(None)
                ended += 1
        return ended

    def end(self, tenant: str, context_id: str, reason: Reason) -> int:
        """End every call of a context, because nobody waits for it any more; returns how many."""
        ended = 0
        for call in self._calls:
            if (call.concern.tenant, call.concern.context_id) == (tenant, context_id) and not call.halted.done():
                call.reason = reason
                call.halted.set_result(None)
                ended += 1
        return ended

    def _halt(self, stopping: Callable[[Concern], Freeze | None]) -> int:
        ended = 0
        for call in self._calls:
            found = None if call.halted.done() else stopping(call.concern)
            if found is not None:
                call.halted.set_result(found)
                ended += 1
        return ended

    @contextmanager
    def _call(self, concern: Concern) -> "Iterator[_Call]":
        call = _Call(concern, asyncio.get_running_loop().create_future())
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)


def _heed(task: "asyncio.Future[Any]") -> None:
    """Its step has ended; what becomes of the call now is nobody's."""
    if not task.cancelled():
        task.exception()
