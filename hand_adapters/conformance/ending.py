"""Checks of how a hand ends: by deadlines, by cancellation, by being killed, and for good."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Final

from gateway.reasons import Reason
from hand_adapters.conformance.promises import Promise
from hand_adapters.conformance.traces import Traces, WatchedJail, settled
from hand_adapters.conformance.trial import Outcome, Trial, Tried

_TURNS: Final = 3
_SHORTEST_SECONDS: Final = 0.001


async def deadline(trial: Trial, name: str, tried: Tried) -> None:
    """Give calls less time than they take."""
    usual = min((outcome.seconds for outcome in tried.answered), default=0.0)
    shares = iter((2, 8, 32))
    timed_out = 0

    async def turn(args: Mapping[str, Any]) -> None:
        nonlocal timed_out
        outcome = await trial.call(name, args, deadline_seconds=max(usual / next(shares), _SHORTEST_SECONDS))
        timed_out += outcome.error is not None and outcome.error.reason is Reason.HAND_TIMEOUT

    if await _cut_short(trial, name, tried, Promise.DEADLINE, turn):
        if timed_out:
            trial.kept(Promise.DEADLINE, f"{timed_out} of {_TURNS} calls ended as hand.timeout", name, _TURNS)
        else:
            trial.not_shown(Promise.DEADLINE, "it answered within every deadline", name)


async def cancellation(trial: Trial, name: str, tried: Tried) -> None:
    """Cancel calls that are under way."""
    usual = min((outcome.seconds for outcome in tried.answered), default=0.0)
    shares = iter((2, 8, 32))
    ignored: list[Mapping[str, Any]] = []
    cut = 0

    async def turn(args: Mapping[str, Any]) -> None:
        nonlocal cut
        task = asyncio.get_running_loop().create_task(trial.adapter.run(trial.prepare(name, args)))
        await asyncio.wait({task}, timeout=usual / next(shares))
        if task.done():
            if not task.cancelled():
                task.exception()
            return
        if not await trial.end(task):
            trial.broken(Promise.CANCELLATION, "cancelled, a call does not end", name, args)
        elif task.cancelled():
            cut += 1
        else:
            ignored.append(args)

    if await _cut_short(trial, name, tried, Promise.CANCELLATION, turn):
        if ignored and not cut:
            trial.broken(Promise.CANCELLATION, "a cancelled call goes on as if it were not", name, ignored[0])
        if cut:
            trial.kept(Promise.CANCELLATION, f"{cut} of {_TURNS} calls ended when they were cancelled", name, _TURNS)
        else:
            trial.not_shown(Promise.CANCELLATION, "it answered before it was cancelled", name)


async def _cut_short(
    trial: Trial,
    name: str,
    tried: Tried,
    promise: Promise,
    turn: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> bool:
    """Cut some calls short, and look whether each leaves one more process, and whether the hand still works after it.

    ``False`` where nothing was tried.
    """
    counts = [len(Traces.now().processes)]
    for _ in range(_TURNS):
        args = tried.again()
        if args is None:
            trial.not_shown(promise, "no arguments are left that it was not called with", name)
            return False
        await turn(args)
        most = counts[-1]
        found = await settled(partial(_no_more, most), trial.options.grace_seconds)
        counts.append(len(found.processes))
    if all(after > before for before, after in pairwise(counts)):
        trial.broken(promise, f"each call that is cut short leaves processes: {counts[1:]}", name)
    await _works(trial, name, tried, promise, "after calls that were cut short")
    return True


def _no_more(most: int, now: Traces) -> bool:
    return len(now.processes) <= most


async def _works(trial: Trial, name: str, tried: Tried, promise: Promise, when: str) -> Outcome | None:
    """Call an action that gave results before, where that may be done again."""
    if not (tried.repeatable and tried.answered):
        return None
    outcome = await trial.call(name, tried.answered[0].args)
    if not outcome.answered:
        trial.broken(promise, f"{when} it does not work: {outcome.said}", name, outcome.args)
    return outcome


async def restart(trial: Trial) -> None:
    """Kill what runs, and close the hand; then call it."""
    found = next(((name, tried) for name, tried in trial.called() if tried.repeatable and tried.answered), None)
    if found is None:
        trial.not_shown(Promise.RESTART, "no action may be called again")
        return
    name, tried = found
    how = []
    if isinstance(trial.jail, WatchedJail) and trial.jail.living:
        for process in trial.jail.living:
            await process.kill()
        await trial.call(name, tried.answered[0].args)  # it may tell of the loss
        await _works(trial, name, tried, Promise.RESTART, "after its processes were killed")
        how.append("killed")
    await _closed(trial, Promise.RESTART)
    await _works(trial, name, tried, Promise.RESTART, "after it was closed")
    how.append("closed")
    if not trial.is_broken(Promise.RESTART, name):
        trial.kept(Promise.RESTART, f"{' and '.join(how)}, it worked again", calls=len(how))


async def close(trial: Trial, before: Traces) -> None:
    """Close the hand for good, and look what is left.

    Args:
        before: what there was before the hand was built.
    """
    await _closed(trial, Promise.CLOSE)
    left = (await settled(lambda now: not now.since(before), trial.options.grace_seconds)).since(before)
    if left:
        trial.broken(Promise.CLOSE, f"closed, it leaves {left}")
    if not Traces.visible():
        trial.not_shown(Promise.CLOSE, "this system does not show processes as Linux does")
    trial.kept(Promise.CLOSE, "closed, it left nothing", calls=1)


async def _closed(trial: Trial, promise: Promise) -> None:
    closing = asyncio.get_running_loop().create_task(trial.adapter.close())
    await asyncio.wait({closing}, timeout=2 * trial.options.grace_seconds)
    if not closing.done():
        trial.broken(promise, "close does not end")
        closing.cancel()
    elif closing.exception() is not None:
        trial.broken(promise, f"close raised {type(closing.exception()).__name__}")
