"""Step 4: one evaluation for all steps whose inputs are known. Whatever is not a clear ``allow`` or ``ask`` denies."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gateway import data_subjects, evaluation
from gateway.arguments import amount
from gateway.canonical import Written, canonical
from gateway.commitments import commit
from gateway.errors import Malformed, Refused
from gateway.manifest import EVERY_KIND, ActionManifest, Manifest, SideEffects
from gateway.mcp_methods import needs_its_client
from gateway.messages_api import showing
from gateway.model import MILLIONTHS, Decision, DecisionReason, Effect, Obligations, Principal, RunTurn, StepStatus
from gateway.personal_data import SECRET_KIND, Scanner, first_change, taken_out
from gateway.ports import Contexts, PolicyEngine
from gateway.questions import Question
from gateway.reasons import ENGINE_AWAY, Reason
from gateway.settings import PolicySettings
from gateway.stages import release
from gateway.state import PlanState, StepState

_log = structlog.get_logger(__name__)

REDACT_REQUEST: Final = "redact_request"


async def decide(
    plan: PlanState,
    states: Sequence[StepState],
    engine: PolicyEngine,
    contexts: Contexts,
    settings: PolicySettings,
    now: float,
    *,
    scanner: Scanner,
) -> None:
    """Judge ``states``; each gets its decision, and a denial ends it.

    The input and every rule's words are committed to under ``evaluation``: one sealed document for all the steps of
    one evaluation, so that ``handrail why`` can show exactly what the policy saw.

    Args:
        scanner: finds personal data.
    """
    await contexts.recall(plan)
    if not states:
        return
    for state in states:
        state.amount = _amount(state)
    await contexts.prepare(plan)
    policy_input = build_input(plan, states, settings, contexts.consider(plan, states, now), now)
    judged = {state.step.id: state for state in states}
    decisions = {
        name: _enforceable(await _redacted_first(decision, judged.get(name), scanner), judged.get(name), scanner)
        for name, decision in (await engine.decide(policy_input)).items()
    }
    subjects = _subjects(plan, states, decisions)
    recorded = commit(evaluation.record(_with_written_args(policy_input, states), decisions), *subjects)
    for state in states:
        decision = decisions.get(state.step.id)
        if decision is None:
            decision = Decision(state.step.id, Effect.DENY, (), engine.digest)
        state.decision = decision
        state.put(evaluation.FIELD, recorded)
        if decision.effect is Effect.DENY:
            _deny(state, decision)
        elif state.amount:
            state.put("amount", commit(canonical(state.amount), data_subjects.of_context(plan.plan)))
    contexts.decided(plan, states)


async def _redacted_first(decision: Decision, state: StepState | None, scanner: Scanner) -> Decision:
    """The decision; or a denial, where some rule wants something taken out of the step's args that is in there. Other
    rules may deny the step for just that: they are asked again once it is out. So it is looked at what would hold if
    none denied it."""
    many = [duties.redact_request for duties in (decision.obligations, decision.otherwise) if duties is not None]
    kinds, args = tuple(sorted(set().union(*many))), None if state is None else state.args
    if state is None or args is None or not kinds or not _tells_a_model(state):
        return decision
    unknown = _unknown(REDACT_REQUEST, {*kinds} - {EVERY_KIND, SECRET_KIND, *scanner.kinds})
    if unknown:
        if decision.effect is Effect.DENY:
            _warn(state, [unknown])  # whoever reads the denial sees another rule's reason
        return decision
    try:
        left = await asyncio.to_thread(taken_out, args, scanner, kinds)
    except Malformed as error:
        state.to_redact_at = str(error.facts["pointer"])
    except Refused:
        return _unenforced(decision, f"{REDACT_REQUEST}: the request is none that can be looked through, or too much.")
    else:
        if left is args:
            return decision
        state.to_redact_at = first_change(args, left)
    state.to_redact = kinds
    said = DecisionReason(str(Reason.POLICY_UNREDACTED), f"{REDACT_REQUEST}: {', '.join(kinds)}")
    return Decision(decision.step_id, Effect.DENY, (said,), decision.policy_digest)


def _deny(state: StepState, decision: Decision) -> None:
    reason = _reason_of(decision)
    facts: dict[str, Any] = {}
    if reason is Reason.POLICY_UNREDACTED:
        facts = {"pointer": state.to_redact_at, "problem": REDACT_REQUEST, "why": ", ".join(state.to_redact)}
    elif reason is Reason.POLICY_OBLIGATION:
        _warn(state, [one.message for one in decision.reasons if one.code == reason])
    state.fail(StepStatus.DENIED, reason, **facts)


def _warn(state: StepState, why: Sequence[str]) -> None:
    hand, action = state.names
    _log.warning("policy cannot be enforced", step_id=state.step.id, hand=hand, action=action, why=why)


def _unenforced(decision: Decision, why: str, *reasons: DecisionReason) -> Decision:
    said = DecisionReason(str(Reason.POLICY_OBLIGATION), why)
    return Decision(decision.step_id, Effect.DENY, (said, *reasons), decision.policy_digest)


def _enforceable(decision: Decision, state: StepState | None, scanner: Scanner) -> Decision:
    """The decision; or a denial, where it wants something taken out of the result that nobody here could find, anything
    that cannot be kept where the client runs the step, or an approval of what cannot wait for one."""
    duties = decision.obligations
    if decision.effect is Effect.DENY:
        return decision
    unknown = _unknown("redact_personal", {*duties.redact_personal} - {EVERY_KIND, *scanner.kinds})
    unknown = unknown or _unknown(REDACT_REQUEST, {*duties.redact_request} - {EVERY_KIND, SECRET_KIND, *scanner.kinds})
    if unknown:
        return _unenforced(decision, unknown)
    if duties.redact_request and not _tells_a_model(state):
        return _unenforced(decision, f"{REDACT_REQUEST}: the step asks no model.")
    if decision.effect is Effect.ASK and _passes_by(state):
        return _unenforced(decision, "ask: the step would be for nothing once approved.", *decision.reasons)
    if release.unkept(None if state is None else state.manifest, duties):
        return _unenforced(decision, "The client runs the step itself, where this cannot be kept.")
    return decision


def _unknown(obligation: str, kinds: Collection[str]) -> str:
    """What is said of kinds that nobody knows; nothing where there are none."""
    return f"{obligation}: nobody here knows the kind {', '.join(sorted(kinds))}." if kinds else ""


def _tells_a_model(state: StepState | None) -> bool:
    """Whether its args are a request, of which something can be taken out."""
    return state is not None and state.manifest is not None and state.manifest.tells(state.step.action)


def _passes_by(state: StepState | None) -> bool:
    """Whether the step would be for nothing once people answered."""
    return (
        state is not None and state.manifest is not None and needs_its_client(state.manifest.adapter, state.step.action)
    )


def _subjects(plan: PlanState, states: Sequence[StepState], decisions: Mapping[str, Decision]) -> tuple[str, ...]:
    """Whom an evaluation concerns. Whom a decision names beside, its step's args and the plan come to concern, too; a
    plan that is on record already stays as it was recorded."""
    everybody = {data_subjects.of_context(plan.plan)}
    for state in states:
        decision = decisions.get(state.step.id)
        obligations = Obligations() if decision is None else decision.obligations
        action = None if state.manifest is None else state.manifest.actions[state.step.action]
        subjects = data_subjects.of_value(plan.plan, state.step, action, [state.args], obligations)
        if "args" in state.fresh:
            state.fresh["args"] = replace(state.fresh["args"], subjects=subjects)
        everybody |= set(subjects)
    if plan.committed is not None:
        whole = everybody | set(plan.committed.subjects)
        plan.committed = replace(plan.committed, subjects=tuple(sorted(whole)))
    return tuple(sorted(everybody))


def put_off(plan: PlanState, questions: Mapping[str, Question]) -> bool:
    """Whether the engine was late or away for a step that waits for people. Such a step is not denied for that: it goes
    on waiting as it was asked for, and is judged anew later; nothing can run meanwhile.

    Args:
        questions: what people were asked before the steps were judged, by step id.
    """
    away = frozenset(map(str, ENGINE_AWAY))
    decisions = (plan.steps[name].decision for name, question in questions.items() if not question.closed)
    return any(reason.code in away for decision in decisions if decision is not None for reason in decision.reasons)


def build_input(
    plan: PlanState,
    states: Sequence[StepState],
    settings: PolicySettings,
    before: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """The policy input, version 1 (docs/policies.md).

    Args:
        before: from ``Contexts.consider``.
    """
    hands: dict[str, tuple[Manifest, list[str]]] = {}
    for state in states:
        if state.manifest is None:
            raise RuntimeError("a step reaches the policy only with a manifest")
        hands.setdefault(state.step.hand, (state.manifest, []))[1].append(state.step.action)
    return {
        "v": 1,
        "tenant": plan.plan.tenant,
        "environment": settings.environment,
        "now": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "principal": principal_document(plan.plan.principal),
        "plan": {
            "id": plan.plan.plan_id,
            "context_id": plan.plan.context_id,
            "issuer": plan.plan.issuer.id,
            "purpose": plan.plan.purpose,
            **({} if plan.plan.run is None else {"run": _run_document(plan.plan.run)}),
        },
        "steps": [
            {
                "id": state.step.id,
                "hand": state.step.hand,
                "action": state.step.action,
                "args": _shown(state),
                "args_sha256": state.args_sha256,
                "data_subjects": list(state.step.data_subjects),
                "provenance": state.provenance,
                **({} if state.analysis is None else {"analysis": state.analysis}),
            }
            for state in states
        ],
        "hands": {hand: hand_document(manifest, actions) for hand, (manifest, actions) in hands.items()},
        "context": {
            "data_region": settings.data_region,
            **before,
            "spent": {**_spent(plan, states), **before["spent"]},
        },
    }


def _run_document(run: RunTurn) -> dict[str, Any]:
    """What a run used before this turn; without ``spent`` where nobody knows what it cost."""
    known = {} if run.spent is None else {"spent": run.spent / MILLIONTHS}
    return {"brain": run.brain, "turn": run.number, "steps": run.steps, "tokens": run.tokens, **known}


def _shown(state: StepState) -> Mapping[str, Any] | None:
    """The args; of a model's hand, less what no rule can read."""
    model = state.manifest is not None and state.manifest.model
    return showing.shown(state.args) if model and state.args is not None else state.args


