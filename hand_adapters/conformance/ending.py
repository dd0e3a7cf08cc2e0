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
from hand_adapters.contract import HandAdapter

_SHARES: Final = (4, 8, 32)
"""Calls are cut short after one of so many parts of the time that they take."""
_NOISE_SECONDS: Final = 0.02
"""A busy machine is this late."""
_SHORTEST_SECONDS: Final = 0.001


async def deadline(trial: Trial, name: str, tried: Tried) -> None:
    """Give calls less time than they take."""
    usual = min((outcome.seconds for outcome in tried.answered), default=0.0)
    given = iter(max(usual / share, _SHORTEST_SECONDS) for share in _SHARES)
    timed_out = 0
    late: list[tuple[Outcome, float]] = []

    async def turn(args: Mapping[str, Any]) -> None:
        nonlocal timed_out
        seconds = next(given)
        outcome = await trial.call(name, args, deadline_seconds=seconds)
        timed_out += outcome.error is not None and outcome.error.reason is Reason.HAND_TIMEOUT
        if outcome.result is not None and outcome.seconds > seconds * 1.5 + _NOISE_SECONDS:
            late.append((outcome, seconds))

    if not await _cut_short(trial, name, tried, Promise.DEADLINE, turn):
        return
    if len(late) == len(_SHARES):
        outcome, seconds = late[0]
        seen = f"given {seconds:.3g} s, it answered after {outcome.seconds:.3g} s"
        trial.broken(Promise.DEADLINE, seen, name, outcome.args)
    if timed_out:
        seen = f"{timed_out} of {len(_SHARES)} calls ended as hand.timeout"
        trial.kept(Promise.DEADLINE, seen, name, len(_SHARES))
    else:
        trial.not_shown(Promise.DEADLINE, "it answered within every deadline", name)


async def cancellation(trial: Trial, name: str, tried: Tried) -> None:
    """Cancel calls that are under way."""
    usual = min((outcome.seconds for outcome in tried.answered), default=0.0)
    shares = iter(_SHARES)
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
            trial.kept(Promise.CANCELLATION, f"{cut} of {len(_SHARES)} calls ended when they were cancelled", name, cut)
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
    for _ in _SHARES:
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
    await closed(trial, trial.adapter, Promise.RESTART)
    await _works(trial, name, tried, Promise.RESTART, "after it was closed")
    how.append("closed")
    if not trial.is_broken(Promise.RESTART, name):
        trial.kept(Promise.RESTART, f"{' and '.join(how)}, it worked again", calls=len(how))


async def close(trial: Trial, before: Traces) -> None:
    """Close the hand for good, and look what is left.

    Args:
        before: what there was before the hand was built.
    """
    await closed(trial, trial.adapter, Promise.CLOSE)
    left = (await settled(lambda now: not now.since(before), trial.options.grace_seconds)).since(before)
    if left:
        trial.broken(Promise.CLOSE, f"closed, it leaves {left}")
    if Traces.visible():
        trial.kept(Promise.CLOSE, "closed, it left nothing", calls=1)
    else:
        trial.not_shown(Promise.CLOSE, "this system does not show processes as Linux does")


async def closed(trial: Trial, adapter: HandAdapter, promise: Promise) -> None:
    """Close an adapter, and keep whether it ends and what it raises."""
    closing = asyncio.get_running_loop().create_task(adapter.close())
    await asyncio.wait({closing}, timeout=2 * trial.options.grace_seconds)
    if not closing.done():
        trial.broken(promise, "close does not end")
        closing.cancel()
    elif closing.exception() is not None:
        trial.broken(promise, f"close raised {type(closing.exception()).__name__}")
