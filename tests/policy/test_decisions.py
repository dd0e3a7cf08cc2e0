"""Reading an engine's answer: what is not exactly of the contract's shape denies."""

from typing import Any

import pytest

from gateway.model import Effect, Obligations, Role
from gateway.policy.decisions import ENFORCED, decide
from tests.policy.support import said

DIGEST = "d" * 64


def one(effect: str = "allow", step: str = "s", **members: Any) -> dict[str, Any]:
    return {"step": step, "effect": effect, "reasons": [{"code": f"rule.{effect}", "message": "m"}], **members}


def test_a_plain_answer_is_taken() -> None:
    decision = decide(["s"], [one(obligations={"result_max_bytes": 10, "redact": ["/b", "/a"]})], DIGEST)["s"]
    assert said(decision) == ("allow", ["rule.allow"])
    assert decision.policy_digest == DIGEST
    assert decision.obligations == Obligations(result_max_bytes=10, redact=("/a", "/b"))


@pytest.mark.parametrize("order", [("allow", "ask", "deny"), ("deny", "ask", "allow"), ("ask", "deny", "allow")])
def test_deny_beats_ask_beats_allow_in_any_order(order: tuple[str, ...]) -> None:
    assert said(decide(["s"], [one(effect) for effect in order], DIGEST)["s"]) == ("deny", ["rule.deny"])
    without = [one(effect) for effect in order if effect != "deny"]
    assert said(decide(["s"], without, DIGEST)["s"]) == ("ask", ["rule.ask"])


def test_a_step_of_which_nobody_speaks_is_denied() -> None:
    decisions = decide(["s", "t"], [one()], DIGEST)
    assert said(decisions["s"]) == ("allow", ["rule.allow"])
    assert said(decisions["t"]) == ("deny", ["policy.undecided"])


@pytest.mark.parametrize("answer", [None, []])
def test_undefined_and_empty_deny_as_undecided(answer: Any) -> None:
    assert said(decide(["s"], answer, DIGEST)["s"]) == ("deny", ["policy.undecided"])


@pytest.mark.parametrize(
    "answer",
    [
        "<undefined>",
        "allow",
        True,
        {},
        {"s": "allow"},
        [True],
        ["s"],
        [[]],
        [one(), None],
        [one("Allow")],
        [one("permit")],
        [one(True)],  # type: ignore[arg-type]
        [one(None)],  # type: ignore[arg-type]
        [one(step="other")],
        [one(step=1)],  # type: ignore[arg-type]
        [one(step=["s"])],  # type: ignore[arg-type]
        [{"effect": "allow"}],
        [{"step": "s"}],
        [one(extra=1)],
        [one(reasons="x")],
        [one(reasons=[{"code": "nodot", "message": ""}])],
        [one(reasons=[{"code": "Rule.x", "message": ""}])],
        [one(reasons=[{"code": "rule.x\n", "message": ""}])],
        [one(reasons=[{"message": "x"}])],
        [one(reasons=[{"code": "rule.x", "message": 1}])],
        [one(reasons=[{"code": "rule.x", "message": "x" * 1001}])],
        [one(reasons=[{"code": "rule.x", "message": "", "more": 1}])],
        [one(reasons=[{"code": "rule.x"}] * 33)],
        [one(obligations=[])],
        [one(obligations=False)],
        [one(obligations="redact")],
        [one(obligations={"redact": "/a"})],
    ],
)
def test_an_ill_shaped_answer_denies_every_step(answer: Any) -> None:
    decisions = decide(["s", "t"], answer, DIGEST)
    assert {name: said(decision) for name, decision in decisions.items()} == {
        "s": ("deny", ["policy.error"]),
        "t": ("deny", ["policy.error"]),
    }


