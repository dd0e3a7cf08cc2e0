"""Step 3: the shape of a plan, its graph, and each step's args against the pinned manifest. Pure.

A fault of the envelope or the graph refuses the whole plan; an unknown hand or action, or args off schema, denies
that step alone.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

from gateway import data_subjects
from gateway.canonical import canonical
from gateway.commitments import commit
from gateway.errors import Refused
from gateway.model import (
    MESSAGES_API,
    PURPOSE_MAX_CHARACTERS,
    RETRIES,
    RUNS,
    Detached,
    Plan,
    Retry,
    RunTurn,
    Step,
    StepStatus,
    TurnKind,
    VerifiedPlan,
)
from gateway.pointers import pointer
from gateway.ports import Hands
from gateway.reasons import Reason
from gateway.stages.references import Room, references, resolve
from gateway.state import PlanState, StepState

_ID = r"^[A-Za-z0-9._:-]{1,128}$"
_STEP_ID = r"^[A-Za-z0-9_.-]{1,64}$"

PLAN_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["v", "iss", "sub", "aud", "tenant", "context_id", "jti", "iat", "exp", "nonce", "actions"],
    "properties": {
        "v": {"const": 1},
        "iss": {"type": "string"},
        "sub": {"type": "string"},
        "aud": {"type": "string"},
        "tenant": {"type": "string"},
        "context_id": {"type": "string", "pattern": _ID},
        "jti": {"type": "string", "pattern": _ID},
        "iat": {"type": "integer"},
        "exp": {"type": "integer"},
        "nonce": {"type": "string", "pattern": _ID},
        "seq": {"type": "integer", "minimum": 0},
        "purpose": {"type": "string", "maxLength": PURPOSE_MAX_CHARACTERS},
        "request": {"type": "string", "maxLength": 65536},
        "retries": {
            "type": "object",
            "additionalProperties": False,
            "required": ["plan_id", "step_id", "not_executed", "why", "provenance"],
            "properties": {
                "plan_id": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "step_id": {"type": "string", "pattern": _STEP_ID},
                "not_executed": {"type": "boolean"},
                "why": {"type": "string", "minLength": 1, "maxLength": 1000},
                "provenance": {"type": "object"},
            },
        },
        "run": {
            "type": "object",
            "additionalProperties": False,
            "required": ["run_id", "number", "kind", "brain", "attempt", "steps", "tokens", "spent"],
            "properties": {
                "run_id": {"type": "string", "pattern": _ID},
                "number": {"type": "integer", "minimum": 0},
                "kind": {"enum": [str(TurnKind.MODEL), str(TurnKind.TOOLS)]},
                "brain": {"type": "string", "pattern": r"^[a-z][a-z0-9_-]{0,62}$"},
                "attempt": {"type": "integer", "minimum": 0},
                "steps": {"type": "integer", "minimum": 1},
                "tokens": {"type": "integer", "minimum": 0},
                "spent": {"type": ["integer", "null"], "minimum": 0},
            },
        },
        "actions": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "hand", "action"],
                "oneOf": [{"required": ["args"]}, {"required": ["args_sha256"]}],
                "properties": {
                    "id": {"type": "string", "pattern": _STEP_ID},
                    "hand": {"type": "string", "pattern": r"^[a-z][a-z0-9_-]{0,62}$"},
                    "action": {"type": "string", "pattern": r"^[A-Za-z0-9_.:/-]{1,128}$"},
                    "args": {"type": "object"},
                    "args_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "depends_on": {
                        "type": "array",
                        "uniqueItems": True,
                        "maxItems": 64,
                        "items": {"type": "string", "pattern": _STEP_ID},
                    },
                    "idempotency_key": {"type": "string", "pattern": _ID},
                    "data_subjects": {
                        "type": "array",
                        "maxItems": data_subjects.NAMED_MAX,
                        "items": {"type": "string", "minLength": 1, "maxLength": 256},
                    },
                },
            },
        },
    },
}
"""JSON Schema 2020-12 of a plan's payload."""

