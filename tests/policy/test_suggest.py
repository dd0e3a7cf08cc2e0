"""Grants drafted from what was seen: no more than was used, and never what another rule forbids."""

from typing import Any

import pytest

from gateway.evaluation import Evaluation
from gateway.model import Decision, DecisionReason, Effect
from gateway.policy.observe import loosen
from gateway.policy.suggest import Draft, merged
from tests.policy.support import ask, step

SEVERITIES = {"grants.missing": "high", "paths.outside": "high", "secrets.found": "critical"}


def severity(code: str) -> str:
    return SEVERITIES.get(code, "")


def seen(action: str, effect: str = "deny", *codes: str, who: str = "bot", observed: bool = False) -> Evaluation:
    asked = ask(step("s", "git", action), principal={"id": who, "roles": ["agent"]})
    decision = Decision("s", Effect(effect), tuple(DecisionReason(code) for code in codes), "d" * 64)
    if observed:
        decision = loosen(decision, lambda code, _digest: severity(code))
        assert decision.observed is not None
    return Evaluation(asked, {"s": decision})


def draft(*evaluations: Evaluation, **options: Any) -> Draft:
    made = Draft(options.pop("severity", severity), **options)
    for evaluation in evaluations:
        made.add(evaluation)
    return made


@pytest.mark.parametrize("observed", [False, True])
def test_what_only_a_grant_was_missing_for_becomes_the_narrowest_line(observed: bool) -> None:
    made = draft(*[seen(action, "deny", "grants.missing", observed=observed) for action in ("push", "push", "tag")])
    assert made.table() == [
        {"principals": ["bot"], "hand": "git", "actions": ["push", "tag"], "only": {"environments": ["test"]}}
    ]
    assert [(one["action"], one["steps"]) for one in made.document()["seen"]] == [("push", 2), ("tag", 1)]


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (("secrets.found",), "critical"),
        (("grants.missing", "secrets.found"), "critical"),
        (("grants.missing", "not.known"), "critical"),
        (("policy.timeout",), "critical"),
        ((), "other rules"),
        (("grants.missing", "paths.outside"), "other rules"),
        (("paths.outside",), "other rules"),
    ],
)
def test_what_another_rule_denies_is_never_suggested_and_is_said(codes: tuple[str, ...], why: str) -> None:
    made = draft(seen("push", "deny", *codes))
    assert made.table() == []
    (left,) = made.document()["left_out"]
    assert (left["reasons"], left["steps"]) == (sorted(codes), 1)
    assert why in left["why"]


def test_where_a_missing_grant_is_critical_nothing_is_suggested() -> None:
    assert draft(seen("push", "deny", "grants.missing"), severity=lambda _: "critical").table() == []
    assert draft(seen("push", "deny", "grants.missing"), severity=lambda _: "").table() == []


def test_what_is_allowed_or_asked_needs_no_line() -> None:
    made = draft(seen("status", "allow", "grants.reader"), seen("commit", "ask", "side_effects.approval"))
    assert (made.table(), made.covered) == ([], 2)


def test_no_principal_gets_what_another_used() -> None:
    made = draft(seen("push", "deny", "grants.missing", who="a"), seen("tag", "deny", "grants.missing", who="b"))
    assert [(line["principals"], line["actions"]) for line in made.table()] == [(["a"], ["push"]), (["b"], ["tag"])]


def test_by_role_no_name_of_a_person_stands_in_the_draft() -> None:
    made = draft(seen("push", "deny", "grants.missing", who="ada.lovelace"), by_role=True)
    assert made.table()[0]["roles"] == ["agent"]
    assert "lovelace" not in str(made.document())


def test_no_argument_stands_in_the_draft() -> None:
    evaluation = seen("push", "deny", "grants.missing")
    evaluation.policy_input["steps"][0]["args"]["secret"] = "heliotrope"
    assert "heliotrope" not in str(draft(evaluation).document())


def test_a_flood_of_actions_costs_bounded_memory() -> None:
    made = draft(*[seen(f"a{number}", "deny", "grants.missing") for number in range(1_200)])
    assert (len(made.needed), made.not_told_apart) == (1_000, 200)


def test_the_lines_go_behind_those_that_are_there() -> None:
    old = {"readers": ["agent"], "scopes": {}, "table": [{"roles": ["agent"], "hand": "h", "actions": ["a"]}]}
    line = {"principals": ["bot"], "hand": "git", "actions": ["push"]}
    assert merged(old, [line]) == {**old, "table": [*old["table"], line]}
