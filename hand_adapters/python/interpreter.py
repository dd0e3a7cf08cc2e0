"""Jailed interpreters that have imported a source and wait for their one call."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters import exchange
from hand_adapters.contract import HandError
from hand_adapters.egress import EgressGate
from hand_adapters.jail import Bind, Jail, JailedProcess, JailError, JailSpec

OPEN_SECONDS: Final = 30.0
"""How long an interpreter may take to start and to import the source."""
DIGEST_MAX_BYTES: Final = 128
LISTING_MAX_BYTES: Final = 4_194_304
GO_ON: Final = b"{}\n"
"""Of the exchanges that ask nothing (``runner``)."""
PROCESSES_MAX: Final = 32
"""Interpreters of one hand at once."""


@dataclass(eq=False, slots=True)
class Interpreter:
    """A process and what it said of the source: ``{"sha256", "actions"}``, the first before the source was imported."""

    process: JailedProcess
    said: dict[str, Any]
    way_out: EgressGate | None = None

    async def stale(self) -> bool:
        """Whether the source is another than the one that it has read. Asked before the call is told, for whatever
        comes after that may be the word of a function that has acted.

        Raises:
            HandError: not executed.
        """
        said = await exchange.ask(self.process, GO_ON, DIGEST_MAX_BYTES, HandFailure.NOT_EXECUTED)
        if said.keys() != {"stale"} or not isinstance(said["stale"], bool):
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, "before the call")
        return said["stale"]


class Interpreters:
    """The interpreters of one hand: those of calls under way, and the spare one."""

    def __init__(
        self,
        jail: Jail,
        *,
        program: str,
        binds: tuple[Bind, ...],
        env: Mapping[str, str],
        setup: Mapping[str, Any],
        idle_seconds: float,
        gate: Callable[[], EgressGate | None],
    ) -> None:
        """``gate`` makes what one jail of the hand may reach."""
        self._jail = jail
        self._gate = gate
        self._program = program
        self._binds = binds
        self._env = env
        self._setup = setup
        self._idle_seconds = idle_seconds
        self._living: set[JailedProcess] = set()
        self._starting = 0
        self._closed = False
        self._spare: asyncio.Task[Interpreter] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, profile: str, *, spare: bool, binds: tuple[Bind, ...] = ()) -> Interpreter:
        """An interpreter that nobody has used. Give it to :meth:`end` after its call.

        Args:
            spare: whether the one that is kept ready will do.
            binds: what this call sees beside what all do; the one that is kept ready sees none of that.

        Raises:
            HandError: not executed.
        """
        self._closed = False
        found, self._spare = (self._spare, None) if spare else (None, self._spare)
        interpreter: Interpreter | None = None
        if found is not None:
            with suppress(HandrailError):  # what kept the spare from coming up may be over by now
                interpreter = await found
        if interpreter is None or interpreter.process.returncode is not None:
            interpreter = await self.start(profile, describe=False, binds=binds)
        return interpreter

    def prepare(self, profile: str) -> None:
        """Have an interpreter ready for the next call; it stays while calls come."""
        if self._closed:
            return
        if self._spare is None:
            self._spare = asyncio.get_running_loop().create_task(self.start(profile, describe=False))
            self._spare.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._put_off()

    async def start(self, profile: str, *, describe: bool, binds: tuple[Bind, ...] = ()) -> Interpreter:
        """A fresh interpreter that has imported the source.

        Raises:
            HandError: not executed.
        """
        if len(self._living) + self._starting >= PROCESSES_MAX:
            raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "too many interpreters of this hand")
        self._starting += 1
        way_out = self._gate()
        try:
            process = await self._jail.start(
                JailSpec(
                    argv=(self._program, "-I", "/runner.py"),
                    profile=profile,
                    binds=(*self._binds, *binds),
                    env=self._env,
                    gate=way_out,
                )
            )
        except JailError as exc:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, exc.detail) from None
        finally:
            self._starting -= 1
        self._living.add(process)
        interpreter = Interpreter(process, {}, way_out)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                question = orjson.dumps({**self._setup, "describe": describe}) + b"\n"
                said = await exchange.ask(process, question, DIGEST_MAX_BYTES, HandFailure.NOT_EXECUTED)
                # Imported only now, so that no code of the source can say what its digest is.
                told = await exchange.ask(process, GO_ON, LISTING_MAX_BYTES, HandFailure.NOT_EXECUTED)
        except TimeoutError:
            await self.end(interpreter)
            raise HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, "opening") from None
        except HandError as exc:
            await self.end(interpreter)
            raise _opening(exc, process) from None
        except asyncio.CancelledError:
            await self.end(interpreter)
            raise
        if not isinstance(said.get("sha256"), str) or not isinstance(told.get("actions"), dict):
            await self.end(interpreter)
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, "opening")
        interpreter.said = {"sha256": said["sha256"], "actions": told["actions"]}
        return interpreter

    async def end(self, interpreter: Interpreter) -> None:
        """Kill it with all that it started."""
        await interpreter.process.kill()
        self._living.discard(interpreter.process)

    async def close(self) -> None:
        """Kill every interpreter; none is made ready until the next call."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._retire()
        await asyncio.gather(*(process.kill() for process in tuple(self._living)))
        self._living.clear()

    # --- the spare one -----------------------------------------------------------------------------------------------

    def _put_off(self) -> None:
        """Begin its idle time anew."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()

        def retire() -> None:
            task = loop.create_task(self._retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

        self._timer = loop.call_later(self._idle_seconds, retire)

    async def _retire(self) -> None:
        spare, self._spare = self._spare, None
        if spare is None:
            return
        spare.cancel()
        with suppress(asyncio.CancelledError, HandrailError):
            await self.end(await spare)


def _opening(cause: HandError, process: JailedProcess) -> HandError:
    """Why an interpreter did not come up. No call was sent yet, so its last words hold nobody's data and are kept."""
    said = exchange.last_words(process)
    return HandError(
        cause.reason, HandFailure.NOT_EXECUTED, f"{cause.detail}; it said: {said}" if said else cause.detail
    )
