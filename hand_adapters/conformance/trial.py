"""One hand under check: its calls, each bounded and looked at, and what was seen of its promises."""

import asyncio
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.errors import HandrailError, Refused
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings
from hand_adapters.conformance.canaries import Canaries
from hand_adapters.conformance.inputs import Inputs
from hand_adapters.conformance.options import Options
from hand_adapters.conformance.promises import Promise, Status, Verdict
from hand_adapters.conformance.traces import WatchedJail
from hand_adapters.contract import HandAdapter, HandError
from hand_adapters.jail import Jail
from hand_adapters.schemas import Checker

FINDINGS_MAX: Final = 3
"""Cases that are told of one broken promise of one action."""
_UNDECLARED: Final = ActionSettings()
_TRACEBACK: Final = re.compile(r'Traceback \(most recent call last\)|File "[^"]+", line \d+')


@dataclass(slots=True)
class Outcome:
    """How one call ended: exactly one of ``result``, ``error``, ``raised`` and ``overran``.

    Attributes:
        raised: what is no ``HandError``.
        overran: it had not ended when its deadline and the grace were over.
        seconds: until it ended.
    """

    action: str
    args: Mapping[str, Any]
    result: HandResult | None = None
    error: HandError | None = None
    raised: BaseException | None = None
    overran: bool = False
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether there is a result that is no error."""
        return self.result is not None and not self.result.is_error

    @property
    def said(self) -> str:
        """In a word or two."""
        if self.result is not None:
            return "an error result" if self.result.is_error else "a result"
        if self.error is not None:
            return f"{self.error.reason} ({self.error.failure})"
        return "no end" if self.overran else type(self.raised).__name__

    def document(self) -> bytes:
        """What it answered, to be compared with another."""
        if self.result is not None:
            return canonical([self.result.document(), self.result.is_error])
        return self.said.encode()


@dataclass(slots=True)
class Tried:
    """One action, and what is known of it."""

    manifest: ActionManifest
    word: ActionSettings
    """The operator's."""
    args: Checker
    result: Checker | None
    inputs: Inputs
    left_out: str = ""
    """Why it is not called."""
    examples: list[Mapping[str, Any]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def changes_nothing(self) -> bool:
        """Whether nobody says that it may have side effects: what the operator said counts, and what is offered too."""
        return self.word.side_effects is SideEffects.NONE and self.manifest.side_effects is SideEffects.NONE

    @property
    def repeatable(self) -> bool:
        """Whether the same arguments may be sent twice."""
        return self.changes_nothing or (self.word.idempotent and self.manifest.idempotent)

    @property
    def answered(self) -> list[Outcome]:
        """Its calls that gave a result."""
        return [outcome for outcome in self.outcomes if outcome.answered]

    def again(self) -> Mapping[str, Any] | None:
        """Arguments for one more call: some that gave a result, where they may be sent twice; else new ones."""
        if self.repeatable and self.answered:
            return self.answered[0].args
        return next(self.inputs.take(1), None)


class Trial:
    """Calls a hand as the pipeline does, and keeps what was seen."""

    def __init__(
        self, adapter: HandAdapter, manifest: Manifest, settings: HandSettings, jail: Jail, options: Options
    ) -> None:
        self.adapter = adapter
        self.manifest = manifest
        self.settings = settings
        self.jail = jail
        self.options = options
        self.canaries = Canaries(manifest, options.secrets)
        self.actions: dict[str, Tried] = {}
        self.verdicts: list[Verdict] = []
        self.unended: list[asyncio.Task[HandResult]] = []
        self.lines: list[str] = []
        """What was logged."""
        self._numbers = itertools.count(1)
        self._recorded: list[str] = []
        self._homes = tuple(
            {str(jail.home), sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), str(Path.home())} - {"/"}
        )

    # --- verdicts ----------------------------------------------------------------------------------------------------

    def broken(
        self, promise: Promise, seen: str, action: str | None = None, args: Mapping[str, Any] | None = None
    ) -> None:
        """Keep that a promise was broken."""
        told = [
            verdict
            for verdict in self.verdicts
            if (verdict.promise, verdict.action, verdict.status) == (promise, action, Status.BROKEN)
        ]
        if len(told) < FINDINGS_MAX and not any((one.seen, one.args) == (seen, args) for one in told):
            self.verdicts.append(Verdict(promise, Status.BROKEN, seen, action, args, 1))

    def kept(self, promise: Promise, seen: str, action: str | None = None, calls: int = 0) -> None:
        """Keep that a promise was tried, unless it was broken."""
        if not self.is_broken(promise, action):
            self.verdicts.append(Verdict(promise, Status.KEPT, seen, action, None, calls))

    def not_shown(self, promise: Promise, why: str, action: str | None = None) -> None:
        """Keep that nothing can be said of a promise, unless it was broken."""
        if not self.is_broken(promise, action):
            self.verdicts.append(Verdict(promise, Status.NOT_SHOWN, why, action))

    def is_broken(self, promise: Promise, action: str | None) -> bool:
        """Whether that was seen."""
        return any(
            (verdict.promise, verdict.action, verdict.status) == (promise, action, Status.BROKEN)
            for verdict in self.verdicts
        )

    def called(self) -> Iterator[tuple[str, Tried]]:
        """The actions that are called."""
        return ((name, tried) for name, tried in self.actions.items() if not tried.left_out)

    def word(self, action: str) -> ActionSettings:
        """The operator's on an action."""
        return self.settings.actions.get(action, _UNDECLARED)

    # --- calls -------------------------------------------------------------------------------------------------------

    def prepare(self, action: str, args: Mapping[str, Any], **changes: Any) -> HandCall:
        """A call as the pipeline would make it, of a plan that there is not."""
        number = next(self._numbers)
        known = self.manifest.actions[action]
        values: dict[str, Any] = {
            "tenant": self.settings.tenants[0],
            "principal_id": "conformance",
            "context_id": f"conformance-{number}",
            "plan_id": f"conformance-{number}",
            "step_id": "step",
            "hand": self.manifest.hand,
            "action": action,
            "args": args,
            "args_bytes": canonical(args),
            "credential": self.canaries.credential,
            "manifest_digest": self.manifest.digest,
            "deadline_seconds": min(known.deadline_seconds, self.options.call_seconds),
            "result_max_bytes": known.result_max_bytes,
            "prove": self.canaries.prove,
            "inject": self.canaries.inject,
            "record": self._record,
        }
        return HandCall(**{**values, **changes})

    async def call(self, action: str, args: Mapping[str, Any], **changes: Any) -> Outcome:
        """Run one call to its end, or to where it should have ended, and look at what came back.

        Args:
            changes: members of the ``HandCall``.
        """
        call = self.prepare(action, args, **changes)
        outcome = Outcome(action, args)
        began = time.monotonic()
        task = asyncio.get_running_loop().create_task(self.adapter.run(call))
        await asyncio.wait({task}, timeout=call.deadline_seconds + self.options.grace_seconds)
        outcome.seconds = time.monotonic() - began
        late = outcome.seconds > call.deadline_seconds + self.options.grace_seconds
        if not task.done():
            outcome.overran = True
            await self.end(task)
        else:
            self._take(task, outcome)
        if late or outcome.overran:
            self.broken(Promise.DEADLINE, f"a call of {call.deadline_seconds:g} s took longer", action, args)
        self._look(outcome)
        return outcome

    async def end(self, task: "asyncio.Task[HandResult]") -> bool:
        """Cancel a call and wait for its end; whether it came within the grace."""
        task.cancel()
        await asyncio.wait({task}, timeout=self.options.grace_seconds)
        if not task.done():
            self.unended.append(task)
        elif not task.cancelled():
            task.exception()
        return task.done()

    def _take(self, task: "asyncio.Task[HandResult]", outcome: Outcome) -> None:
        try:
            outcome.result = task.result()
        except HandError as error:
            outcome.error = error
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            outcome.raised = exc

    async def _record(self, code: str, facts: Mapping[str, str | int], personal: bytes) -> None:
        """In the place of the log: nothing of a check is a governed act."""
        self._recorded.append(f"{code} {dict(facts)} {personal.decode('utf-8', 'replace')}")

    # --- what every call is held against -----------------------------------------------------------------------------

    def _look(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self._look_at_result(outcome, outcome.result)
        elif outcome.error is not None:
            self.look_at_error(outcome.error, outcome.action, outcome.args)
        elif outcome.raised is not None:
            kind = type(outcome.raised).__name__
            why = "which is no HandError, so nobody knows whether it acted"
            self.broken(Promise.ERRORS, f"run raised {kind}, {why}", outcome.action, outcome.args)

    def _look_at_result(self, outcome: Outcome, result: HandResult) -> None:
        problem = _malformed(result)
        if problem:
            self.broken(Promise.RESULT, problem, outcome.action, outcome.args)
            outcome.result, outcome.raised = None, TypeError(problem)
            return
        for name in self.canaries.within_result(result):
            self.broken(Promise.SECRETS, f"{name} came back in a result", outcome.action, outcome.args)
        checker = self.actions[outcome.action].result
        if checker is None or result.is_error:
            return
        for found in list(checker.problems(result.structured))[:1]:
            where = found["pointer"] or "its root"
            seen = f"the result does not match its schema: {found['keyword']} at {where}"
            self.broken(Promise.RESULT, seen, outcome.action, outcome.args)

    def look_at_error(
        self, error: HandrailError, action: str | None = None, args: Mapping[str, Any] | None = None
    ) -> None:
        """Hold what was raised against the promise of :class:`HandError`."""
        if not isinstance(error, HandError):
            self.broken(Promise.ERRORS, f"{type(error).__name__} was raised, which is no HandError", action, args)
            return
        if not isinstance(error.reason, Reason) or not isinstance(error.failure, HandFailure):
            self.broken(Promise.ERRORS, "an error without a Reason or a HandFailure", action, args)
            return
        text = f"{error.detail} {' '.join(f'{name} {fact}' for name, fact in error.facts.items())}"
        for name in self.canaries.within(text):
            self.broken(Promise.SECRETS, f"{name} came back in the text of an error", action, args)
        if _TRACEBACK.search(text):
            self.broken(Promise.ERRORS, "a traceback in the text of an error", action, args)
        elif action is not None and any(home in text for home in self._homes):
            self.broken(Promise.ERRORS, "a path of this machine in the text of an error", action, args)

    def look_around(self) -> None:
        """Search what the hand said and did beside its answers for secrets."""
        beside: list[tuple[str, str]] = [("a note", note) for note in self.adapter.notes]
        beside += [("a log line", line) for line in self.lines]
        beside += [("a report of egress", line) for line in self._recorded]
        if isinstance(self.jail, WatchedJail):
            for spec in self.jail.specs:
                beside.append(("the environment of a jail", " ".join(f"{k}={v}" for k, v in spec.env.items())))
                beside.append(("the command line of a jail", " ".join(spec.argv)))
        for where, text in beside:
            for name in self.canaries.within(text):
                self.broken(Promise.SECRETS, f"{name} was in {where}")


def _malformed(result: Any) -> str:
    """What keeps a result from being one; empty where nothing does."""
    if not isinstance(result, HandResult):
        return f"run gave {type(result).__name__}, and no HandResult"
    try:
        canonical(result.document())
    except (Refused, TypeError) as exc:
        return f"the result has no canonical JSON form: {type(exc).__name__}"
    if not isinstance(result.is_error, bool):
        return "is_error is no boolean"
    if not all(isinstance(block, Mapping) and isinstance(block.get("type"), str) for block in result.content):
        return "a content block without a type"
    return ""
