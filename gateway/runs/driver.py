"""One run, taken forward: ask, do what the answer says, ask again.

A driver remembers nothing that it could not read again. What comes next follows from the last turn on record and its
plan: so a run goes on after a crash, or at another gateway, and no call runs twice.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from gateway.commitments import person_named
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.model import PlanStatus, RunTurn, StepStatus, TurnKind
from gateway.ports.runs import Run, RunStatus, Turn
from gateway.reasons import Reason
from gateway.runs import conversation, money
from gateway.runs.asking import Asking, Over
from gateway.runs.conversation import Answer, Block
from gateway.runs.parts import PAUSE_MAX_SECONDS, PAUSE_SECONDS, Parts, is_turn_taken
from gateway.state import PlanState, StepState

ATTEMPTS_MAX: Final = 4
"""How often one question is put to models, where nobody knows what became of it or the endpoint is away."""
LOST_SECONDS: Final = 30.0
"""How long a step that another gateway let go is waited for, after that gateway stopped to drive the run."""
LOOK_SECONDS: Final = 1.0
"""How often the rows are looked at for what other gateways record of a plan."""
STEP_PREFIX: Final = "t"
"""Of the id of a step: the number of the call in the model's answer follows."""
_LATER_STATUSES: Final = frozenset({429, 503, 529})
_AWAY: Final = frozenset({Reason.HAND_UNAVAILABLE, Reason.HAND_CIRCUIT_OPEN, Reason.HAND_BUSY, Reason.HAND_TIMEOUT})

_log = structlog.get_logger("handrail.runs")