@pytest.mark.parametrize(
    "obligations",
    [
        {"unknown": 1},
        {"egress_hosts": ["https://example.com"]},
        {"data_subjects": [" "]},
        {"data_subjects": [7]},
        {"data_subjects": ["a" * 513]},
        {"log_level": "shout"},
        {"log_level": 3},
        {"quorum": 0},
        {"quorum": True},
        {"quorum": 1.0},
        {"quorum": "1"},
        {"quorum": None},
        {"approver_role": "root"},
        {"approver_role": ""},
        {"enrolled_key": 1},
        {"result_max_bytes": -1},
        {"deadline_seconds": 0},
        {"deadline_seconds": "1"},
        {"deadline_seconds": True},
        {"credential_ttl_seconds": 61},
        {"jail_profile": ""},
        {"redact": ["a"]},
        {"redact": [1]},
    ],
)
@pytest.mark.parametrize("effect", ["allow", "ask"])
def test_an_obligation_that_cannot_be_carried_out_denies(effect: str, obligations: Any) -> None:
    decision = decide(["s"], [one(effect, obligations=obligations)], DIGEST)["s"]
    assert said(decision) == ("deny", ["policy.obligation"])
    assert any(name in decision.reasons[0].message for name in obligations), "the reason names it"


def test_a_name_that_a_rule_put_together_is_not_told() -> None:
    decision = decide(["s"], [one("allow", obligations={"4111 1111 1111 1111": 1})], DIGEST)["s"]
    assert decision.reasons[0].message == "A name is no obligation."


def test_obligations_merge_to_the_strictest() -> None:
    decisions = decide(
        ["s"],
        [
            one(
                "ask",
                obligations={"quorum": 2, "approver_role": "approver", "result_max_bytes": 50, "log_level": "info"},
            ),
            one("ask", obligations={"quorum": 1, "enrolled_key": True, "redact": ["/a"]}),
            one("allow", obligations={"enrolled_key": False, "redact": ["/b"], "result_max_bytes": 9}),
            one("allow", obligations={"deadline_seconds": 3, "credential_ttl_seconds": 20, "log_level": "error"}),
            one("allow", obligations={"deadline_seconds": 1.5, "credential_ttl_seconds": 30}),
            one("allow"),
        ],
        DIGEST,
    )
    assert decisions["s"].effect is Effect.ASK
    assert decisions["s"].obligations == Obligations(
        quorum=2,
        approver_role=Role.APPROVER,
        enrolled_key=True,
        redact=("/a", "/b"),
        result_max_bytes=9,
        deadline_seconds=1.5,
        credential_ttl_seconds=20,
        log_level="error",
    )


@pytest.mark.parametrize(("name", "values"), [("jail_profile", ("a", "b")), ("approver_role", ("approver", "auditor"))])
def test_two_demands_without_a_strictest_deny(name: str, values: tuple[str, str]) -> None:
    answer = [one("ask", obligations={name: value}) for value in values]
    decision = decide(["s"], answer, DIGEST)["s"]
    assert said(decision) == ("deny", ["policy.obligation"])
    assert decision.reasons[0].message == f"{name}: the rules want different ones."


def test_a_conflict_denies_its_own_step_only() -> None:
    answer = [one("ask", obligations={"jail_profile": "a"}), one("ask", obligations={"jail_profile": "b"})]
    decisions = decide(["s", "t"], [*answer, one(step="t")], DIGEST)
    assert said(decisions["t"]) == ("allow", ["rule.allow"])


def test_a_denial_carries_no_obligations() -> None:
    answer = [one("deny"), one("ask", obligations={"quorum": 3})]
    assert decide(["s"], answer, DIGEST)["s"].obligations == Obligations()


def test_reasons_come_in_one_order_whatever_the_engine_does() -> None:
    codes = ["b.x", "a.x", "c.x"]
    answer = [one("deny", reasons=[{"code": code, "message": ""}]) for code in codes]
    assert said(decide(["s"], answer, DIGEST)["s"]) == said(decide(["s"], answer[::-1], DIGEST)["s"])


def test_everything_enforced_is_an_obligation_that_can_be_read() -> None:
    assert {name for name in ENFORCED if not hasattr(Obligations(), name)} == set()
