"""Runs: begun, shown, followed, cancelled; and taken forward by whichever gateway has the time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import structlog

from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Overtaken, Unavailable
from gateway.model import Principal, Shown, TurnKind
from gateway.offered_tools import Tools
from gateway.permissions import Permission, permits
from gateway.plans.followers import Event
from gateway.ports import Append, Write
from gateway.ports.runs import Run, RunStatus, Turn
from gateway.reasons import Reason
from gateway.runs import brains, money, views
from gateway.runs.asked import Asked
from gateway.runs.asking import Asking
from gateway.runs.driver import Drive
from gateway.runs.parts import Parts, is_turn_taken
from gateway.runs.views import Price
from gateway.runs.wish import Wish
from gateway.store.leases import LEASE_SECONDS, RENEW_SECONDS

LOOK_SECONDS: Final = 2.0
UNDRIVEN_SECONDS: Final = 3 * LOOK_SECONDS
"""A run that no gateway took up for so long is interrupted."""
FOLLOW_SECONDS: Final = 1.0
"""How often a follower looks for what other gateways record."""
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500

_log = structlog.get_logger("handrail.runs")


@dataclass(slots=True)
class Runs:
    """The runs of this gateway. Belongs to one event loop."""

    parts: Parts
    tools: Tools = field(default_factory=Tools)
    _driving: dict[str, asyncio.Task[None]] = field(default_factory=dict)
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

    async def begin(self, caller: Principal, shown: Shown, asked: Asked, wish: Wish) -> dict[str, Any]:
        """Begin a run; its view.

        Args:
            shown: by what the caller calls.

        Raises:
            Refused: ``run.no_brain``, ``run.brain``, ``request.malformed``, ``freeze.active``.
            Unavailable: ``limit.runs``, ``gateway.overloaded``, ``log.unavailable``: nothing has begun.
        """
        parts, limits = self.parts, self.parts.settings.runs
        hands, configured = parts.pipeline.hands, parts.settings.brains
        run = wish.run(caller, parts.settings, hands, parts.clock())
        priced = run.money_max is not None
        order = brains.order(configured, asked.purpose, asked.data_classes, asked.brain, priced=priced)
        run = replace(run, brain=brains.first_usable(hands, caller, configured, order))
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
            until = parts.clock() + LEASE_SECONDS
            asked = asked.by(caller, shown)
            told = commit(asked.document(), subject_key(run.tenant, caller.id, run.run_id))
            run = replace(run, commitment=told.commitment)
            entry = EntryDraft(
                EntryType.RUN_STARTED,
                run.tenant,
                context_id=run.run_id,
                principal=run.principal,
                facts={
                    "run": run.run_id,
                    "brain": run.brain,
                    "steps": run.steps_max,
                    "tokens": run.tokens_max,
                    **({} if run.money_max is None else {"money": run.money_max, "currency": run.currency}),
                },
                fields={"run": told},
            )

            def finalise(indices: Sequence[int]) -> Sequence[Write]:
                return parts.store.begin(replace(run, log_index=indices[0]), until)

            [index] = await parts.pipeline.log.append(Append([entry], finalise=finalise))
            run = replace(run, log_index=index)
            if self._leaving is None:
                self._drive(run, asked)
                begun = True
            else:
                await self._hand_over([run.run_id])
        finally:
            if not begun:
                self._less(owner)
        return await self._view(run, [])

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
        names = await self.parts.pipeline.directory.names(viewer.tenant, {run.principal for run, _, _ in page})
        shown = [
            views.listed(run, last, names.get(run.principal, run.principal), self._undriven(until))
            for run, last, until in page
        ]
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
        return views.turn_events(turn, plan, self._price(run, turn.turn.brain))

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
        undriven = self._undriven(await self.parts.store.driven_until(run.run_id))
        price = self._price(run, questions[-1].turn.brain if questions else run.brain)
        name = names.get(run.principal, run.principal)
        return views.shown(run, turns, name, question, plan, manifest, undriven, price)

    def _price(self, run: Run, brain: str) -> Price:
        """Tells what an answer of a brain costs in the currency of a run."""
        return partial(money.price, self.parts.settings.brains.get(brain), run.currency)

    def _undriven(self, until: float | None) -> float | None:
        """Since when no gateway takes a run forward, where that is not about to change."""
        return until if until is not None and until + UNDRIVEN_SECONDS < self.parts.clock() else None

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
        tasks = list(self._driving.values())
        if self._upkeep is not None:
            tasks.append(self._upkeep)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = list(self._driving)
        self._driving.clear()
        await self._hand_over(left)

    async def _hand_over(self, runs: Sequence[str]) -> None:
        """Leave runs to other gateways at once."""
        now = self.parts.clock()
        try:
            if runs:
                await self.parts.pipeline.log.append(Append((), [self.parts.store.leave(one, now) for one in runs]))
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
        if now >= self._held_at + RENEW_SECONDS and self._driving:
            held = [parts.store.hold(run_id, now + LEASE_SECONDS) for run_id in self._driving]
            await parts.pipeline.log.append(Append((), held))
            self._held_at = now
        for run_id in await parts.store.due(now):
            known = run_id in self._driving or run_id in self._stuck
            if not known and self._of.total() < parts.settings.runs.max_concurrent:
                await self._take(run_id, now)
        for plan_id in await parts.store.left_waiting():
            await parts.try_to_withdraw(plan_id, Reason.RUN_CANCELLED)

    async def _take(self, run_id: str, now: float) -> None:
        """Become the driver of a run. One that cannot be read keeps none of the others from going on."""
        parts = self.parts
        try:
            run = await parts.store.find(run_id)
            if run is None:
                return
            unless, taken = parts.store.take_over(run_id, now, now + LEASE_SECONDS)
            await parts.pipeline.log.append(Append((), [taken], unless=unless))
            if await parts.store.restored(run.run_id):
                await self._end(run, Reason.LOG_RESTORED)
                return
            opened = await parts.pipeline.payloads.open([run.commitment])
            if run.commitment not in opened:
                await self._end(run, Reason.RUN_ERASED)
                return
            asked = Asked.from_document(opened[run.commitment][1])
        except Overtaken:
            return
        except Unavailable:
            raise
        except HandrailError as error:
            if not is_turn_taken(error):
                self._stuck.add(run_id)
                _log.error("run cannot be read", run_id=run_id, code=str(error.reason), detail=error.detail)
                await self._hand_over([run_id])
            return
        self._of[run.tenant, run.principal] += 1
        self._drive(run, asked)

    async def _end(self, run: Run, reason: Reason) -> None:
        turns = await self.parts.store.turns(run.run_id)
        if not turns or turns[-1].turn.kind is not TurnKind.END:
            await self.parts.finish(run, turns, RunStatus.FAILED, reason)

    def _drive(self, run: Run, asked: Asked) -> None:
        self._driving[run.run_id] = asyncio.create_task(self._driven(run, asked))

    async def _driven(self, run: Run, asked: Asked) -> None:
        try:
            await Drive(self.parts, run, Asking(self.parts, self.tools, run, asked)).go()
        except HandrailError as error:
            self._stuck.add(run.run_id)
            _log.error("run stopped short", run_id=run.run_id, code=str(error.reason), detail=error.detail)
        except Exception:  # noqa: BLE001
            self._stuck.add(run.run_id)
            _log.exception("run stopped short", run_id=run.run_id)
        finally:
            self._less((run.tenant, run.principal))
        # Not where it was cancelled: close() hands those over.
        self._driving.pop(run.run_id, None)
        if run.run_id in self._stuck:
            await self._hand_over([run.run_id])

    def _less(self, owner: tuple[str, str]) -> None:
        self._of[owner] -= 1
        if self._of[owner] <= 0:
            del self._of[owner]
