"""Checks of what calls change: idempotency, and side effects where none are declared.

What a hand changes is seen only where one of its own actions shows it: a *probe* is an action without side effects that
answered the same twice. A clock that answered the same by chance is found out by waiting, and is no probe.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.manifest import SideEffects
from hand_adapters.conformance.promises import Promise
from hand_adapters.conformance.trial import Trial, Tried

_CALLS: Final = 3
"""Calls of an action that has no side effects, between two looks."""
_CLOCK_SECONDS: Final = 1.1
"""Longer than the unit of most clocks that a tool shows."""


@dataclass(slots=True)
class _Probe:
    name: str
    args: Mapping[str, Any]
    said: bytes


class Probes:
    """Actions whose answers show what a hand holds."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._probes: list[_Probe] = []

    @property
    def names(self) -> list[str]:
        """The actions."""
        return [probe.name for probe in self._probes]

    async def find(self) -> None:
        """Take the actions without side effects that answer the same twice."""
        for name, tried in self._trial.called():
            if tried.changes_nothing and tried.answered:
                args = tried.answered[-1].args
                first, second = await self._trial.call(name, args), await self._trial.call(name, args)
                if first.answered and first.document() == second.document():
                    self._probes.append(_Probe(name, args, first.document()))

    async def changed(self, but: str) -> tuple[str, Mapping[str, Any]] | None:
        """The first action that answers otherwise than before, and goes on to; all are taken as they are now. The
        action ``but`` is not asked: where it changes something, asking would hide it."""
        found = None
        began = time.monotonic()
        for probe in [probe for probe in self._probes if probe.name != but]:
            outcome = await self._trial.call(probe.name, probe.args)
            if not outcome.answered or outcome.document() == probe.said:
                continue
            probe.said = outcome.document()
            await asyncio.sleep(max(_CLOCK_SECONDS, time.monotonic() - began))
            if (await self._trial.call(probe.name, probe.args)).document() != probe.said:
                self._probes.remove(probe)  # it changes by itself
            else:
                found = found or (probe.name, probe.args)
        return found


async def side_effects(trial: Trial, name: str, tried: Tried, probes: Probes) -> None:
    """Call an action that is declared to have none, and look whether another answers otherwise."""
    others = [other for other in probes.names if other != name]
    if not tried.changes_nothing or not others:
        why = "no other action shows what the hand holds"
        trial.not_shown(Promise.SIDE_EFFECTS, why if tried.changes_nothing else "it declares side effects", name)
        return
    await probes.changed(name)
    called = [*tried.inputs.take(_CALLS)] or [tried.answered[0].args]
    for args in called:
        await trial.call(name, args)
    if (changed := await probes.changed(name)) is not None:
        seen = f"it has side_effects = none, and {changed[0]} answers otherwise after it"
        trial.broken(Promise.SIDE_EFFECTS, seen, name, called[-1])
    trial.kept(Promise.SIDE_EFFECTS, f"{', '.join(others)} answered as before", name, len(called))


async def idempotent(trial: Trial, name: str, tried: Tried, probes: Probes) -> None:
    """Call an action that is declared idempotent twice with one key; no other action is called twice."""
    if not tried.repeatable or not tried.word.idempotent:
        trial.not_shown(Promise.IDEMPOTENT, "it does not claim to be: it was not called twice", name)
        return
    args = tried.answered[-1].args if tried.answered else None
    if args is None:
        trial.not_shown(Promise.IDEMPOTENT, "no call of it gave a result", name)
        return
    key = f"conformance-{trial.options.seed}-{name}"
    first = await trial.call(name, args, idempotency_key=key)
    await probes.changed(name)
    second = await trial.call(name, args, idempotency_key=key)
    changed = await probes.changed(name)
    if first.result is None and second.result is None:
        trial.not_shown(Promise.IDEMPOTENT, f"with a key it gave no result: {first.said}", name)
        return
    same = first.document() == second.document()
    if tried.word.side_effects is not SideEffects.NONE and not same:
        seen = f"run again with the same key it answered otherwise: {first.said}, then {second.said}"
        trial.broken(Promise.IDEMPOTENT, seen, name, args)
    if changed is not None:
        seen = f"run again with the same key it changed what {changed[0]} answers"
        trial.broken(Promise.IDEMPOTENT, seen, name, args)
    if same:
        others = ", ".join(other for other in probes.names if other != name)
        shown = f", and {others} as before" if others else ""
        trial.kept(Promise.IDEMPOTENT, f"run again with the same key it answered the same{shown}", name, 2)
    else:
        why = "it answered otherwise the second time: a clock does, and so does a counter, which is none"
        trial.not_shown(Promise.IDEMPOTENT, why, name)
