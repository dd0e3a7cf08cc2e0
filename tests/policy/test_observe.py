"""A hand under observation: what is let go says so, and whatever is not known to be less than critical is enforced."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import Unavailable
from gateway.forward_clock import ForwardClock
from gateway.model import Decision, DecisionReason, Effect, Obligations
from gateway.policy.decisions import decide
from gateway.policy.observe import REMIND_SECONDS, STALE_SECONDS, Observations, ObservingEngine, loosen
from gateway.reasons import Reason
from gateway.two_person import Kind, Proposal, ProposalStatus
from tests.policy.support import ask, step

DIGEST = "d" * 64
SEVERITIES = {"a.critical": "critical", "a.high": "high", "a.medium": "medium", "a.low": "low", "a.silent": ""}
DAY = 86_400.0


def severity(code: str, digest: str) -> str:
    return SEVERITIES.get(code, "") if digest == DIGEST else ""


def decision(effect: str, *codes: str, digest: str = DIGEST, **obligations: Any) -> Decision:
    reasons = tuple(DecisionReason(code, "words") for code in codes)
    return Decision("s1", Effect(effect), reasons, digest, Obligations(**obligations))


# --- what is let go --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [("a.high",), ("a.medium",), ("a.low",), ("a.high", "a.low")])
def test_a_denial_that_is_not_critical_is_let_go_and_says_so_first(codes: tuple[str, ...]) -> None:
    loosened = loosen(decision("deny", *codes), severity)
    assert loosened.effect is Effect.ALLOW
    assert [reason.code for reason in loosened.reasons] == ["policy.observed_deny", *codes]
    assert loosened.observed is Effect.DENY
    assert loosened.said() == decision("deny", *codes)


@pytest.mark.parametrize(
    "codes",
    [
        ("a.critical",),
        ("a.high", "a.critical"),
        ("a.silent",),
        ("a.high", "computed.while_running"),
        (),
        *((str(reason),) for reason in Reason if reason.startswith("policy.") and "observed" not in reason),
    ],
)
def test_what_is_critical_or_not_known_to_be_less_is_enforced(codes: tuple[str, ...]) -> None:
    for effect in ("deny", "ask"):
        assert loosen(decision(effect, *codes), severity) == decision(effect, *codes)


def spoken(effect: str, *codes: str, **obligations: Any) -> dict[str, Any]:
    """One rule's word on a step, as an engine gives it."""
    reasons = [{"code": code, "message": "words"} for code in codes]
    return {"step": "s1", "effect": effect, "reasons": reasons, "obligations": obligations}


def observed(*words: dict[str, Any]) -> Decision:
    return loosen(decide(["s1"], list(words), DIGEST)["s1"], severity)


def test_a_critical_question_does_not_vanish_behind_a_lesser_denial() -> None:
    assert observed(spoken("ask", "a.critical"), spoken("deny", "a.low")).effect is Effect.DENY
    assert observed(spoken("ask", "a.high"), spoken("deny", "a.low")).effect is Effect.ALLOW


def test_a_denial_without_a_reason_does_not_vanish_beside_one_with_a_lenient_reason() -> None:
    assert observed(spoken("deny"), spoken("deny", "a.low")).effect is Effect.DENY
    assert observed(spoken("ask"), spoken("deny", "a.low")).effect is Effect.DENY


def test_what_the_other_rules_oblige_to_holds_for_a_denial_that_is_let_go() -> None:
    let_go = observed(spoken("allow", "a.low", redact=["/ssn"], result_max_bytes=10), spoken("deny", "a.low"))
    assert let_go.effect is Effect.ALLOW
    assert let_go.obligations == Obligations(redact=("/ssn",), result_max_bytes=10)
    assert let_go.said().obligations == Obligations()
    torn = [spoken("allow", "a.low", jail_profile=name) for name in ("tight", "loose")]
    assert observed(*torn, spoken("deny", "a.low")).effect is Effect.DENY


def test_a_bundle_that_is_not_at_hand_any_more_vouches_for_no_severity() -> None:
    assert loosen(decision("deny", "a.low", digest="e" * 64), severity).effect is Effect.DENY


def test_a_question_is_let_go_and_recorded_as_one() -> None:
    loosened = loosen(decision("ask", "a.high", quorum=2, redact=("/structured/name",)), severity)
    assert (loosened.effect, loosened.observed) == (Effect.ALLOW, Effect.ASK)
    assert loosened.reasons[0].code == Reason.POLICY_OBSERVED_ASK
    assert loosened.obligations.redact == ("/structured/name",), "how a step runs is not a denial"


