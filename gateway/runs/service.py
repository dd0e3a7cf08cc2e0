"""Runs: begun, shown, followed, cancelled; and taken forward by whichever gateway has the time."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Malformed, Refused, Unavailable
from gateway.model import Principal, TurnKind
from gateway.offered_tools import Tools
from gateway.permissions import Permission, permits
from gateway.plans.followers import Event
from gateway.ports import Append, Write
from gateway.ports.runs import Driver, Run, RunStatus, Turn
from gateway.reasons import Reason
from gateway.runs import brains, views
from gateway.runs.asked import Asked
from gateway.runs.driver import Drive
from gateway.runs.parts import Parts, is_turn_taken

HELD_SECONDS: Final = 30.0
"""For how long a gateway says that it drives a run; it says so again three times in that."""
LOOK_SECONDS: Final = 2.0
FOLLOW_SECONDS: Final = 1.0
"""How often a follower looks for what other gateways record."""
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500

_log = structlog.get_logger("handrail.runs")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for beside the words.

    Attributes:
        hands: whose tools the model may be offered; ``None`` for all that the caller may use.
        steps, tokens, deadline_seconds: ``None`` where the configuration says.
    """

    hands: tuple[str, ...] | None = None
    steps: int | None = None
    tokens: int | None = None
    deadline_seconds: float | None = None