def _with_written_args(policy_input: Mapping[str, Any], states: Sequence[StepState]) -> dict[str, Any]:
    """The same input for its record: args that are shown whole are in canonical form already, and may be large."""
    steps = [
        {**step, "args": Written(state.args_bytes)} if step["args"] is state.args else step
        for step, state in zip(policy_input["steps"], states, strict=True)
    ]
    return {**policy_input, "steps": steps}


def _spent(plan: PlanState, asked: Sequence[StepState]) -> dict[str, int]:
    """What earlier rounds of the same plan let go or hold, so that a chain of small rounds evades no limit."""
    earlier = [
        state
        for state in plan
        if state.decision is not None
        and state.decision.effect is not Effect.DENY
        and not any(state is one for one in asked)
    ]
    return {"steps": len(earlier), "changes": sum(map(_changes, earlier))}


def _changes(state: StepState) -> bool:
    """Whether a step may change something; what is not known any more counts as the worst."""
    if state.manifest is None:
        return True
    return state.manifest.actions[state.step.action].side_effects is not SideEffects.NONE


def _amount(state: StepState) -> float:
    if state.manifest is None or state.args is None:
        return 0.0
    return amount(state.args, state.manifest.actions[state.step.action])


def principal_document(principal: Principal) -> dict[str, Any]:
    """Who asks, as the policy input has it."""
    return {"id": principal.id, "tenant": principal.tenant, "roles": sorted(map(str, principal.roles))}


