"""Grants drafted from what was seen: no more than was used, and never what another rule forbids."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.evaluation import Evaluation
from gateway.model import Decision, DecisionReason, Effect
from gateway.policy.allowlists import merged as merged_allowlists
from gateway.policy.bundle import load
from gateway.policy.inspection import inspect
from gateway.policy.observe import loosen
from gateway.policy.suggest import Draft, merged
from tests.policy.support import SHIPPED, ask, step

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
    assert [(one["action"], one["steps"]) for one in made.document({})["seen"]] == [("push", 2), ("tag", 1)]


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
    (left,) = made.document({})["left_out"]
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
    assert "lovelace" not in str(made.document({}))


def test_no_argument_stands_in_the_draft() -> None:
    evaluation = seen("push", "deny", "grants.missing")
    evaluation.policy_input["steps"][0]["args"]["secret"] = "heliotrope"
    assert "heliotrope" not in str(draft(evaluation).document({}))


HANDS = {
    "web": {
        "actions": {"get": {"side_effects": "none", "args": {"/url": "url", "/more/*": "url", "/note": "content"}}}
    },
    "fs": {"actions": {"read": {"args": {"/file": "path"}}, "send": {"args": {"/to": "recipient", "/file": "path"}}}},
}


def used(hand: str, action: str, args: dict[str, Any], effect: str = "allow", *codes: str) -> Evaluation:
    asked = ask(step("s", hand, action, **args), hands=HANDS)
    return Evaluation(asked, {"s": Decision("s", Effect(effect), tuple(map(DecisionReason, codes)), "d" * 64)})


def lists(*evaluations: Evaluation, data: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = draft(*evaluations).document(data or {})["allowlists"]
    return found


def test_hosts_are_drafted_from_urls_and_nothing_else_of_them() -> None:
    urls = [
        "https://Docs.example.com/a?token=heliotrope#x",
        "www.example.org",
        "http://h.example:8080/",
        "https://b.io:443",
    ]
    found = lists(used("web", "get", {"url": urls[0], "more": urls[1:], "note": "https://heliotrope.example"}))
    assert found["hosts"] == {"web": ["b.io", "docs.example.com", "h.example:8080", "www.example.org"]}
    assert "heliotrope" not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://u:p@example.com/",
        "https://[::1]/",
        "localhost",
        "https://b\u00fccher.example",
        7,
        "a b.c",
    ],
)
def test_what_is_no_plain_url_to_a_name_is_counted_and_not_shown(url: object) -> None:
    found = lists(used("web", "get", {"url": url}))
    assert (found["hosts"], found["seen"], found["not_plain"]) == ({}, [], 1)


def test_a_hand_whose_hosts_are_listed_is_left_as_it_is() -> None:
    data = {"hosts": {"hosts": {"web": ["example.com"]}}}
    assert lists(used("web", "get", {"url": "https://evil.example"}), data=data)["hosts"] == {}


def test_paths_become_directories_of_one_argument_of_one_action() -> None:
    paths = ["/repo/docs/a.md", "/repo/docs/b.md", "/repo/src/x/y/z.py", "/repo"]
    found = lists(*[used("fs", "read", {"file": path}) for path in paths])
    assert [(one["value"], one["steps"]) for one in found["seen"]] == [
        ("/repo/docs", 2),
        ("/repo", 1),
        ("/repo/src/x", 1),
    ]
    assert found["arguments"] == {
        "hands": {"fs": {"read": [{"pointer": "/file", "pattern": "fs.read.file"}]}},
        "patterns": {"fs.read.file": "(?:/repo|/repo/docs|/repo/src/x)(?:/.*)?"},
    }


def test_many_directories_become_the_ones_above_them_and_too_many_no_line() -> None:
    found = lists(*[used("fs", "read", {"file": f"/repo/a.b/d{number}/x"}) for number in range(9)])
    assert found["arguments"]["patterns"] == {"fs.read.file": "(?:/repo/a\\.b)(?:/.*)?"}
    found = lists(*[used("fs", "read", {"file": f"/d{number}/x"}) for number in range(9)])
    assert found["arguments"] == {"hands": {}, "patterns": {}}
    assert len(found["seen"]) == 9


@pytest.mark.parametrize("path", ["relative/x", "/a/../b", "/a//b", "/caf\u00e9/x", "/a\nb/c", ["/a/b"], "/"])
def test_what_is_no_plain_path_is_counted_and_not_shown(path: object) -> None:
    found = lists(used("fs", "read", {"file": path}))
    assert (found["seen"], found["not_plain"]) == ([], 1)


def test_nothing_is_drafted_from_what_other_rules_deny_and_no_other_role_is_shown() -> None:
    sent = {"to": "lovelace@example.com", "file": "/repo/docs/a"}
    assert lists(used("fs", "send", sent, "deny", "grants.missing", "secrets.found"))["seen"] == []
    found = lists(used("fs", "send", sent, "deny", "grants.missing"))
    assert [one["value"] for one in found["seen"]] == ["/repo/docs"]
    assert "lovelace" not in str(found)


async def test_a_draft_is_data_that_a_bundle_takes_and_keeps_to_what_was_seen(tmp_path: Path) -> None:
    evaluations = [used("web", "get", {"url": "https://a.example.com/x"}), used("fs", "read", {"file": "/repo/a.b/c"})]
    bundle = tmp_path / "policies"
    shutil.copytree(SHIPPED, bundle)
    data = load(bundle).data["handrail"]
    for name, content in merged_allowlists(data, lists(*evaluations, data=data)).items():
        (bundle / name).write_text(json.dumps(content))
    drafted = load(bundle)
    await inspect(drafted)
    again = lists(*evaluations, data=drafted.data["handrail"])
    assert (again["hosts"], again["arguments"]) == ({}, {"hands": {}, "patterns": {}})
    pattern = drafted.data["handrail"]["arguments"]["patterns"]["fs.read.file"]
    kept = {
        path: bool(re.fullmatch(pattern, path)) for path in ("/repo/a.b/d", "/repo/a.b", "/repo/aXb/d", "/repo/a.bc")
    }
    assert kept == {"/repo/a.b/d": True, "/repo/a.b": True, "/repo/aXb/d": False, "/repo/a.bc": False}


def test_a_flood_of_hosts_costs_bounded_memory() -> None:
    found = lists(*[used("web", "get", {"url": f"https://h{number}.example"}) for number in range(1_200)])
    assert (len(found["hosts"]["web"]), found["not_told_apart"]) == (1_000, 200)


def test_a_flood_of_actions_costs_bounded_memory() -> None:
    made = draft(*[seen(f"a{number}", "deny", "grants.missing") for number in range(1_200)])
    assert (len(made.needed), made.not_told_apart) == (1_000, 200)


def test_the_lines_go_behind_those_that_are_there() -> None:
    old = {"readers": ["agent"], "scopes": {}, "table": [{"roles": ["agent"], "hand": "h", "actions": ["a"]}]}
    line = {"principals": ["bot"], "hand": "git", "actions": ["push"]}
    assert merged(old, [line]) == {**old, "table": [*old["table"], line]}
