"""The rules of a canary alone: the stricter of two words, and when a canary has to stop."""

import pytest

from gateway.model import Decision, DecisionReason, Effect, Obligations, Role
from gateway.policy.canary import Cause, Counts, Limits, Watch, marked, stricter
from gateway.policy.decisions import deny_all
from gateway.policy.observe import loosen
from gateway.reasons import TEXTS, Reason
from gateway.settings import RolloutSettings

ACTIVE, CANDIDATE = "a" * 64, "c" * 64
LIMITS = Limits(window=10, sample_min=4, denied_margin=0.25, errors_margin=0.25)
MARK = "policy.stricter"


def said(digest: str, effect: str, *codes: str, **obligations: object) -> Decision:
    reasons = tuple(DecisionReason(code, "words") for code in codes)
    return Decision("s", Effect(effect), reasons, digest, Obligations(**obligations))  # type: ignore[arg-type]


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


@pytest.mark.parametrize(
    ("active", "candidate", "expected"),
    [
        ("allow", "allow", (Effect.ALLOW, ACTIVE)),
        ("allow", "ask", (Effect.ASK, CANDIDATE)),
        ("allow", "deny", (Effect.DENY, CANDIDATE)),
        ("ask", "allow", (Effect.ASK, ACTIVE)),
        ("ask", "deny", (Effect.DENY, CANDIDATE)),
        ("deny", "allow", (Effect.DENY, ACTIVE)),
        ("deny", "ask", (Effect.DENY, ACTIVE)),
    ],
)
def test_deny_beats_ask_beats_allow(active: str, candidate: str, expected: tuple[Effect, str]) -> None:
    both = stricter(said(ACTIVE, active, "old.rule"), said(CANDIDATE, candidate, "new.rule"))
    assert (both.effect, both.policy_digest) == expected
    assert codes(both)[-1] == MARK
    assert marked(both)


def test_where_both_say_the_same_both_say_why() -> None:
    both = stricter(said(ACTIVE, "deny", "a.x", "a.y"), said(CANDIDATE, "deny", "a.y", "a.z"))
    assert codes(both) == ["a.x", "a.y", "a.z", MARK]


def test_what_both_demand_is_demanded_together() -> None:
    one = said(ACTIVE, "ask", redact=("/a",), quorum=1, result_max_bytes=10, approver_role=Role.APPROVER)
    other = said(CANDIDATE, "ask", redact=("/b",), quorum=2, result_max_bytes=90, enrolled_key=True)
    assert stricter(one, other).obligations == Obligations(
        redact=("/a", "/b"), quorum=2, result_max_bytes=10, approver_role=Role.APPROVER, enrolled_key=True
    )
    relaxed = said(CANDIDATE, "allow", redact=("/b",))
    assert stricter(one, relaxed).obligations.redact == ("/a", "/b"), "also what the milder one demands"


def test_demands_that_cannot_be_met_together_deny() -> None:
    both = stricter(said(ACTIVE, "allow", jail_profile="one"), said(CANDIDATE, "allow", jail_profile="two"))
    assert (both.effect, codes(both)) == (Effect.DENY, ["policy.obligation", MARK])


def test_an_engine_that_failed_is_a_denial_here_as_everywhere() -> None:
    late = deny_all(["s"], Reason.POLICY_TIMEOUT, CANDIDATE)["s"]
    assert codes(stricter(said(ACTIVE, "allow"), late)) == ["policy.timeout", MARK]


def test_a_word_of_both_is_not_loosened_again() -> None:
    both = stricter(said(ACTIVE, "deny", "a.x"), said(CANDIDATE, "deny", "a.y"))
    assert loosen(both, lambda _code, _digest: "low") == both


def test_what_observation_let_go_says_so_first_and_names_the_word_that_was_stricter() -> None:
    let_go = loosen(said(CANDIDATE, "deny", "a.y"), lambda _code, _digest: "low")
    both = stricter(said(ACTIVE, "allow", "a.x"), let_go)
    assert codes(both) == ["policy.observed_deny", "a.y", MARK]
    assert (both.observed, both.policy_digest) == (Effect.DENY, CANDIDATE)
    assert TEXTS[Reason.POLICY_STRICTER] in [reason.message for reason in both.reasons]