def test_what_is_allowed_stays_as_it_is() -> None:
    allowed = decision("allow", "a.low", redact=("/structured/name",))
    assert loosen(allowed, severity) is allowed
    assert allowed.observed is None
    assert allowed.said() is allowed


@pytest.mark.parametrize("code", [Reason.POLICY_OBSERVED_DENY, Reason.POLICY_OBSERVED_ASK, Reason.POLICY_UNDECIDED])
def test_no_policy_can_say_what_only_the_gateway_says(code: Reason) -> None:
    answer = [{"step": "s1", "effect": "allow", "reasons": [{"code": str(code), "message": ""}]}]
    (found,) = decide(["s1"], answer, DIGEST).values()
    assert (found.effect, found.reasons[0].code) == (Effect.DENY, Reason.POLICY_ERROR)


def test_a_gateways_code_that_does_not_come_first_is_no_mark() -> None:
    assert decision("allow", "a.low", "policy.observed_deny").observed is None
    assert decision("deny", "policy.observed_deny").observed is None


# --- when it counts --------------------------------------------------------------------------------------------------


def proposal(hand: str = "known", *, since: float = 0.0, until: float = DAY, tenant: str = "default") -> Proposal:
    return Proposal(
        id=f"{hand}-{until}",
        kind=Kind.POLICY_OBSERVE,
        tenant=tenant,
        subject=hand,
        document={},
        document_sha256="",
        status=ProposalStatus.ACTIVATED,
        proposed_by="ann",
        proposed_attested_by="gateway",
        proposed_at=since,
        expires_at=since,
        commitments={},
        decided_at=since,
        in_force_until=until,
    )


class Sky:
    """What an ``Observations`` sees: proposals, the log's time, and two clocks."""

    def __init__(self, *proposals: Proposal) -> None:
        self.proposals: Sequence[Proposal] = proposals
        self.logged = 0.0
        self.wall = 1_000.0
        self.real = 0.0
        self.broken = False
        self.changes: list[list[str]] = []
        self.observations = Observations(
            self.in_force,
            self.newest,
            ForwardClock(lambda: self.wall, lambda: self.real),
            lambda now: self.changes.append([one.hand for one in now]),
            lambda: self.real,
        )

    async def in_force(self) -> Sequence[Proposal]:
        if self.broken:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return [one for one in self.proposals if one.in_force(self.wall)]

    async def newest(self) -> float:
        return self.logged

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.real += seconds

    @property
    def observed(self) -> bool:
        return self.observations.observed("default", "known")


async def test_it_begins_with_the_first_look_and_ends_at_the_second_that_was_said() -> None:
    sky = Sky(proposal(until=2_000.0))
    assert not sky.observed
    await sky.observations.refresh()
    assert sky.observed
    sky.pass_(10)
    sky.wall = 1_999.9
    assert sky.observed
    sky.wall = 2_000.0
    assert not sky.observed, "nobody had to look again"
    assert sky.observations.now() == []


async def test_a_clock_set_back_makes_no_observation_last_longer() -> None:
    sky = Sky(proposal(until=2_000.0))
    await sky.observations.refresh()
    sky.pass_(999)
    await sky.observations.refresh()
    assert sky.observed
    sky.wall = 500.0
    sky.real += 2
    await sky.observations.refresh()
    assert not sky.observed


async def test_a_clock_set_back_over_a_restart_is_found_out_by_the_log() -> None:
    sky = Sky(proposal(until=2_000.0))
    sky.wall, sky.logged = 500.0, 2_001.0
    await sky.observations.refresh()
    assert not sky.observed


async def test_a_state_from_the_future_was_made_by_a_wrong_clock_and_does_not_count() -> None:
    """Somebody set a clock a year ahead, had two people activate fourteen days, and set the clock right again."""
    sky = Sky(proposal(since=1_000.0 + 365 * DAY, until=1_000.0 + 379 * DAY))
    await sky.observations.refresh()
    assert not sky.observed


async def test_what_ended_elsewhere_ends_here_with_the_next_look() -> None:
    sky = Sky(proposal())
    await sky.observations.refresh()
    sky.proposals = ()
    with capture_logs() as logs:
        await sky.observations.refresh()
    assert not sky.observed
    assert [log["log_level"] for log in logs] == ["warning"]


