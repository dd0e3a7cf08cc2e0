"""Each obligation, from a rule's own words to where it binds; the page for authors lists them all, and no other."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import structlog

from audit.query import Filter
from gateway.calls import HandCall, HandResult
from gateway.canonical import b64url_decode, parse
from gateway.commitments import person_key
from gateway.errors import HandrailError, Refused
from gateway.manifest import MESSAGES, MODEL, ActionManifest, Manifest
from gateway.model import Answer, Obligations, Principal, Role
from gateway.policy.decisions import decide
from gateway.reasons import Reason
from tests.meta.tree import ROOT
from tests.pipeline.house import AGENT, APPROVER, SECOND, House, step
from tests.pipeline.owners import owners

ANYTHING: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
NOT_YET: dict[str, object] = {}
"""Obligations that are defined and not carried out: whoever demands one is denied."""


def demanded(effect: str = "allow", **obligations: object) -> Obligations:
    """What the gateway makes of a rule's answer with these obligations."""
    answer = [{"step": "s", "effect": effect, "reasons": [], "obligations": obligations}]
    decision = decide(["s"], answer, "d" * 64)["s"]
    assert str(decision.effect) == effect
    return decision.obligations


async def redacted(house: House) -> None:
    house.policy.obligations = demanded(redact=["/structured/said"])
    view = await house.plan(step("a", args={"text": "jo@example.org"}))
    assert view["steps"][0]["result"]["structured"] == {"said": "[redacted]"}
    assert "jo@example.org" not in str(view)


async def taken_out(house: House) -> None:
    house.policy.obligations = demanded(redact_personal=["email"])
    view = await house.plan(step("a", args={"text": "jo@example.org has 4111 1111 1111 1111"}))
    assert view["steps"][0]["result"]["structured"] == {"said": "[redacted:email] has 4111 1111 1111 1111"}
    house.policy.obligations = demanded(redact_personal=["*"])
    view = await house.plan(step("b", args={"text": "jo@example.org has 4111 1111 1111 1111"}))
    assert view["steps"][0]["result"]["structured"] == {"said": "[redacted:email] has [redacted:card]"}


async def out_of_requests(house: House) -> None:
    """At the ingress that can change a request: ``tests.messages.test_redacted_first``. Everybody else is denied."""
    house.hands.manifests["model"] = Manifest("model", MODEL, {MESSAGES: ActionManifest(MESSAGES, "", ANYTHING)})
    house.policy.obligations = demanded(redact_request=["email"])

    def asking(text: str) -> dict[str, Any]:
        return step("q", MESSAGES, "model", args={"messages": [{"role": "user", "content": text}]})

    [held_back] = (await house.plan(asking("I am jo@example.org")))["steps"]
    assert (held_back["status"], held_back["error"]["code"]) == ("denied", "policy.unredacted")
    assert (held_back["error"]["pointer"], held_back["error"]["why"]) == ("/messages/0/content", "email")
    assert house.hands.calls == []
    await house.plan(asking("I am Jo"))
    assert len(house.hands.calls) == 1
    [elsewhere] = (await house.plan(step("a")))["steps"]
    assert elsewhere["error"]["code"] == "policy.obligation"


async def kept_small(house: House) -> None:
    house.policy.obligations = demanded(result_max_bytes=64)
    view = await house.plan(step("a", args={"text": "x" * 100}))
    assert house.hands.calls[-1].result_max_bytes == 64, "the adapter reads no more"
    assert view["steps"][0]["error"]["code"] == "hand.result_too_large"
    house.policy.obligations = demanded(result_max_bytes=67_108_864)
    await house.plan(step("b", "small"))
    assert house.hands.calls[-1].result_max_bytes == 256, "it never widens the manifest's own"


async def jailed(house: House) -> None:
    house.policy.obligations = demanded(jail_profile="strict")
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == "succeeded"
    assert house.hands.calls[-1].jail_profile == "strict"


async def held_to_hosts(house: House) -> None:
    house.policy.obligations = demanded(egress_hosts=["b.example", "a.example"])
    await house.plan(step("a"))
    assert house.hands.calls[-1].egress_hosts == ("a.example", "b.example")
    house.policy.obligations = demanded(egress_hosts=[])
    await house.plan(step("b"))
    assert house.hands.calls[-1].egress_hosts == (), "no host is something else than no word"
    assert Obligations.from_document(demanded(egress_hosts=[]).document()).egress_hosts == ()
    house.policy.obligations = demanded()
    await house.plan(step("c"))
    assert house.hands.calls[-1].egress_hosts is None


async def ended_in_time(house: House) -> None:
    house.policy.obligations = demanded(deadline_seconds=1.5)
    await house.plan(step("a"))
    assert house.hands.calls[-1].deadline_seconds == 1.5
    house.policy.obligations = demanded(deadline_seconds=3600)
    await house.plan(step("b"))
    assert house.hands.calls[-1].deadline_seconds == 30.0, "it never widens the manifest's own"


async def short_lived(house: House) -> None:
    house.policy.obligations = demanded(credential_ttl_seconds=7)
    await house.plan(step("a"))
    claims = claims_of(house.hands.calls[-1].credential)
    assert claims["exp"] - claims["iat"] == 7


async def held(house: House) -> str:
    view = await house.submit(house.brain.payload(step("w", "write")))
    return str(view["steps"][0]["approval_id"])


async def refusal(house: House, approval_id: str, person: Principal) -> Reason:
    with pytest.raises(Refused) as caught:
        await house.approvals.answer(approval_id, person, answer=Answer.APPROVE)
    return caught.value.reason


