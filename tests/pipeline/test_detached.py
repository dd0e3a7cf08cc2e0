"""Args beside a plan that names their hash: only plans of the gateway's own have any, only these very ones, and a step
whose args are not on record any more does not run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.canonical import b64url_encode
from gateway.commitments import person_key
from gateway.connector import detached
from gateway.data_subjects import NAMED_MAX, of_context
from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.model import (
    MESSAGES_API,
    RETRIES,
    RUNS,
    Detached,
    Issuer,
    Plan,
    Step,
    StepStatus,
    UnverifiedPlan,
    VerifiedPlan,
)
from gateway.reasons import Reason
from gateway.stages import schema, verify
from gateway.stages.ingress import admit as admitted
from gateway.state import PlanState, StepState
from tests.pipeline.house import AGENT, MANIFEST, SimulatedHands

ARGS = detached({"text": "hello", "number": 10.0})
OWN = (MESSAGES_API, RETRIES, RUNS)


def claims(args_sha256: str = ARGS.sha256, **changes: Any) -> dict[str, Any]:
    action = {"id": "a", "hand": "tool", "action": "echo", "args_sha256": args_sha256, **changes}
    texts = dict.fromkeys(("iss", "sub", "aud", "tenant", "context_id", "jti", "nonce"), "x")
    return {
        "v": 1,
        **texts,
        "tenant": "default",
        "sub": AGENT.id,
        "iat": 1,
        "exp": 2,
        "actions": [{**ELSE, "id": "b"}, action],
    }


ELSE: Mapping[str, Any] = {"hand": "tool", "action": "echo", "args": {}}


def admit(claims: Mapping[str, Any], beside: Mapping[str, Detached], issuer: str = MESSAGES_API) -> Plan:
    verified = VerifiedPlan(b"", "p", claims, Issuer(issuer, "default", {}), "k", AGENT, AGENT, 1.0, beside)
    return schema.admit(verified, steps_max=2)


def test_a_value_is_what_its_canonical_form_reads_as() -> None:
    assert ARGS.raw == b'{"number":10,"text":"hello"}'
    assert type(ARGS.value["number"]) is int
    with pytest.raises(Refused):
        detached({"number": float("nan")})


@pytest.mark.parametrize("issuer", OWN)
def test_the_gateways_own_plans_may_have_args_beside_them(issuer: str) -> None:
    step = admit(claims(), {"a": ARGS}, issuer).steps["a"]
    assert (step.args, step.detached, step.references) == (ARGS.value, ARGS, ())


def test_they_are_values_whatever_they_look_like() -> None:
    looks = detached({"input": {"$step": "b", "pointer": "/text"}})
    assert admit(claims(looks.sha256), {"a": looks}).steps["a"].references == ()


@pytest.mark.parametrize(
    ("claimed", "beside", "issuer"),
    [
        (claims(), {"a": ARGS}, "planner"),
        (claims(), {"a": ARGS}, "connector:mcp"),
        (claims(), {}, MESSAGES_API),
        (claims(), {"b": ARGS}, MESSAGES_API),
        (claims(), {"a": detached({"text": "other"})}, MESSAGES_API),
        (claims("0" * 64), {"a": ARGS}, MESSAGES_API),
        (claims(depends_on=["b"]), {"a": ARGS}, MESSAGES_API),
    ],
    ids=["an agent", "another ingress", "nothing", "another step's", "others", "another hash", "waits"],
)
def test_any_other_is_refused_with_its_place(
    claimed: Mapping[str, Any], beside: Mapping[str, Detached], issuer: str
) -> None:
    with pytest.raises(Refused) as caught:
        admit(claimed, beside, issuer)
    assert caught.value.reason is Reason.SCHEMA_PLAN
    assert caught.value.facts["pointer"] == "/actions/1/args_sha256"


def restored(args: Mapping[str, bytes], **changes: Any) -> VerifiedPlan:
    said = {**claims(**changes), "iss": MESSAGES_API}
    raw = f"h.{b64url_encode(json.dumps(said).encode())}.s".encode()
    issuer = Issuer(MESSAGES_API, "default", {})
    return verify.restore(raw, hashlib.sha256(raw).hexdigest(), issuer, "k", AGENT, AGENT, 1.0, args)


def test_a_record_gives_them_back() -> None:
    assert restored({"a": ARGS.raw, "b": b"{}"}).detached == {"a": ARGS}


def test_other_args_than_were_signed_are_no_record() -> None:
    with pytest.raises(Refused) as caught:
        restored({"a": b'{"text":"other"}'})
    assert caught.value.reason is Reason.VERIFY_MALFORMED


def test_nothing_runs_without_args_that_are_gone() -> None:
    verified = restored({})
    plan = schema.admit(verified, steps_max=2)
    assert plan.steps["a"].args == {}
    state = StepState(plan.steps["a"])
    schema.check_steps(PlanState(plan, None, "c", {"a": state}), [state], SimulatedHands(), args_max_bytes=1000)
    assert state.status is StepStatus.DENIED
    assert state.error is not None
    assert state.error.reason is Reason.SCHEMA_ERASED


def test_they_count_against_the_limit_of_the_plan() -> None:
    sent = UnverifiedPlan(b"x" * 10, AGENT, 1.0, 10 + len(ARGS.raw), {"a": ARGS})
    admitted(sent, body_max_bytes=1)
    with pytest.raises(Refused) as caught:
        admitted(replace(sent, max_bytes=9 + len(ARGS.raw)), body_max_bytes=1)
    assert caught.value.reason is Reason.REQUEST_TOO_LARGE


@pytest.mark.parametrize("hands", [{}, {"tool": replace(MANIFEST, actions={})}], ids=["no hand", "no action"])
def test_what_was_asked_is_on_record_where_nobody_knows_the_hand(hands: dict[str, Manifest]) -> None:
    plan = admit({**claims(data_subjects=["mia"]), "tenant": "default"}, {"a": ARGS})
    state = StepState(plan.steps["a"])
    schema.check_steps(PlanState(plan, None, "c", {"a": state}), [state], SimulatedHands(hands), args_max_bytes=1000)
    assert state.status is StepStatus.DENIED
    assert state.fresh["args"].value == ARGS.raw
    assert state.fresh["args"].subjects == (person_key("mia"),)


def test_what_was_asked_of_too_many_people_is_on_record_too() -> None:
    people = [f"p{number}" for number in range(NAMED_MAX + 1)]
    step = Step("a", "tool", "echo", ARGS.value, data_subjects=tuple(people), detached=ARGS)
    plan = replace(admit(claims(), {"a": ARGS}), steps={"a": step})
    state = StepState(step)
    schema.check_steps(PlanState(plan, None, "c", {"a": state}), [state], SimulatedHands(), args_max_bytes=1000)
    assert state.error is not None
    assert state.error.reason is Reason.SCHEMA_ARGS
    assert state.fresh["args"].subjects == (of_context(plan),)
