"""The check that calls at once are kept apart."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from hand_adapters.conformance.promises import Promise
from hand_adapters.conformance.trial import Outcome, Trial, Tried

CALLS: Final = 6
PRINCIPALS: Final = 2
_TURNS: Final = 2


async def concurrency(trial: Trial, name: str, tried: Tried) -> None:
    """Call an action with different arguments one by one, and then at once, for two principals."""
    if not tried.changes_nothing:
        trial.not_shown(Promise.CONCURRENCY, "it declares side effects", name)
        return
    marked = [args for args in (_marked(tried, number) for number in range(CALLS)) if args is not None]
    several = marked if len(marked) == CALLS else [outcome.args for outcome in tried.answered[:CALLS]]
    alone = [await trial.call(name, args) for args in several]
    if len({outcome.document() for outcome in alone if outcome.answered}) < 2:
        trial.not_shown(Promise.CONCURRENCY, "it answers the same to all arguments", name)
        return
    steady = [
        (await trial.call(name, args)).document() == one.document() for args, one in zip(several, alone, strict=True)
    ]
    for _ in range(_TURNS):
        together = await asyncio.gather(
            *(
                trial.call(name, args, principal_id=f"conformance-{number % PRINCIPALS}")
                for number, args in enumerate(several)
            )
        )
        for number, (one, other) in enumerate(zip(alone, together, strict=True)):
            _compare(trial, name, one, other, number, steady=steady[number])
    if any(steady) or marked:
        trial.kept(Promise.CONCURRENCY, f"{len(several)} calls at once answered as one by one", name, len(several))
    else:
        trial.not_shown(Promise.CONCURRENCY, "it answers otherwise each time", name)


def _compare(trial: Trial, name: str, alone: Outcome, together: Outcome, number: int, *, steady: bool) -> None:
    if not alone.answered:
        return
    said = together.document().decode()
    others = [_marker(other) for other in range(CALLS) if other != number]
    if any(other in said for other in others) and not any(other in alone.document().decode() for other in others):
        trial.broken(Promise.CONCURRENCY, "it answered with what another call had sent", name, together.args)
    elif together.answered and steady and together.document() != alone.document():
        trial.broken(Promise.CONCURRENCY, "called at once with others, it answered otherwise", name, together.args)


def _marker(number: int) -> str:
    return f"marker{number}of{CALLS}"


def _marked(tried: Tried, number: int) -> Mapping[str, Any] | None:
    """Arguments that gave a result, with a text of this call alone in the place of one of theirs."""
    for outcome in tried.answered:
        for member, value in outcome.args.items():
            changed = {**outcome.args, member: _marker(number)}
            if isinstance(value, str) and not tried.args.problems(changed):
                return changed
    return None
