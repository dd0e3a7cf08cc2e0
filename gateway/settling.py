"""What a person does with a dead letter: have it tried again, or say that it is done with.

A retry is not the old step sent once more. It is a new plan of one step, signed by the gateway itself
(``model.RETRIES``) in the name of whom the old plan acts for, in the same context, with the arguments that are on
record. It goes the way of every plan: policy decides again, people are asked again, a new credential is issued. The
record of that plan settles the dead letter, in the same transaction, or neither is written.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from gateway import data_subjects
from gateway.commitments import commit
from gateway.connector import signed_plan
from gateway.dead_letters import is_dead, may_have_run
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, Refused
from gateway.evaluation import FIELD as EVALUATION
from gateway.model import RETRIES, Detached, Principal, Retry, UnverifiedPlan
from gateway.permissions import Permission, require
from gateway.pipeline import Pipeline
from gateway.ports import Append, Letter, LetterStatus, Settled, Verdict
from gateway.reasons import Conflict, Reason, because
from gateway.state import PlanState, StepState
from gateway.times import format_time

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
WHY_MAX: Final = 1000
"""Characters of the words that say why."""


@dataclass(slots=True)
class DeadLetters:
    """Lists and settles the dead letters of a tenant."""

    pipeline: Pipeline

    async def list(self, viewer: Principal, status: LetterStatus, *, after: int | None, limit: int) -> dict[str, Any]:
        """``{dead_letters, next}``: those of the viewer's tenant and hands, newest first.

        Args:
            after: ``next`` of the page before.

        Raises:
            Refused: ``auth.forbidden``.
            Unavailable: ``log.unavailable``.
        """
        require(viewer, Permission.DEAD_LETTERS_READ)
        found = await self.pipeline.letters.page(viewer.tenant, status, viewer.hands, after=after, limit=limit + 1)
        page, more = found[:limit], len(found) > limit
        named = {one.principal for one in page} | {one.settled.by for one in page if one.settled is not None}
        names = await self.pipeline.directory.names(viewer.tenant, named)
        now = self.pipeline.clock()
        shown = [self._view(one, names, now) for one in page]
        return {"dead_letters": shown, "next": page[-1].log_index if more else None}

    def _view(self, one: Letter, names: Any, now: float) -> dict[str, Any]:
        manifest = self.pipeline.hands.manifest(one.tenant, one.hand)
        action = None if manifest is None else manifest.actions.get(one.action)
        settled = one.settled
        return {
            "plan_id": one.plan_id,
            "step_id": one.step_id,
            "context_id": one.context_id,
            "principal": names.get(one.principal, one.principal),
            "hand": one.hand,
            "action": one.action,
            "status": one.status,
            "reason": one.reason,
            "ended_at": format_time(one.ended_at),
            "age_seconds": max(0, int(now - one.ended_at)),
            "log_index": one.log_index,
            "hand_usable": action is not None,
            "settled": None
            if settled is None
            else {
                "verdict": str(settled.verdict),
                "by": names.get(settled.by, settled.by),
                "at": format_time(settled.at),
                "retry_plan": settled.retry_plan,
            },
        }

    async def discard(self, actor: Principal, plan_id: str, step_id: str, why: str) -> dict[str, Any]:
        """Say that nothing more is to be done about a dead letter. It stays what it was, and what depended on it stays
        skipped.

        Args:
            why: words for people, erasable; the entry commits to them.

        Returns:
            ``{plan_id, step_id, verdict}``.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``; ``request.conflict`` (``letter.settled``).
            Unavailable: ``log.unavailable``; nothing is settled.
        """
        plan, state = await self._find(actor, plan_id, step_id, retry=False)
        now = self.pipeline.clock()
        hand, action = state.names
        entry = EntryDraft(
            EntryType.STEP_DISCARDED,
            plan.plan.tenant,
            context_id=plan.plan.context_id,
            plan_id=plan_id,
            step_id=step_id,
            principal=actor.pseudonym,
            hand=hand,
            action=action,
            reasons=() if state.error is None else (str(state.error.reason),),
            fields={"why": commit(why.encode(), data_subjects.of_context(plan.plan))},
        )
        settled = Settled(Verdict.DISCARDED, actor.pseudonym, now)
        guard = self.pipeline.letters.settle(plan.plan.tenant, plan_id, step_id, settled)
        await self.pipeline.log.append(Append([entry], (), [guard]))
        self.pipeline.metrics.dead_letters.labels(hand, str(Verdict.DISCARDED)).inc()
        return {"plan_id": plan_id, "step_id": step_id, "verdict": str(Verdict.DISCARDED)}

    async def retry(
        self, actor: Principal, plan_id: str, step_id: str, why: str, *, not_executed: bool, wait_seconds: float = 0.0
    ) -> dict[str, Any]:
        """Have a dead letter tried again, once, as a new plan.

        Args:
            why: words for people, erasable; part of the new plan, which the log commits to.
            not_executed: the actor says that the step did not happen. It is on record who said so.
            wait_seconds: for the new plan to be done.

        Returns:
            The view of the new plan. Policy may have denied its step, or hold it for people: the dead letter is
            settled all the same.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``; ``request.conflict``: ``letter.settled``,
                ``letter.statement``, ``letter.own``, ``letter.erased`` or ``letter.old``; or what refuses any plan, as
                ``freeze.active``, and ``verify.subject`` where the principal is no more. The dead letter stays open.
            Unavailable: ``log.unavailable``; as above.
        """
        plan, state = await self._find(actor, plan_id, step_id, retry=True)
        the = plan.plan
        # Who had it tried again before did not ask for it, and may do so once more.
        asked = {the.principal.pseudonym} | ({the.caller.pseudonym} if the.issuer.id != RETRIES else set())
        if actor.pseudonym in asked:
            raise Refused(Reason.REQUEST_CONFLICT, "asked for it themselves", **because(Conflict.LETTER_OWN))
        if not the.raw or state.args is None:
            raise Refused(Reason.REQUEST_CONFLICT, "args or plan erased", **because(Conflict.LETTER_ERASED))
        if may_have_run(state) and not not_executed:
            raise Refused(Reason.REQUEST_CONFLICT, "may have run", **because(Conflict.LETTER_STATEMENT))
        retries = Retry(plan_id, step_id, not_executed, why, await self._provenance(plan, state))
        now = self.pipeline.clock()
        again = self._signed(actor, plan, state, retries, now)
        view = await self.pipeline.submit(again, wait_seconds=wait_seconds)
        self.pipeline.metrics.dead_letters.labels(state.names[0], str(Verdict.RETRIED)).inc()
        return view

    async def _find(self, actor: Principal, plan_id: str, step_id: str, *, retry: bool) -> tuple[PlanState, StepState]:
        """The plan and the step as the record has them, where the step is a dead letter that the actor may settle."""
        require(actor, Permission.DEAD_LETTERS_SETTLE)
        plan = await self.pipeline.revive(plan_id)
        state = None if plan is None or plan.plan.tenant != actor.tenant else plan.steps.get(step_id)
        if plan is None or state is None or not actor.may_use(state.step.hand) or not is_dead(state):
            raise Absent("dead letter", f"{plan_id}/{step_id}")
        await self.pipeline.letters.check(plan_id, step_id, state.log_index or 0, retry=retry)
        return plan, state

    async def _provenance(self, plan: PlanState, state: StepState) -> dict[str, Any]:
        """Where the values came from that references brought into the step, as policy was told then."""
        retries = plan.plan.retries
        places = {reference.at for reference in state.step.references} | set(retries.provenance if retries else ())
        if not places:
            return {}
        commitment = state.commitments.get(EVALUATION, "")
        opened = await self.pipeline.payloads.open([commitment])
        if commitment not in opened:
            raise Refused(Reason.REQUEST_CONFLICT, "its evaluation was erased", **because(Conflict.LETTER_ERASED))
        told = orjson.loads(opened[commitment][1])["input"]["steps"]
        [known] = [one["provenance"] for one in told if one["id"] == state.step.id]
        return {place: known[place] for place in sorted(places)}

    def _signed(
        self, actor: Principal, plan: PlanState, state: StepState, retries: Retry, now: float
    ) -> UnverifiedPlan:
        the, step, settings = plan.plan, state.step, self.pipeline.settings
        action: dict[str, Any] = {
            "id": step.id,
            "hand": step.hand,
            "action": step.action,
            "args": Detached(state.args or {}, state.args_bytes, state.args_sha256),
            "data_subjects": list(step.data_subjects),
        }
        if step.idempotency_key is not None:
            action["idempotency_key"] = step.idempotency_key
        claims: dict[str, Any] = {"sub": the.principal.id, "retries": asdict(retries)}
        if the.purpose is not None:
            claims["purpose"] = the.purpose
        return signed_plan(
            RETRIES, self.pipeline.signer, settings, actor, the.context_id, [action], now=now, claims=claims
        )