async def asked_of_a_role(house: House) -> None:
    house.policy.obligations = demanded("ask", approver_role="operator")
    approval_id = await held(house)
    assert await refusal(house, approval_id, APPROVER) is Reason.APPROVAL_ROLE
    operator = replace(APPROVER, roles=frozenset({Role.APPROVER, Role.OPERATOR}))
    house.directory.people["default", operator.id] = operator
    assert (await house.approvals.answer(approval_id, operator, answer=Answer.APPROVE))["status"] == "granted"


async def asked_of_several(house: House) -> None:
    house.policy.obligations = demanded("ask", quorum=2)
    approval_id = await held(house)
    assert (await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE))["status"] == "open"
    assert not house.hands.calls
    assert (await house.approvals.answer(approval_id, SECOND, answer=Answer.APPROVE))["status"] == "granted"


async def asked_with_a_key(house: House) -> None:
    house.policy.obligations = demanded("ask", enrolled_key=True)
    assert await refusal(house, await held(house), APPROVER) is Reason.APPROVAL_KEY


async def told_loudly(house: House) -> None:
    house.policy.obligations = demanded(log_level="error")
    with structlog.testing.capture_logs() as logs:
        await house.plan(step("a"))
    [told] = [line for line in logs if line["event"] == "step decided"]
    assert told["log_level"] == "error"


async def sealed_for_whom_it_names(house: House) -> None:
    house.policy.obligations = demanded(data_subjects=["Ann Example", "/text"])
    view = await house.plan(step("a", args={"text": "bob@example.com"}), step("b", args={"text": "bob@example.com"}))
    wanted = {person_key("ann example"), person_key("bob@example.com")}
    fields = house.log.reader.query(Filter(plan_id=view["plan_id"], type="STPEXE")).entries[0].fields
    assert owners(house, fields["args"]) == owners(house, fields["result"]) == wanted
    both = wanted | {f"default/{AGENT.id}/{view['context_id']}"}
    assert owners(house, fields["plan"]) == owners(house, fields["evaluation"]) == both


BINDS: dict[str, Callable[[House], Awaitable[None]]] = {
    "redact": redacted,
    "redact_personal": taken_out,
    "redact_request": out_of_requests,
    "result_max_bytes": kept_small,
    "jail_profile": jailed,
    "deadline_seconds": ended_in_time,
    "credential_ttl_seconds": short_lived,
    "approver_role": asked_of_a_role,
    "quorum": asked_of_several,
    "enrolled_key": asked_with_a_key,
    "data_subjects": sealed_for_whom_it_names,
    "egress_hosts": held_to_hosts,
    "log_level": told_loudly,
}


def claims_of(token: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = parse(b64url_decode(token.split(".")[1]))
    return found


@pytest.mark.parametrize("name", BINDS)
async def test_an_obligation_binds(house: House, name: str) -> None:
    await BINDS[name](house)


@pytest.mark.parametrize(
    "hosts",
    ["a.example", [1], ["A.example"], ["https://a.example"], ["a.example:443"], ["*.example"], [""], None, ["a b"]],
)
def test_hosts_that_could_match_nothing_deny(hosts: object) -> None:
    answer = [{"step": "s", "effect": "allow", "reasons": [], "obligations": {"egress_hosts": hosts}}]
    decision = decide(["s"], answer, "d" * 64)["s"]
    assert str(decision.effect) == "deny"


def test_of_several_decisions_the_hosts_hold_that_all_of_them_name() -> None:
    def merged(*several: list[str]) -> tuple[str, ...] | None:
        answer = [
            {"step": "s", "effect": "allow", "reasons": [], "obligations": {"egress_hosts": hosts}} for hosts in several
        ]
        return decide(["s"], answer, "d" * 64)["s"].obligations.egress_hosts

    assert merged(["a.example", "b.example"], ["b.example", "c.example"]) == ("b.example",)
    assert merged(["a.example"], ["b.example"]) == ()
    assert merged(["a.example"], []) == ()


def test_every_obligation_binds_or_denies_and_the_page_lists_each() -> None:
    known = {field.name for field in fields(Obligations)}
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    table = page.partition("| obligation | value |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))
    assert rows.keys() == known == BINDS.keys() | NOT_YET.keys()
    assert {name for name, enforced in rows.items() if enforced == "not yet: denies"} == NOT_YET.keys()


class NoSuchJail(HandrailError):
    """What a jail says to a profile that it does not have."""


@pytest.mark.parametrize("jail", [None, NoSuchJail(Reason.HAND_UNAVAILABLE, "no jail profile")])
async def test_where_no_jail_can_be_as_policy_wants_it_nothing_runs(
    house: House, jail: NoSuchJail | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confinement(hand: str, profile: str | None) -> None:
        if jail is not None and profile is not None:
            raise jail

    monkeypatch.setattr(house.hands, "confinement", confinement)
    house.policy.obligations = demanded(jail_profile="strict")
    view = await house.plan(step("a"))
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == ("failed", "policy.obligation")
    assert not house.hands.calls
    house.policy.obligations = demanded()
    assert (await house.plan(step("b")))["steps"][0]["status"] == "succeeded"


async def test_a_call_that_outlives_its_deadline_is_the_adapters_to_end(house: House) -> None:
    """The adapters' own tests hold them to it; here is what becomes of such a step."""

    async def late(call: HandCall) -> HandResult:
        raise TimeoutError(f"after {call.deadline_seconds} s")

    house.hands.behaviour["echo"] = late
    house.policy.obligations = demanded(deadline_seconds=0.1)
    assert (await house.plan(step("a")))["steps"][0]["status"] == "ambiguous"