@dataclass(slots=True)
class Runs:
    """The runs of this gateway. Belongs to one event loop."""

    parts: Parts
    tools: Tools = field(default_factory=Tools)
    _driving: dict[str, tuple[Driver, asyncio.Task[None]]] = field(default_factory=dict)
    _of: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Tenant and pseudonym -> runs that are being begun or driven here."""
    _stuck: set[str] = field(default_factory=set)
    """Runs that stopped short here; another process may have more luck."""
    _upkeep: asyncio.Task[None] | None = None
    _leaving: asyncio.Future[None] | None = None
    _held_at: float = 0.0

    def __post_init__(self) -> None:
        self.parts.pipeline.metrics.runs_live.set_function(lambda: len(self._driving))

    # --- what callers ask for ----------------------------------------------------------------------------------------

    async def begin(self, caller: Principal, asked: Asked, wish: Wish) -> dict[str, Any]:
        """Begin a run; its view.

        Raises:
            Refused: ``run.no_brain``, ``run.brain``, ``request.malformed``, ``freeze.active``.
            Unavailable: ``limit.runs``, ``gateway.overloaded``, ``log.unavailable``: nothing has begun.
        """
        parts, limits = self.parts, self.parts.settings.runs
        order = brains.order(parts.settings.brains, asked.purpose, asked.data_classes, asked.brain)
        brain = self._first(caller, order)
        run = self._planned(caller, wish, brain)
        owner = (caller.tenant, caller.pseudonym)
        if self._of[owner] >= limits.max_concurrent_per_principal:
            raise Unavailable(Reason.LIMIT_RUNS, limit=limits.max_concurrent_per_principal)
        if self._of.total() >= limits.max_concurrent:
            raise Unavailable(Reason.OVERLOADED, "runs")
        self._of[owner] += 1
        begun = False
        try:
            frozen = await parts.pipeline.freezes.current()
            frozen.check_acts(caller)
            until = parts.clock() + HELD_SECONDS
            asked = asked.by(caller)
            told = commit(asked.document(), subject_key(run.tenant, caller.id, run.run_id))
            run = replace(run, commitment=told.commitment)
            entry = EntryDraft(
                EntryType.RUN_STARTED,
                run.tenant,
                context_id=run.run_id,
                principal=run.principal,
                facts={"run": run.run_id, "brain": run.brain, "steps": run.steps_max, "tokens": run.tokens_max},
                fields={"run": told},
            )

            def finalise(indices: Sequence[int]) -> Sequence[Write]:
                return parts.store.begin(replace(run, log_index=indices[0]), until)

            [index] = await parts.pipeline.log.append(Append([entry], finalise=finalise))
            run = replace(run, log_index=index)
            driver = Driver(run.run_id, 1, parts.gateway, until)
            if self._leaving is None:
                self._drive(driver, run, asked)
                begun = True
            else:
                await self._hand_over([driver])
        finally:
            if not begun:
                self._less(owner)
        return await self._view(run, [])

    def _first(self, caller: Principal, order: Sequence[str]) -> str:
        """The first brain that can be asked. Raises what keeps the first of all from it."""
        problem: Refused | None = None
        for name in order:
            try:
                brains.usable(self.parts.pipeline.hands, caller, name, self.parts.settings.brains[name])
            except Refused as refusal:
                problem = problem or refusal
            else:
                return name
        raise problem or Refused(Reason.RUN_NO_BRAIN)

    def _planned(self, caller: Principal, wish: Wish, brain: str) -> Run:
        limits, now = self.parts.settings.runs, self.parts.clock()
        _within("/budget/steps", wish.steps, limits.steps_max)
        _within("/budget/tokens", wish.tokens, limits.tokens_max)
        _within("/deadline_seconds", wish.deadline_seconds, limits.deadline_max_seconds)
        if wish.hands is not None:
            listed = {manifest.hand for manifest in self.parts.pipeline.hands.listed(caller)}
            if missing := sorted(set(wish.hands) - listed):
                raise Absent("hand", missing[0])
        return Run(
            run_id=f"run_{secrets.token_hex(16)}",
            tenant=caller.tenant,
            principal=caller.pseudonym,
            brain=brain,
            hands=None if wish.hands is None else tuple(sorted(set(wish.hands))),
            commitment="",
            steps_max=wish.steps or limits.steps_max,
            tokens_max=wish.tokens or limits.tokens_max,
            created_at=now,
            deadline_at=now + (wish.deadline_seconds or min(limits.deadline_seconds, limits.deadline_max_seconds)),
        )

    async def view(self, run_id: str, viewer: Principal) -> dict[str, Any]:
        """A run as it stands. Raises ``request.not_found`` where there is none that the viewer may see."""
        run = await self._find(run_id, viewer)
        return await self._view(run, await self.parts.store.turns(run_id))

    async def page(self, viewer: Principal, *, after: int | None, limit: int) -> dict[str, Any]:
        """``{runs, next}``: the viewer's own, or all of the tenant for a role that reads every plan; newest first."""
        everyone = permits(viewer, Permission.PLANS_READ_ALL) and viewer.hands is None
        mine = None if everyone else viewer.pseudonym
        found = (await self.parts.store.page(viewer.tenant, mine, after=after, limit=limit + 1)).runs
        page = found[:limit]
        names = await self.parts.pipeline.directory.names(viewer.tenant, {run.principal for run, _ in page})
        shown = [views.listed(run, last, names.get(run.principal, run.principal)) for run, last in page]
        return {"runs": shown, "next": page[-1][0].log_index if len(found) > limit else None}

    async def events(self, run_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[Event]:
        """What became of a run, each once and with a higher id than the last; ends after ``done``.

        Ids follow from the numbers of turns alone, so a follower can resume anywhere.
        """
        run = await self._find(run_id, viewer)
        seen = after
        with self.parts.bells.listening(run_id) as bell:
            while True:
                bell.clear()
                turns = await self.parts.store.turns(run_id, max(-1, views.turn_of(seen) - 1))
                for turn in turns:
                    plan = None if turn.turn.kind is TurnKind.END else await self.parts.plan(turn.plan_id)
                    for event in await self._told(run, turn, plan):
                        if event[0] > seen:
                            seen = event[0]
                            yield event
                        if event[1] == "done":
                            return
                try:
                    async with asyncio.timeout(FOLLOW_SECONDS):
                        await bell.wait()
                except TimeoutError:
                    continue

    async def _told(self, run: Run, turn: Turn, plan: Any) -> list[Event]:
        if plan is None:
            shown = await self._view(run, await self.parts.store.turns(run.run_id))
            return [views.done_event(turn, shown)]
        return views.turn_events(turn, plan)

    async def cancel(self, run_id: str, caller: Principal) -> dict[str, Any]:
        """End a run of one's own; what runs is seen through, what waits for people is withdrawn. A run that has ended
        stays as it ended.

        Raises:
            Refused: ``request.not_found``.
            Unavailable: ``log.unavailable``; it goes on.
        """
        run = await self._find(run_id, caller)
        if run.principal != caller.pseudonym:
            raise Absent("run", run_id)
        while True:
            turns = await self.parts.store.turns(run_id)
            if turns and turns[-1].turn.kind is TurnKind.END:
                return await self._view(run, turns)
            try:
                await self.parts.finish(run, turns, RunStatus.CANCELLED, Reason.RUN_CANCELLED)
            except HandrailError as error:
                if not is_turn_taken(error):
                    raise

    async def _find(self, run_id: str, viewer: Principal) -> Run:
        run = await self.parts.store.find(run_id)
        if run is None or run.tenant != viewer.tenant:
            raise Absent("run", run_id)
        everyone = permits(viewer, Permission.PLANS_READ_ALL) and viewer.hands is None
        if run.principal != viewer.pseudonym and not everyone:
            raise Absent("run", run_id)
        return run

    async def _view(self, run: Run, turns: Sequence[Turn]) -> dict[str, Any]:
        names = await self.parts.pipeline.directory.names(run.tenant, [run.principal])
        questions = [turn for turn in turns if turn.turn.kind is TurnKind.MODEL]
        newest = [turn for turn in turns if turn.turn.kind is not TurnKind.END][-1:]
        question = await self.parts.plan(questions[-1].plan_id) if questions else None
        plan = await self.parts.plan(newest[0].plan_id) if newest else None
        hand = None if question is None else next(iter(question)).step.hand
        manifest = None if hand is None else self.parts.pipeline.hands.manifest(run.tenant, hand)
        return views.shown(run, turns, names.get(run.principal, run.principal), question, plan, manifest)

    # --- driving -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what this gateway drove before, and what nobody drives."""
        self._upkeep = asyncio.create_task(self._look_again_and_again())

    def leave(self) -> None:
        """Have driving stop: this process is about to. Runs go on at another gateway at once, or here at the next
        start; what they have under way here is seen through."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave())

    async def close(self) -> None:
        """Returns when none is driven here any more; see :meth:`leave`."""
        self.leave()
        if self._leaving is not None:
            await self._leaving

    async def _leave(self) -> None:
        tasks = [task for _, task in self._driving.values()]
        if self._upkeep is not None:
            tasks.append(self._upkeep)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        drivers = [driver for driver, _ in self._driving.values()]
        self._driving.clear()
        await self._hand_over(drivers)

    async def _hand_over(self, drivers: Sequence[Driver]) -> None:
        """Say that nobody drives these runs."""
        if drivers:
            try:
                await self.parts.pipeline.log.append(
                    Append((), [self.parts.store.hold(driver, 0.0) for driver in drivers])
                )
            except HandrailError as error:
                _log.info("runs not handed over", code=str(error.reason))

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                await self.look()
            except HandrailError as error:
                _log.warning("runs cannot be looked after", code=str(error.reason), detail=error.detail)
            except Exception:  # noqa: BLE001
                _log.exception("runs cannot be looked after")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Say that this gateway still drives its runs, take up those that nobody drives, and withdraw what still waits
        of runs that have ended."""
        parts, now = self.parts, self.parts.clock()
        if now >= self._held_at + HELD_SECONDS / 3 and self._driving:
            until = now + HELD_SECONDS
            held = [parts.store.hold(driver, until) for driver, _ in self._driving.values()]
            await parts.pipeline.log.append(Append((), held))
            self._held_at = now
        for driver in await parts.store.due(now):
            known = driver.run_id in self._driving or driver.run_id in self._stuck
            if not known and self._of.total() < parts.settings.runs.max_concurrent:
                await self._take(driver, now)
        for plan_id in await parts.store.left_waiting():
            await parts.try_to_withdraw(plan_id, Reason.RUN_CANCELLED)

    async def _take(self, driver: Driver, now: float) -> None:
        """Become the driver of a run. One that cannot be read keeps none of the others from going on."""
        parts = self.parts
        try:
            run = await parts.store.find(driver.run_id)
            if run is None:
                return
            guard, over = parts.store.take_over(driver, now + HELD_SECONDS)
            await parts.pipeline.log.append(Append((), [over], [guard]))
            mine = Driver(driver.run_id, driver.number + 1, parts.gateway, now + HELD_SECONDS)
            if await parts.store.restored(run.run_id):
                await self._end(run, Reason.LOG_RESTORED)
                return
            opened = await parts.pipeline.payloads.open([run.commitment])
            if run.commitment not in opened:
                await self._end(run, Reason.RUN_ERASED)
                return
            asked = Asked.from_document(opened[run.commitment][1])
        except Unavailable:
            raise
        except HandrailError as error:
            if not is_turn_taken(error):
                self._stuck.add(driver.run_id)
                _log.error("run cannot be read", run_id=driver.run_id, code=str(error.reason), detail=error.detail)
            return
        self._of[run.tenant, run.principal] += 1
        self._drive(mine, run, asked)

    async def _end(self, run: Run, reason: Reason) -> None:
        turns = await self.parts.store.turns(run.run_id)
        if not turns or turns[-1].turn.kind is not TurnKind.END:
            await self.parts.finish(run, turns, RunStatus.FAILED, reason)

    def _drive(self, driver: Driver, run: Run, asked: Asked) -> None:
        task = asyncio.create_task(self._driven(run, asked))
        self._driving[run.run_id] = (driver, task)

    async def _driven(self, run: Run, asked: Asked) -> None:
        try:
            await Drive(self.parts, self.tools, run, asked).go()
        except HandrailError as error:
            self._stuck.add(run.run_id)
            _log.error("run stopped short", run_id=run.run_id, code=str(error.reason), detail=error.detail)
        except Exception:  # noqa: BLE001
            self._stuck.add(run.run_id)
            _log.exception("run stopped short", run_id=run.run_id)
        finally:
            self._less((run.tenant, run.principal))
        # Not where it was cancelled: close() says of those that nobody drives them.
        self._driving.pop(run.run_id, None)

    def _less(self, owner: tuple[str, str]) -> None:
        self._of[owner] -= 1
        if self._of[owner] <= 0:
            del self._of[owner]


def _within(pointer: str, value: float | None, most: float) -> None:
    if value is not None and value > most:
        raise Malformed("over the limit", pointer=pointer, maximum=int(most), expected=f"at most {most:g}")