async def test_without_news_from_the_database_nothing_is_let_go_any_more() -> None:
    sky = Sky(proposal())
    await sky.observations.refresh()
    sky.broken = True
    with pytest.raises(Unavailable):
        await sky.observations.refresh()
    sky.pass_(STALE_SECONDS)
    assert sky.observed
    sky.pass_(0.1)
    assert not sky.observed


async def test_another_tenants_observation_loosens_nothing_here() -> None:
    sky = Sky(proposal(tenant="other"))
    await sky.observations.refresh()
    assert not sky.observed
    assert sky.observations.observed("other", "known")


async def test_of_two_states_of_one_hand_the_longer_counts() -> None:
    sky = Sky(proposal(until=5_000.0), proposal(until=3_000.0))
    await sky.observations.refresh()
    assert [one.until for one in sky.observations.now()] == [5_000.0]


async def test_it_is_loud_when_it_begins_and_again_and_again() -> None:
    sky = Sky(proposal())
    with capture_logs() as logs:
        await sky.observations.refresh()
        await sky.observations.refresh()
        sky.pass_(REMIND_SECONDS)
        await sky.observations.refresh()
    assert [log["hand"] for log in logs] == ["known"] * 3
    assert {log["log_level"] for log in logs} == {"warning"}
    assert sky.changes == [["known"]] * 3


# --- the engine ------------------------------------------------------------------------------------------------------


class Inner:
    """``ports.PolicyEngine``: says the same of every step."""

    digest = DIGEST
    epoch = 0

    def __init__(self, effect: str, *codes: str) -> None:
        self.said = decision(effect, *codes)

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        return {one["id"]: dataclasses.replace(self.said, step_id=one["id"]) for one in policy_input["steps"]}

    async def hidden(self, menu: Mapping[str, Any]) -> set[str]:
        return {one["id"] for one in menu["steps"]}

    def basis(self, tenant: str, principal_id: str) -> str:
        return self.digest

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        return decision.policy_digest == self.digest

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        return {"severity": SEVERITIES[code]} if digest == DIGEST and code in SEVERITIES else None

    async def ready(self) -> None:
        """Always."""

    async def close(self) -> None:
        """Nothing to stop."""


async def test_only_steps_on_the_observed_hand_are_let_go_and_each_is_counted() -> None:
    sky = Sky(proposal("known"))
    await sky.observations.refresh()
    counted: list[tuple[str, str, Effect]] = []
    engine = ObservingEngine(Inner("deny", "a.high"), sky.observations, lambda *told: counted.append(told))
    found = await engine.decide(ask(step("a"), step("b", hand="other")))
    assert (found["a"].observed, found["b"].effect) == (Effect.DENY, Effect.DENY)
    assert counted == [("default", "known", Effect.DENY)]
    critical = ObservingEngine(Inner("deny", "a.critical"), sky.observations)
    assert (await critical.decide(ask(step("a"))))["a"].effect is Effect.DENY


async def test_nothing_of_an_observed_hand_is_hidden_while_it_is() -> None:
    sky = Sky(proposal("known", until=2_000.0))
    engine = ObservingEngine(Inner("deny", "a.high"), sky.observations)
    asked = ask(step("a"), step("b", hand="other"))
    before = engine.basis("default", "bot")
    await sky.observations.refresh()
    assert await engine.hidden(asked) == {"b"}
    assert await engine.hidden({**asked, "tenant": "acme"}) == {"a", "b"}
    assert engine.basis("default", "bot") != before
    assert engine.basis("acme", "bot") == before
    sky.wall = 2_000.0
    assert await engine.hidden(asked) == {"a", "b"}
    assert engine.basis("default", "bot") == before


async def test_what_was_let_go_and_has_not_run_yet_falls_with_the_observation() -> None:
    sky = Sky(proposal(until=2_000.0))
    await sky.observations.refresh()
    engine = ObservingEngine(Inner("deny", "a.high"), sky.observations)
    let_go = (await engine.decide(ask(step("a"))))["a"]
    assert engine.stands("default", "bot", "known", let_go)
    assert not engine.stands("default", "bot", "other", let_go)
    sky.wall = 2_000.0
    assert not engine.stands("default", "bot", "known", let_go)
    assert (await engine.decide(ask(step("a"))))["a"] == dataclasses.replace(decision("deny", "a.high"), step_id="a")


async def test_where_nothing_is_observed_the_answer_is_the_engines_own() -> None:
    inner = Inner("deny", "a.high")
    engine = ObservingEngine(inner, Sky().observations)
    asked = ask(step("a"))
    assert await engine.decide(asked) == await inner.decide(asked)