@dataclass(slots=True)
class Drive:
    """Takes one run forward until it ends, or somebody else does."""

    parts: Parts
    run: Run
    asking: Asking
    _counted: int = -1
    """The newest turn whose tokens the metrics have: a turn that is put off is looked at again."""

    async def go(self) -> None:
        """Drive. Raises nothing but what ends this process's part in it: ``gateway.internal`` for rows that cannot be
        believed."""
        while True:
            left = max(0.0, self.run.deadline_at - self.parts.clock())
            try:
                async with asyncio.timeout(left) as limit:
                    await self._until_over()
            except TimeoutError:
                if not limit.expired():
                    raise
                over = Over(RunStatus.FAILED, Reason.RUN_DEADLINE)
            except Over as found:
                over = found
            else:
                return
            if await self._end(over):
                return

    async def _end(self, over: Over) -> bool:
        """Whether it has ended; ``False`` where it went on meanwhile."""
        pause = PAUSE_SECONDS
        while True:
            turns = await self._turns()
            if turns and turns[-1].turn.kind is TurnKind.END:
                return True
            try:
                await self.parts.finish(self.run, turns, over.status, over.reason, over.note, over.counted)
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(PAUSE_MAX_SECONDS, pause * 2)
            except HandrailError as error:
                if not is_turn_taken(error):
                    raise
                if over.reason is not Reason.RUN_DEADLINE:
                    return False
            else:
                return True

    async def _turns(self) -> Sequence[Turn]:
        pause = PAUSE_SECONDS
        while True:
            try:
                return await self.parts.store.turns(self.run.run_id)
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(PAUSE_MAX_SECONDS, pause * 2)

    async def _until_over(self) -> None:
        """Turn after turn. Raises ``Over``."""
        pause = PAUSE_SECONDS
        while True:
            turns = await self._turns()
            if turns and turns[-1].turn.kind is TurnKind.END:
                return
            try:
                await self._next(turns)
                pause = PAUSE_SECONDS
            except Unavailable as error:
                _log.info("run put off", run_id=self.run.run_id, code=str(error.reason), detail=error.detail)
                await asyncio.sleep(pause)
                pause = min(PAUSE_MAX_SECONDS, pause * 2)
            except HandrailError as error:
                if is_turn_taken(error):
                    continue
                _log.warning("run fails", run_id=self.run.run_id, code=str(error.reason), detail=error.detail)
                raise Over(RunStatus.FAILED, error.reason, str(error.facts.get("problem", ""))[:64]) from None

    async def _next(self, turns: Sequence[Turn]) -> None:
        if not turns:
            first = RunTurn(self.run.run_id, 0, TurnKind.MODEL, self.run.brain, 1, 1, 0, self.run.spent)
            await self.asking.ask(
                first, conversation.opening(self.asking.asked), set(), (), request=self.asking.asked.prompt
            )
            return
        last = turns[-1]
        plan = await self._settled(last)
        if last.turn.kind is TurnKind.MODEL:
            await self._after_question(turns, last.turn, plan)
        else:
            await self._after_calls(last.turn, plan, await self.parts.plan(turns[-2].plan_id))

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _after_question(self, turns: Sequence[Turn], turn: RunTurn, plan: PlanState) -> None:
        [state] = plan
        messages = _messages(state)
        if state.status is StepStatus.SUCCEEDED:
            answer = _answer(state)
            if turn.number > self._counted:
                self._counted = turn.number
                for kind, number in answer.usage.items():
                    self.parts.pipeline.metrics.run_tokens.labels(turn.brain, kind).inc(number)
            await self._after_answer(turn, messages, answer, state.step.data_subjects)
            return
        if state.status.final and not _elsewhere(state) and state.status is not StepStatus.AMBIGUOUS:
            raise Over(RunStatus.FAILED, _reason(state), _note(state))
        if turn.attempt >= ATTEMPTS_MAX:
            raise Over(RunStatus.FAILED, _reason(state), _note(state))
        # Asking changes nothing, so what nobody knows the end of is asked again; one that is away is left alone.
        away = _tried(turns) if _elsewhere(state) else set()
        again = _following(turn, TurnKind.MODEL, turn.attempt + 1, 1)
        try:
            await self.asking.ask(again, messages, away, state.step.data_subjects)
        except Over as over:
            if over.reason is Reason.RUN_BRAIN:
                raise Over(RunStatus.FAILED, _reason(state), _note(state)) from None
            raise

    async def _after_answer(
        self, turn: RunTurn, messages: Sequence[Block], answer: Answer, people: Sequence[str]
    ) -> None:
        brain = self.parts.settings.brains.get(turn.brain)
        spent = money.after(turn.spent, brain, self.run.currency, answer.usage)
        turn = replace(turn, tokens=turn.tokens + answer.tokens, spent=spent)
        if answer.stopped:
            raise Over(RunStatus.FAILED, Reason.RUN_STOPPED, answer.stopped, turn)
        if answer.goes_on:
            again = _following(turn, TurnKind.MODEL, 1, 1)
            await self.asking.ask(again, conversation.answered(messages, answer), set(), people)
            return
        if not answer.calls:
            raise Over(RunStatus.DONE, counted=turn)
        person = await self.asking.person()
        offered = self.asking.offered(person)
        actions = [
            {
                "id": f"{STEP_PREFIX}{number}",
                "hand": offered[call.name].hand,
                "action": offered[call.name].action,
                "args": dict(call.args),
                "depends_on": [],
            }
            for number, call in enumerate(answer.calls)
            if call.name in offered
        ]
        if turn.steps + len(actions) > self.run.steps_max:
            raise Over(RunStatus.FAILED, Reason.RUN_BUDGET, "steps", turn)
        self.asking.check_used(turn)  # else nobody could be told what comes of the calls
        why = Reason.SCHEMA_UNKNOWN_ACTION
        if actions:
            step = _following(turn, TurnKind.TOOLS, 0, len(actions))
            try:
                await self.parts.submit(self.run, step, person, actions)
            except Refused as error:
                if not error.reason.startswith(("schema.", "request.too_large")):
                    raise
                why = error.reason
            else:
                if len(actions) < len(answer.calls):
                    self.asking.count_unknown(person)
                return
        if len(actions) < len(answer.calls):
            self.asking.count_unknown(person)
        results = [
            conversation.refused(call, why if call.name in offered else Reason.SCHEMA_UNKNOWN_ACTION)
            for call in answer.calls
        ]
        told = conversation.told(conversation.answered(messages, answer), results)
        await self.asking.ask(_following(turn, TurnKind.MODEL, 1, 1), told, set(), people)

    async def _after_calls(self, turn: RunTurn, plan: PlanState, asked: PlanState) -> None:
        [question] = asked
        messages, answer = _messages(question), _answer(question)
        steps = {state.step.id: state for state in plan}
        characters = self.parts.settings.runs.result_max_characters
        results = []
        for number, call in enumerate(answer.calls):
            state = steps.get(f"{STEP_PREFIX}{number}")
            if state is None:
                results.append(conversation.refused(call, Reason.SCHEMA_UNKNOWN_ACTION))
            else:
                results.append(conversation.outcome(call, state.view(plan.plan.plan_id), characters))
        told = conversation.told(conversation.answered(messages, answer), results)
        people = {*question.step.data_subjects, *await self._people(plan)}
        await self.asking.ask(_following(turn, TurnKind.MODEL, 1, 1), told, set(), sorted(people))

    async def _people(self, plan: PlanState) -> set[str]:
        """Whom the calls concern, by the keys that seal what they took and gave: the next question says it again, and
        is destroyed with it."""
        values = [state.commitments[name] for state in plan for name in ("args", "result") if name in state.commitments]
        owners = await self.parts.pipeline.payloads.owners(values)
        return {name for name in map(person_named, owners) if name is not None}

    # --- waiting -----------------------------------------------------------------------------------------------------

    async def _settled(self, turn: Turn) -> PlanState:
        """The plan of a turn, once it is done; or as it is, where the gateway that has it is gone."""
        pipeline, plan_id = self.parts.pipeline, turn.plan_id
        since = asyncio.get_running_loop().time()
        with pipeline.followers.follow(plan_id) as queue:
            plan = await self.parts.plan(plan_id)
            status = None
            while plan.status is not PlanStatus.DONE:
                if plan.status is not status:
                    status = plan.status
                    self.parts.bells.ring(self.run.run_id)
                abandoned = asyncio.get_running_loop().time() - since >= LOST_SECONDS
                if abandoned and await self._lost(turn, plan):
                    return plan
                known = max((state.log_index or 0 for state in plan), default=0)
                changed = False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await queue.get()
                    changed = True
                if not changed:
                    pipeline.freezes.now.check_acts(await self.asking.person())  # who is stopped waits for nobody
                elsewhere = not changed and pipeline.live(plan_id) is None
                if changed or (elsewhere and await pipeline.offers.progress(plan_id) > known):
                    plan = await self.parts.plan(plan_id)
        self.parts.bells.ring(self.run.run_id)
        return plan

    async def _lost(self, turn: Turn, plan: PlanState) -> bool:
        """Whether what runs of a plan is nobody's who could still end it: not this gateway's, and no remote hand's."""
        if turn.gateway == self.parts.gateway or plan.status is not PlanStatus.RUNNING:
            return False
        return not await self.parts.pipeline.offers.of_plan(turn.plan_id)


