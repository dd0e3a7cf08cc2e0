"""What counts as a difference between two bundles, and that counting them stays bounded and names no value."""

import pytest

from gateway.model import Decision, DecisionReason, Effect, Obligations, Role
from gateway.policy.differences import COMPUTED, EXAMPLES_MAX, Group, Kind, Tally, comparable, compare
from gateway.policy.replay_report import markdown
from gateway.reasons import Reason
from tests.policy.support import step

NOTHING = Obligations()


def decision(effect: str, *codes: str, obligations: Obligations = NOTHING) -> Decision:
    return Decision("s1", Effect(effect), tuple(DecisionReason(code, "words") for code in codes), "d" * 64, obligations)


def kind(was: Decision, now: Decision) -> Kind | None:
    group = compare(was, now, step())
    return None if group is None else group.kind


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ("allow", "deny", Kind.NEWLY_DENIED),
        ("ask", "deny", Kind.NEWLY_DENIED),
        ("deny", "allow", Kind.NEWLY_ALLOWED),
        ("ask", "allow", Kind.NEWLY_ALLOWED),
        ("allow", "ask", Kind.NEWLY_ASKED),
        ("deny", "ask", Kind.NEWLY_ASKED),
        ("allow", "allow", None),
    ],
)
def test_the_effect_decides_first(was: str, now: str, expected: Kind | None) -> None:
    assert kind(decision(was, "a.b"), decision(now, "a.b")) is expected


def test_a_quorum_that_became_smaller_is_no_small_thing() -> None:
    was = decision("ask", "a.b", obligations=Obligations(quorum=2, approver_role=Role.APPROVER))
    now = decision("ask", "a.b", obligations=Obligations(quorum=1, approver_role=Role.APPROVER))
    group = compare(was, now, step())
    assert group is not None
    assert (group.kind, group.obligations) == (Kind.OBLIGATIONS_CHANGED, ("quorum",))


def test_the_same_effect_for_another_reason_is_told_apart() -> None:
    assert kind(decision("deny", "a.b"), decision("deny", "a.c")) is Kind.REASONS_CHANGED


def test_words_alone_are_no_difference() -> None:
    was = Decision("s1", Effect.DENY, (DecisionReason("a.b", "No."),), "1" * 64)
    now = Decision("s1", Effect.DENY, (DecisionReason("a.b", "Never."),), "2" * 64)
    assert kind(was, now) is None


def test_a_candidate_that_spells_an_argument_as_a_reason_code_is_not_quoted() -> None:
    """A code that is put together while the rule runs could carry a value out; the log's own codes were said before."""
    group = compare(decision("allow", "old.rule"), decision("deny", "leak.my_password", "paths.outside"), step(),
                    literals={"paths.outside"})  # fmt: skip
    assert group is not None
    assert group.now == ("deny", (COMPUTED, "paths.outside"))
    assert group.was == ("allow", ("old.rule",))


def test_the_gateways_own_codes_are_shown() -> None:
    group = compare(decision("allow"), decision("deny", "policy.undecided"), step(), literals=())
    assert group is not None
    assert group.now == ("deny", ("policy.undecided",))


@pytest.mark.parametrize("reason", [Reason.POLICY_TIMEOUT, Reason.POLICY_UNAVAILABLE])
def test_an_engine_that_was_late_says_nothing_about_a_policy(reason: Reason) -> None:
    assert not comparable(decision("deny", str(reason)))
    assert comparable(decision("deny", str(Reason.POLICY_ERROR)))


def group(number: int, which: Kind = Kind.NEWLY_DENIED) -> Group:
    return Group(which, "git", f"action_{number:05}", ("allow", ("old.rule",)), ("deny", ("new.rule",)))


def test_a_million_kinds_of_differences_cost_the_memory_of_a_few() -> None:
    tally = Tally(groups_max=10)
    for number in range(1000):
        tally.add(group(number), "p", "s")
        tally.add(group(number), "q", "s")
    assert len(tally.groups) == len(tally.examples) == 10
    assert tally.kinds[Kind.NEWLY_DENIED] == 2000
    assert tally.rest[Kind.NEWLY_DENIED] == 1980


def test_examples_are_few() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(group(1), f"p{number}", "s")
    (shown,) = tally.document()["groups"]
    assert [one["plan_id"] for one in shown["examples"]] == [f"p{number}" for number in range(EXAMPLES_MAX)]
    assert shown["count"] == 100


def test_what_is_newly_allowed_is_explained_by_the_rule_that_no_longer_denies() -> None:
    tally = Tally()
    found = compare(decision("deny", "freeze.frozen"), decision("allow", "grants.reader"), step())
    assert found is not None
    tally.add(found, "p", "s")
    assert tally.document()["rules"] == {"newly_allowed": {"freeze.frozen": 1}}


def report(tally: Tally) -> dict[str, object]:
    return {"candidate": "c" * 64, "evaluations": 1, "decisions": 5000, "unchanged": 0, "not_comparable": 2,
            "erased": 3, "unreadable": 1, "faults": {"policy.timeout": 4}, "recorded": {},
            **tally.document()}  # fmt: skip


def test_a_comment_fits_however_much_differs() -> None:
    tally = Tally()
    for number in range(5000):
        tally.add(group(number), "p" * 64, "s" * 64)
    text = markdown(report(tally), "since ever", max_bytes=8_000)
    assert len(text.encode()) <= 8_000
    assert "5,000 decisions would change" in text
    assert "more groups did not fit" in text
    assert "3 evaluations erased" in text
    assert "`policy.timeout` 4" in text


@pytest.mark.parametrize(
    "hostile",
    ["x` | <img src=x>", "a|b", "![](http://evil.example/x)", "@everyone", "x\n\n# big", "\x1b[2J", "", "a" * 999],
)
def test_a_hostile_recording_puts_no_markup_into_a_comment(hostile: str) -> None:
    tally = Tally()
    tally.add(Group(Kind.NEWLY_DENIED, hostile, hostile, ("allow", (hostile,)), ("deny", (hostile,))), hostile, hostile)
    text = markdown(report(tally), "since ever")
    assert "evil" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert "@everyone" not in text
    assert hostile == "" or f"`{hostile}`" not in text
