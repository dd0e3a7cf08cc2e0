"""What everything about runs needs, and the few things that are done to one: take a turn, end it, tell followers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from gateway.approvals.withdrawal import withdraw
from gateway.connector import signed_plan
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.menus import Menus
from gateway.model import RUNS, Principal, RunTurn, Shown, TurnKind
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.ports import Append
from gateway.ports.runs import Run, RunStatus, RunStore, Turn
from gateway.reasons import Conflict, Reason
from gateway.settings import Settings
from gateway.state import PlanState

PAUSE_SECONDS: Final = 0.5
"""Before what could not be done now is tried again; it doubles up to"""
PAUSE_MAX_SECONDS: Final = 15.0

_log = structlog.get_logger("handrail.runs")


class Bells:
    """Wakes whoever follows a run. Belongs to one event loop."""

    def __init__(self) -> None:
        self._of: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def listening(self, run_id: str) -> Iterator[asyncio.Event]:
        """Set whenever something becomes of the run."""
        bell = asyncio.Event()
        bells = self._of.setdefault(run_id, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells:
                self._of.pop(run_id, None)

    def ring(self, run_id: str) -> None:
        """Something became of the run."""
        for bell in self._of.get(run_id, ()):
            bell.set()


@dataclass(slots=True)
class Parts:
    """Shared by the service and the drivers."""

    settings: Settings
    pipeline: Pipeline
    store: RunStore
    locks: PlanLocks
    menus: Menus
    gateway: str
    """This gateway's id."""
    clock: Callable[[], float]
    check_shown: Callable[[Shown, float], Awaitable[None]]
    """Raises ``auth.*`` where what a caller showed does not hold any more."""
    bells: Bells = field(default_factory=Bells)

    async def submit(
        self, run: Run, turn: RunTurn, person: Principal, actions: Sequence[Mapping[str, Any]], **more: Any
    ) -> None:
        """Take a turn: sign its plan and send it on its way, once. Whoever tries again later asks anew what may be done
        then, and on whose behalf.

        Args:
            more: further members of the plan.

        Raises:
            Refused: the plan is refused and nothing of it ran; ``request.conflict`` (``run.turn``) where the run went
                on elsewhere.
            Unavailable: not now.
        """
        now = self.clock()
        claims = {
            "run": {name: getattr(turn, name) for name in RunTurn.__slots__} | {"kind": str(turn.kind)},
            **more,
        }
        plan = signed_plan(
            RUNS, self.pipeline.signer, self.settings, person, run.run_id, actions, now=now, claims=claims
        )
        await self.pipeline.submit(plan)
        self.bells.ring(run.run_id)

    async def finish(
        self,
        run: Run,
        turns: Sequence[Turn],
        status: RunStatus,
        reason: Reason | None,
        note: str = "",
        counted: RunTurn | None = None,
    ) -> None:
        """End a run, and withdraw what of it waits for people.

        Args:
            turns: all of them so far.
            counted: a turn that counts the run's last answer, where the last one on record does not.

        Raises:
            Refused: ``request.conflict`` (``run.turn``): the run went on meanwhile.
            Unavailable: ``log.unavailable``; it has not ended.
        """
        last = turns[-1].turn if turns else RunTurn(run.run_id, -1, TurnKind.MODEL, run.brain, 0, 0, 0, run.spent)
        used = counted or last
        turn = replace(last, number=last.number + 1, kind=TurnKind.END, attempt=0, tokens=used.tokens, spent=used.spent)
        ended = Turn(turn, "", self.gateway, self.clock(), status, "" if reason is None else str(reason), note)
        entry = EntryDraft(
            EntryType.RUN_ENDED,
            run.tenant,
            context_id=run.run_id,
            principal=run.principal,
            hand=None,
            reasons=() if reason is None else (str(reason),),
            facts={
                "run": run.run_id,
                "status": str(status),
                "turns": turn.number,
                "steps": turn.steps,
                **({"problem": note} if note else {}),
            },
        )
        guards, writes = self.store.end(run, ended)
        await self.pipeline.log.append(Append([entry], writes, guards))
        self.pipeline.metrics.runs.labels(str(status)).inc()
        self.bells.ring(run.run_id)
        if turns and status is not RunStatus.DONE:
            await self.try_to_withdraw(turns[-1].plan_id, reason or Reason.RUN_CANCELLED)

    async def try_to_withdraw(self, plan_id: str, reason: Reason) -> None:
        """:meth:`withdraw`, or leave it to the next look: the run has ended either way, and no plan that cannot be
        withdrawn keeps another one open."""
        try:
            await self.withdraw(plan_id, reason)
        except HandrailError as error:
            _log.warning("still waits for people", plan_id=plan_id, code=str(error.reason), detail=error.detail)

    async def withdraw(self, plan_id: str, reason: Reason) -> None:
        """Cancel what of a plan waits for people: nobody can approve it any more. What runs is seen through."""
        await withdraw(self.pipeline, self.locks, plan_id, reason)

    async def plan(self, plan_id: str) -> PlanState:
        """A plan of a run, from memory or from its record. Raises ``request.not_found``."""
        return await self.pipeline.load(plan_id)


def is_turn_taken(error: HandrailError) -> bool:
    """Whether a run went on elsewhere."""
    return isinstance(error, Refused) and error.facts.get("problem") == str(Conflict.RUN_TURN)