def hand_document(manifest: Manifest, actions: Iterable[str]) -> dict[str, Any]:
    """The operator's word on a hand and some of its actions, as the policy input has it."""
    return {
        "region": manifest.region,
        "trust": str(manifest.trust),
        "labels": list(manifest.labels),
        "manifest_digest": manifest.digest,
        "actions": {name: _action_document(manifest.actions[name]) for name in actions},
    }


def _action_document(action: ActionManifest) -> dict[str, Any]:
    return {
        "side_effects": str(action.side_effects),
        "idempotent": action.idempotent,
        "args": {pointer: str(role) for pointer, role in action.roles.items()},
    }


def _reason_of(decision: Decision) -> Reason:
    """The gateway's own reason where the engine gave one (an error, a time-out), else ``policy.denied``."""
    for reason in decision.reasons:
        if reason.code in _ENGINE_REASONS:
            return Reason(reason.code)
    return Reason.POLICY_DENIED if decision.reasons else Reason.POLICY_UNDECIDED


_ENGINE_REASONS = frozenset(
    {
        Reason.POLICY_ERROR,
        Reason.POLICY_TIMEOUT,
        Reason.POLICY_UNAVAILABLE,
        Reason.POLICY_OBLIGATION,
        Reason.POLICY_UNREDACTED,
        Reason.POLICY_INPUT,
        Reason.POLICY_UNDECIDED,
    }
)