def _following(turn: RunTurn, kind: TurnKind, attempt: int, steps: int) -> RunTurn:
    """The turn after one whose answer is counted, with so many steps more."""
    return replace(turn, number=turn.number + 1, kind=kind, attempt=attempt, steps=turn.steps + steps)


def _tried(turns: Sequence[Turn]) -> set[str]:
    """The brains that the newest question was put to."""
    tried: set[str] = set()
    for turn in reversed(turns):
        if turn.turn.kind is not TurnKind.MODEL:
            break
        tried.add(turn.turn.brain)
        if turn.turn.attempt == 1:
            break
    return tried


def _messages(state: StepState) -> list[Block]:
    if state.args is None:
        raise Over(RunStatus.FAILED, Reason.RUN_ERASED)
    return conversation.unmarked(state.args["messages"])


def _answer(state: StepState) -> Answer:
    if state.result is None:
        raise Over(RunStatus.FAILED, Reason.RUN_ERASED)
    return conversation.read(state.result.structured)


def _elsewhere(state: StepState) -> bool:
    """Whether another brain may be asked: this one is unavailable, overloaded or rate limited, and never where somebody
    said no."""
    if state.status is not StepStatus.FAILED or state.error is None:
        return False
    if state.error.reason is Reason.HAND_FAILED:
        return _status(state) in _LATER_STATUSES
    return state.error.reason in _AWAY


def _status(state: StepState) -> int | None:
    """The HTTP status of an endpoint's refusal."""
    said = None if state.result is None else state.result.structured
    status = said.get("status") if isinstance(said, Mapping) else None
    return status if isinstance(status, int) else None


def _reason(state: StepState) -> Reason:
    return Reason.HAND_LOST_REPLY if state.error is None else state.error.reason


def _note(state: StepState) -> str:
    status = _status(state)
    return "" if status is None else f"status {status}"