def test_what_the_policy_said_is_without_the_gateways_marks() -> None:
    """A replay compares with it, and a draft of grants reads its reasons."""
    let_go = loosen(said(CANDIDATE, "deny", "a.y"), lambda _code, _digest: "low")
    for one in (said(CANDIDATE, "deny", "a.y"), let_go):
        word = stricter(said(ACTIVE, "allow", "a.x"), one).said()
        assert (word.effect, codes(word)) == (Effect.DENY, ["a.y"])


# --- when it has to stop ----------------------------------------------------------------------------------------------


def fed(*pairs: tuple[str, str]) -> Counts:
    """Each pair by a principal of its own."""
    watch = Watch(LIMITS)
    for number, (active, candidate) in enumerate(pairs):
        watch.add(("t", f"p{number}"), decision(active, ACTIVE), decision(candidate, CANDIDATE))
    return watch.counts


def decision(word: str, digest: str) -> Decision:
    if word in {"allow", "ask", "deny"}:
        return said(digest, word, "a.x")
    return deny_all(["s"], Reason(f"policy.{word}"), digest)["s"]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("allow", "deny")] * 3, None),
        ([("allow", "deny")] * 4, Cause.DENIALS),
        ([("deny", "deny")] * 8, None),
        ([("deny", "allow")] * 8, None),
        ([("allow", "deny"), *[("allow", "allow")] * 3], None),
        ([("allow", "deny"), ("allow", "deny"), *[("allow", "allow")] * 3], Cause.DENIALS),
        ([("allow", "deny"), ("deny", "allow")] * 3, None),
        ([("allow", "error")] * 4, Cause.ERRORS),
        ([("allow", "timeout")] * 4, Cause.ERRORS),
        ([("allow", "unavailable")] * 4, Cause.ERRORS),
        ([("error", "error")] * 8, None),
        ([("timeout", "deny")] * 8, None),
        ([("unavailable", "unavailable")] * 8, None),
    ],
)
def test_only_a_jump_beyond_what_the_active_bundle_denies_stops_it(
    pairs: list[tuple[str, str]], expected: Cause | None
) -> None:
    assert LIMITS.exceeded(fed(*pairs)) is expected


def test_a_jump_after_many_good_decisions_is_seen_in_the_newest() -> None:
    assert LIMITS.exceeded(fed(*[("allow", "allow")] * 1000, *[("allow", "deny")] * 3)) is Cause.DENIALS
    assert fed(*[("allow", "deny")] * 50, *[("allow", "allow")] * 10) == Counts(10)


def test_nobody_hides_what_others_suffer_by_asking_for_harmless_things() -> None:
    limits = Limits(window=1000, sample_min=20, denied_margin=0.1, errors_margin=0.05)
    watch = Watch(limits)
    for _ in range(20):
        watch.add(("t", "victim"), decision("allow", ACTIVE), decision("deny", CANDIDATE))
    for _ in range(5000):
        watch.add(("t", "noisy"), decision("allow", ACTIVE), decision("allow", CANDIDATE))
    assert watch.counts == Counts(sample=120, denied=20)
    assert limits.exceeded(watch.counts) is Cause.DENIALS


def test_a_canary_of_one_principal_can_stop() -> None:
    watch = Watch(LIMITS)
    for _ in range(4):
        watch.add(("t", "only"), decision("allow", ACTIVE), decision("deny", CANDIDATE))
    assert LIMITS.exceeded(watch.counts) is Cause.DENIALS


def test_what_is_remembered_is_bounded_whoever_asks() -> None:
    watch = Watch(LIMITS)
    for number in range(5000):
        watch.add(("t", f"p{number % 700}"), decision("allow", ACTIVE), decision("deny", CANDIDATE))
    assert (watch.counts.sample, len(watch._newest), len(watch._of)) == (10, 10, 10)


def test_counts_add_up_over_gateways() -> None:
    one = fed(*[("allow", "deny")] * 2)
    assert LIMITS.exceeded(one) is None
    assert LIMITS.exceeded(one + Counts.from_document(one.document())) is Cause.DENIALS


def test_a_sample_that_no_window_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="canary_sample_min is more than canary_window"):
        RolloutSettings(canary_window=10, canary_sample_min=20)
