"""A guard in the program that owns its agent's loop: each call of a tool is judged before it is made, reported after.

::

    guard = Guard("http://127.0.0.1:8080", key, hand="office", context_id="ticket-7")

    @guard.tool
    def send(to: str, text: str) -> str: ...

Frameworks take the decorated function like any other: its name and signature are as before. Where a call may not be
made, the function is not called, and what it returns is a text that says why. A gateway that cannot be reached lets
nothing be called. The API key goes to the gateway and nowhere else.
"""

import asyncio
import functools
import inspect
import json
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from handrail.client import Client
from handrail.errors import ClientError, HandrailProblem

P = ParamSpec("P")
Result = TypeVar("Result")

NOT_MADE: Final = "This call was not made."
_WHOLE: Final = "A call is reported when it is over: return all of it, as a list or a text."
_log = logging.getLogger("handrail.guard")


class Denied(ClientError):
    """The call may not be made. The text says why, for a model to read; it holds no more than the gateway's answer."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The gateway's word that one call may be made, once."""

    plan_id: str
    step_id: str


class Guard:
    """Judges calls of a program's own tools, as actions of one hand with ``adapter = "client"``.

    Args:
        url, api_key, ca_file, client_cert, client_key: as of :class:`handrail.Client`.
        hand: the hand that declares the tools.
        context_id: the journey that the calls belong to; what was read in it counts for what is decided later.
        wait: seconds to wait for a person where one is asked. Once somebody approved, the same call again passes once.

    May be used by several threads at once.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        hand: str,
        context_id: str,
        wait: float = 0.0,
        ca_file: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
    ) -> None:
        self._connect = functools.partial(
            Client, url, api_key, ca_file=ca_file, client_cert=client_cert, client_key=client_key
        )
        # One for each call that is under way, kept for the next. What is wrong with url, key or files shows here.
        self._idle = [self._connect()]
        weakref.finalize(self, _close, self._idle)
        self.hand = hand
        self.context_id = context_id
        self.wait = wait

    def close(self) -> None:
        """Close what is connected and not in use."""
        _close(self._idle)

    def decide(self, tool: str, args: Mapping[str, Any]) -> Pass:
        """Have a call judged.

        Raises:
            Denied: it may not be made: policy says so, a person has to be asked, or the gateway gave no answer.
        """
        try:
            return self._judged(tool, args)
        except Denied:
            raise
        except HandrailProblem as problem:
            raise Denied(f"{problem.code}: {problem.detail} {NOT_MADE}") from None
        except ClientError as error:
            raise Denied(f"Handrail gave no answer: {error}. {NOT_MADE}") from None

    def report(self, made: Pass, result: Any, *, failed: bool = False) -> None:
        """Report what came of a call. It has been made: where the report cannot be taken, a warning in the log says so,
        and the gateway goes on counting the call as one of which nothing was said."""
        try:
            with self._client() as client:
                client.report_step(made.plan_id, made.step_id, text_of(result), failed=failed)
        except ClientError as error:
            _log.warning("step %s of plan %s is not reported: %s", made.step_id, made.plan_id, error)

    def tool(self, function: Callable[P, Result], *, leave_out: Collection[str] = ()) -> Callable[P, Result]:
        """The function, judged before and reported after each call; also of a coroutine function, or of one that
        returns what is to be awaited: that is reported once it was.

        Args:
            leave_out: parameters that are no arguments of the tool: what a framework passes for itself.

        Raises:
            ClientError: the function yields, so that nobody knows when its call is over, or it has no name. From the
                decorated function too, where one that does not yield itself returned an iterator.
        """
        name = getattr(function, "__name__", None)
        if not isinstance(name, str):
            raise ClientError(f"a tool is called by its function's name, and {type(function).__name__} has none")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ClientError(f"{name} yields. {_WHOLE}")
        signature = inspect.signature(function)

        def arguments(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return {name: value for name, value in bound.arguments.items() if name not in leave_out}

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def judged_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    made = await self.decide_async(name, arguments(*args, **kwargs))
                except Denied as denied:
                    return str(denied)
                return await self._awaited(made, function(*args, **kwargs))

            return judged_async  # type: ignore[return-value]

        @functools.wraps(function)
        def judged(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                made = self.decide(name, arguments(*args, **kwargs))
            except Denied as denied:
                return str(denied)
            try:
                result = function(*args, **kwargs)
                if inspect.isawaitable(result):
                    return self._awaited(made, result)
                _whole(result)
            except BaseException as error:
                self.report(made, type(error).__name__, failed=True)
                raise
            self.report(made, result)
            return result

        return judged

    async def decide_async(self, tool: str, args: Mapping[str, Any]) -> Pass:
        """:meth:`decide`, in a thread."""
        return await asyncio.to_thread(self.decide, tool, args)

    async def report_async(self, made: Pass, result: Any, *, failed: bool = False) -> None:
        """:meth:`report`, in a thread."""
        await asyncio.to_thread(self.report, made, result, failed=failed)

    async def _awaited(self, made: Pass, coming: Awaitable[Any]) -> Any:
        try:
            result = await coming
            _whole(result)
        except BaseException as error:
            await asyncio.shield(self.report_async(made, type(error).__name__, failed=True))
            raise
        await self.report_async(made, result)
        return result

    def _judged(self, tool: str, args: Mapping[str, Any]) -> Pass:
        call = {"hand": self.hand, "action": tool, "args": dict(args)}
        try:
            with self._client() as client:
                [judged] = client.judge_calls(self.context_id, [call], wait=self.wait)
            if judged.get("go") is not True:
                raise Denied(str(judged.get("text") or NOT_MADE))
            return Pass(judged["plan_id"], judged["step"]["id"])
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise ClientError(f"arguments or an answer that cannot be used ({type(error).__name__})") from None

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._connect()
        try:
            yield client
        finally:
            self._idle.append(client)


def _close(clients: list[Client]) -> None:
    while clients:
        clients.pop().close()


def _whole(result: Any) -> None:
    """Refuse what has hardly begun: its body runs when somebody goes through it."""
    if isinstance(result, (Iterator, AsyncIterator)) or inspect.isawaitable(result):
        raise ClientError(f"a tool returned a {type(result).__name__}. {_WHOLE}")


def text_of(result: Any) -> str:
    """What a tool gave, as the text that a model reads."""
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return str(result)