_DETACHING: Final = frozenset({MESSAGES_API, RETRIES, RUNS})
"""Issuers, all of them the gateway itself, whose plans may have args beside them."""
_VALIDATOR: Final = jsonschema_rs.Draft202012Validator(PLAN_SCHEMA)


def admit(verified: VerifiedPlan, *, steps_max: int) -> Plan:
    """A plan whose envelope and graph are sound.

    Raises:
        Refused: ``schema.plan`` (with ``pointer``), ``schema.too_many_steps``, ``schema.cycle`` or
            ``schema.reference`` (with ``step``).
    """
    claims = verified.claims
    actions = claims.get("actions")
    if isinstance(actions, list) and len(actions) > steps_max:
        # Before the validator, so that ten thousand steps cost nothing.
        raise Refused(Reason.SCHEMA_TOO_MANY_STEPS, limit=steps_max)
    if not _VALIDATOR.is_valid(claims):
        raise Refused(Reason.SCHEMA_PLAN, pointer=_first_problem(claims))
    if "retries" in claims and verified.issuer.id != RETRIES:
        raise Refused(Reason.SCHEMA_PLAN, "only the gateway itself retries", pointer="/retries")
    if "run" in claims and verified.issuer.id != RUNS:
        raise Refused(Reason.SCHEMA_PLAN, "only the gateway itself has runs", pointer="/run")
    steps: dict[str, Step] = {}
    for number, action in enumerate(claims["actions"]):
        if action["id"] in steps:
            raise Refused(Reason.SCHEMA_PLAN, "duplicate step id", step=action["id"])
        found = _detached(verified, action, number) if "args_sha256" in action else None
        steps[action["id"]] = _step(action, found, literal=verified.issuer.id == RUNS)
    _check_graph(steps)
    return Plan(
        plan_id=verified.plan_id,
        context_id=claims["context_id"],
        tenant=claims["tenant"],
        issuer=verified.issuer,
        kid=verified.kid,
        principal=verified.principal,
        caller=verified.caller,
        steps=steps,
        jti=claims["jti"],
        expires_at=claims["exp"],
        received_at=verified.received_at,
        raw=verified.raw,
        purpose=claims.get("purpose"),
        request=claims.get("request"),
        retries=Retry(**claims["retries"]) if "retries" in claims else None,
        run=RunTurn(**{**claims["run"], "kind": TurnKind(claims["run"]["kind"])}) if "run" in claims else None,
    )


def check_steps(plan: PlanState, states: list[StepState], hands: Hands, *, args_max_bytes: int) -> None:
    """Resolve references and hold each step's args against its pinned manifest; a misfit denies that step.

    A step that passes has ``manifest``, ``args``, ``args_bytes`` and ``args_sha256`` set, and ``analysis`` where its
    hand gives one.

    Args:
        args_max_bytes: what the results that references bring in may add up to in one round. A small plan could
            otherwise multiply one large result without end.
    """
    room = Room(args_max_bytes)
    people = (plan.plan.principal, plan.plan.caller)
    tenant = plan.plan.tenant
    inherited = {} if plan.plan.retries is None else plan.plan.retries.provenance
    for state in states:
        step = state.step
        manifest = hands.manifest(tenant, step.hand) if all(person.may_use(step.hand) for person in people) else None
        if manifest is None:
            _keep_asked(plan, state)
            state.fail(StepStatus.DENIED, Reason.SCHEMA_UNKNOWN_HAND)
            continue
        state.offer(manifest)
        elsewhere = manifest.keeps_apart(step.action) and plan.plan.issuer.id not in {MESSAGES_API, RETRIES}
        if elsewhere or step.action not in manifest.actions:
            _keep_asked(plan, state)
            state.fail(StepStatus.DENIED, Reason.SCHEMA_UNKNOWN_ACTION)
            continue
        try:
            args, state.provenance = resolve(plan, state, room) if step.references else (step.args, inherited)
            # What a tool returned never went through the strict parser; what has no canonical form is refused here.
            _put(state, args)
            subjects = data_subjects.of_value(plan.plan, step, manifest.actions[step.action], [args])
            data_subjects.check_number(subjects)
            state.put("args", commit(state.args_bytes, *subjects))
        except Refused as refusal:
            _keep_asked(plan, state)
            state.fail(StepStatus.DENIED, refusal.reason, **refusal.facts)
            continue
        problems = hands.check_args(tenant, step.hand, step.action, args)
        if problems:
            state.fail(StepStatus.DENIED, Reason.SCHEMA_ARGS, problems=list(problems))
            continue
        try:
            state.analysis = hands.analyse(tenant, step.hand, step.action, args)
        except Refused as refusal:
            state.fail(StepStatus.DENIED, refusal.reason, **refusal.facts)


