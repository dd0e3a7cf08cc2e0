"""Tool uses become plans: those of one turn are one plan, signed by the connector, on the way that every plan takes.

A tool use is judged once. Its row names the plan before the plan is submitted; a plan that a crash kept from being
recorded is signed anew only once the old one could not be accepted any more.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.canonical import canonical
from gateway.connector import LIFETIME_SECONDS, signed_plan
from gateway.errors import HandrailError, Refused, Unavailable, Uncertain
from gateway.freeze import Concern
from gateway.managed_agents import answers
from gateway.managed_agents.answering import Answerer
from gateway.managed_agents.answers import Answer, Verdict
from gateway.managed_agents.events import ToolUse
from gateway.managed_agents.following import Following, Parts
from gateway.managed_agents.mapping import Way
from gateway.model import CONNECTOR_PREFIX, Principal, UnverifiedPlan
from gateway.permissions import Permission, require
from gateway.ports.managed_agents import State, UseState
from gateway.reasons import TEXTS, Reason
from gateway.state import PlanState

_log = structlog.get_logger("handrail.managed_agents")

ISSUER: Final = f"{CONNECTOR_PREFIX}managed-agents"
_ROOM_BYTES: Final = 4096
"""Of a plan, for everything but its args."""
_LATER: Final = frozenset({Reason.LIMIT_PLANS, Reason.LIMIT_APPROVALS, Reason.OVERLOADED})
"""Refusals that say something about the moment."""


@dataclass(slots=True)
class Judge:
    """Judges the tool uses of any session."""

    parts: Parts
    answerer: Answerer

    async def take(self, following: Following, uses: Sequence[ToolUse]) -> list[list[ToolUse]]:
        """Make rows of the tool uses of one turn, durable; the groups that :meth:`see_through` is to be called with.

        Raises:
            Overtaken: another gateway follows the session now.
            Unavailable: ``log.unavailable``.
        """
        groups = list(self._grouped(following, uses))
        for group in groups:
            await following.save(self.parts, (), *(following.new_use(use, "", 0.0) for use in group))
        return groups

    async def see_through(self, following: Following, group: Sequence[ToolUse]) -> None:
        """From tool uses that have rows to their answers, wherever an earlier life left them."""
        failures = 0
        while left := [use for use in group if following.uses[use.id].state is UseState.JUDGED]:
            try:
                refusal = self._refusal(following, left)
                if refusal is not None:
                    await self._answer_all(following, left, refusal)
                elif await self._planned(following, left):
                    await self._follow(following, left)
            except Unavailable as error:
                failures += 1
                _log.warning("tool uses wait", reason=str(error.reason), detail=error.detail)
                await self.parts.pause(failures)
        for use in group:
            if following.uses[use.id].state in {UseState.ANSWERING, UseState.AMBIGUOUS}:
                await self._settle(following, use)

    # --- from tool uses to a plan ------------------------------------------------------------------------------------

    def _grouped(self, following: Following, uses: Sequence[ToolUse]) -> Iterable[list[ToolUse]]:
        """The turn as few plans as fit; a tool use that no plan can hold is a group of its own."""
        settings = self.parts.pipeline.settings
        group: list[ToolUse] = []
        size = _ROOM_BYTES
        for use in uses:
            if self._refusal(following, [use]) is not None:
                yield [use]
                continue
            # A JWS has its payload in base64url.
            more = (len(canonical(use.input)) + 512) * 4 // 3
            if group and (size + more > settings.server.body_max_bytes or len(group) >= settings.plans.steps_max):
                yield group
                group, size = [], _ROOM_BYTES
            group.append(use)
            size += more
        if group:
            yield group

    def _refusal(self, following: Following, uses: Sequence[ToolUse]) -> HandrailError | None:
        """Why nothing becomes of these at all."""
        if following.record.state is State.BYPASSED:
            return Refused(Reason.AGENTS_BYPASSED)
        for use in uses:
            if following.tools.of(use).way is Way.DENIED:
                return Refused(Reason.AGENTS_UNMAPPED)
            try:
                size = len(canonical(use.input))
            except Refused as refused:
                return refused
            if size > self.parts.pipeline.settings.policy.input_max_bytes:
                return Refused(Reason.REQUEST_TOO_LARGE)
        return None

    async def _planned(self, following: Following, uses: Sequence[ToolUse]) -> bool:
        """Whether there is a plan of them now; else they were answered.

        Raises:
            Unavailable: not now.
        """
        row = following.uses[uses[0].id]
        if row.plan_id:
            if await self._recorded(row.plan_id):
                return True
            left = row.signed_at + LIFETIME_SECONDS + self.parts.pipeline.settings.plans.clock_skew_seconds + 1
            if self.parts.clock() < left:
                # Its bytes may still arrive, from an earlier life or from another gateway.
                await asyncio.sleep(min(left - self.parts.clock(), 1.0))
                return False
        try:
            principal = await self._principal(following)
        except Refused as refused:
            await self._answer_all(following, uses, Refused(Reason.VERIFY_SUBJECT, refused.detail))
            return False
        return await self._submit(following, uses, principal)

    async def _submit(self, following: Following, uses: Sequence[ToolUse], principal: Principal) -> bool:
        now = self.parts.clock()
        plan = self._signed(following, uses, principal, now)
        plan_id = hashlib.sha256(plan.raw).hexdigest()
        rows = [following.new_use(use, plan_id, now) for use in uses]
        await following.save(self.parts, (), *rows)
        try:
            await self.parts.pipeline.submit(plan)
        except Uncertain:
            raise
        except HandrailError as error:
            if isinstance(error, Unavailable) or error.reason in _LATER:
                # It is surely not on record, and its bytes are nowhere.
                await following.save(self.parts, (), *(following.new_use(use, "", 0.0) for use in uses))
                raise Unavailable(error.reason, error.detail) from None
            if len(uses) > 1:
                # One of them made a plan of them all impossible; the others shall not suffer for it.
                for use in uses:
                    await following.save(self.parts, (), following.new_use(use, "", 0.0))
                    await self.see_through(following, [use])
                return False
            await self._answer_all(following, uses, error)
            return False
        return True

    def _signed(
        self, following: Following, uses: Sequence[ToolUse], principal: Principal, now: float
    ) -> UnverifiedPlan:
        pipeline = self.parts.pipeline
        actions = [self._action(following, use) for use in uses]
        context_id = following.record.context_id
        return signed_plan(ISSUER, pipeline.signer, pipeline.settings, principal, context_id, actions, now=now)

    def _action(self, following: Following, use: ToolUse) -> dict[str, Any]:
        mapped = following.tools.of(use)
        return {"id": use.id, "hand": mapped.hand, "action": mapped.action, "args": dict(use.input)}

    async def _recorded(self, plan_id: str) -> bool:
        try:
            await self.parts.pipeline.load(plan_id)
        except Refused:
            return False
        return True

    async def _principal(self, following: Following) -> Principal:
        """Whose the calls are, as they stand now.

        Raises:
            Refused: ``request.not_found`` for who was revoked, ``auth.forbidden`` for who may not submit plans.
        """
        person = await self.parts.pipeline.directory.principal(following.record.tenant, following.principal_id)
        require(person, Permission.PLANS_SUBMIT)
        return person

    # --- from a plan to answers --------------------------------------------------------------------------------------

    async def _follow(self, following: Following, uses: Sequence[ToolUse]) -> None:
        """Answer each tool use when its step has ended, in whatever order they do."""
        plan_id = following.uses[uses[0].id].plan_id
        left = list(uses)
        after = 0
        while True:
            plan = await self.parts.pipeline.load(plan_id)
            for use in list(left):
                if await self._over(following, use):
                    left.remove(use)
                elif (answer := await self._answer(following, plan, use)) is not None:
                    left.remove(use)
                    await self.answerer.answer(following, use, answer)
            if not left:
                return
            async with contextlib.aclosing(
                self.parts.pipeline.events(plan_id, plan.plan.principal, after)  # type: ignore[type-var]
            ) as events:
                async for number, kind, _ in events:
                    after = number
                    if kind in {"step", "done"}:
                        break

    async def _over(self, following: Following, use: ToolUse) -> bool:
        """Whether somebody else answered it while it was judged."""
        if use.id not in following.conversation.answered:
            return False
        if following.uses[use.id].state is UseState.JUDGED:
            await following.turn(self.parts, use.id, state=UseState.OVER)
        return True

    async def _answer(self, following: Following, plan: PlanState, use: ToolUse) -> Answer | None:
        """The answer, once its step has ended. One that lets something go, or hands a result over, rests on the plan's
        own record of that very call, and on nothing having been stopped since."""
        state = plan.steps.get(use.id)
        mapped = following.tools.of(use)
        if state is None or plan.plan.context_id != following.record.context_id:
            return answers.of_refusal(use, mapped, Refused(Reason.INTERNAL, "the row names another plan"))
        answer = answers.of_step(use, mapped, state.view(plan.plan.plan_id))
        if answer is None or answer.verdict is Verdict.DENY:
            return answer
        if (state.step.hand, state.step.action) != (mapped.hand, mapped.action) or not _same(
            state.step.args, use.input
        ):
            return answers.of_refusal(use, mapped, Refused(Reason.INTERNAL, "the row names another call"))
        stopped = await self._stopped(following, state.step.hand, state.log_index)
        if stopped is None:
            return answer
        text = f"{stopped}: {TEXTS[stopped]}"
        return answers.denial(use, mapped, text, str(stopped))

    async def _stopped(self, following: Following, hand: str, since: int | None) -> Reason | None:
        """What came in between the record of a step and its answer."""
        if following.record.state is State.BYPASSED:
            return Reason.AGENTS_BYPASSED
        try:
            principal = await self._principal(following)
        except Refused:
            return Reason.VERIFY_SUBJECT
        frozen = await self.parts.pipeline.freezes.current()
        concern = Concern(following.record.tenant, (principal.pseudonym,), hand, following.record.context_id, since)
        return None if frozen.stopping(concern) is None else Reason.FREEZE_ACTIVE

    async def _answer_all(self, following: Following, uses: Sequence[ToolUse], error: HandrailError) -> None:
        for use in uses:
            if not await self._over(following, use):
                answer = answers.of_refusal(use, following.tools.of(use), error)
                await self.answerer.answer(following, use, answer)

    async def _settle(self, following: Following, use: ToolUse) -> None:
        """An answer that was on record when an earlier life ended: made anew from the same record, if it is needed."""
        row = following.uses[use.id]

        async def again() -> Answer:
            if row.plan_id and row.verdict != Verdict.DENY:
                plan = await self.parts.pipeline.load(row.plan_id)
                answer = await self._answer(following, plan, use)
                if answer is not None:
                    return answer
            refusal = self._refusal(following, [use]) or Refused(Reason.POLICY_DENIED)
            return answers.of_refusal(use, following.tools.of(use), refusal)

        await self.answerer.settle(following, use, again)


def _same(args: Any, given: Any) -> bool:
    return args is not None and canonical(args) == canonical(given)