def _keep_asked(plan: PlanState, state: StepState) -> None:
    """Commit to args beside the plan of a step that is denied before they are judged: nowhere else does the record say
    what was asked. Whom they concern is not known without the hand, beside whom the plan names; of too many people they
    are the context's."""
    step = state.step
    if step.detached is not None and step.detached.raw:
        named = data_subjects.of_value(plan.plan, step, None, ())
        many = len(named) > data_subjects.NAMED_MAX
        state.put("args", commit(step.detached.raw, *((data_subjects.of_context(plan.plan),) if many else named)))


def put_args(state: StepState, args: Mapping[str, Any], args_bytes: bytes) -> None:
    """Fix the exact args of a step: the value, its canonical bytes and their hash."""
    state.args = args
    state.args_bytes = args_bytes
    state.args_sha256 = hashlib.sha256(args_bytes).hexdigest()


def _put(state: StepState, args: Mapping[str, Any]) -> None:
    beside = state.step.detached
    if beside is None:
        put_args(state, args, canonical(args))
    elif beside.raw:
        state.args, state.args_bytes, state.args_sha256 = beside.value, beside.raw, beside.sha256
    else:
        raise Refused(Reason.SCHEMA_ERASED)


def _first_problem(claims: Mapping[str, Any]) -> str:
    """Where the first fault lies; the member names of a plan are ours, so the pointer gives nothing away."""
    for error in _VALIDATOR.iter_errors(claims):
        return pointer(error.instance_path)
    raise RuntimeError("is_valid and iter_errors disagree")


def _detached(verified: VerifiedPlan, action: Mapping[str, Any], number: int) -> Detached:
    """The args of an action that names their hash alone. From outside no plan comes with anything beside it; and a step
    that waits for another has its args in the plan, for until it is judged they are on record nowhere else."""
    found = verified.detached.get(action["id"]) if verified.issuer.id in _DETACHING else None
    if found is None or found.sha256 != action["args_sha256"] or action.get("depends_on"):
        raise Refused(Reason.SCHEMA_PLAN, "no such args beside it", pointer=f"/actions/{number}/args_sha256")
    return found


def _step(action: Mapping[str, Any], detached: Detached | None, *, literal: bool) -> Step:
    """
    Args:
        detached: its args, where they are beside the plan. They are values, whatever they look like: what refers to
            an earlier step is written into the plan.
        literal: the same of args in the plan: a model wrote them, and refers to nothing.
    """
    args = action["args"] if detached is None else detached.value
    values = literal or detached is not None
    return Step(
        id=action["id"],
        hand=action["hand"],
        action=action["action"],
        args=args,
        depends_on=tuple(action.get("depends_on", ())),
        idempotency_key=action.get("idempotency_key"),
        data_subjects=tuple(action.get("data_subjects", ())),
        references=() if values else references(args, action["id"]),
        detached=detached,
    )


def _check_graph(steps: Mapping[str, Step]) -> None:
    """Dependencies exist, references name direct dependencies, and nothing depends on itself in the end."""
    waiting: dict[str, set[str]] = {}
    for step in steps.values():
        if any(name not in steps for name in step.depends_on):
            raise Refused(Reason.SCHEMA_PLAN, "unknown dependency", step=step.id)
        if any(reference.step not in step.depends_on for reference in step.references):
            raise Refused(Reason.SCHEMA_REFERENCE, "not a dependency", step=step.id)
        if step.depends_on:
            waiting[step.id] = set(step.depends_on)
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not free:
            raise Refused(Reason.SCHEMA_CYCLE)
        for name in free:
            del waiting[name]
