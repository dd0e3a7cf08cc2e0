"""Whole plans while bundles are activated and gone back from: none is dropped, each decision names its one bundle."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from handrail import Trust, verify_receipt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from audit.fsck import check
from gateway.errors import HandrailError
from gateway.model import Answer, Effect, UnverifiedPlan
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from tests.lifecycle.repository import Repository
from tests.lifecycle.town import ALLOW, ASK, Town, open_town
from tests.pipeline.house import Brain, step
from tests.until import until
from tests.web.conftest import serving

PLANS = 40
EVALUATORS = 2
RULES = """package handrail

decisions contains decision if {
	some step in input.steps
	step.action == "free"
	decision := {"step": step.id, "effect": "allow", "reasons": [{"code": "test.free", "message": "NOTE"}]}
}

decisions contains decision if {
	some step in input.steps
	step.action == "asked"
	decision := {"step": step.id, "effect": "ask", "reasons": [{"code": "test.asked", "message": "WORDS"}]}
}
"""
SCHEMA = {"type": "object", "properties": {"text": {}}, "required": ["text"], "additionalProperties": False}


def rules(note: str, words: str = "A person must look.") -> dict[str, str]:
    return {"handrail/main.rego": RULES.replace("NOTE", note).replace("WORDS", words)}


@dataclass
class Upstream:
    """What the hand reaches: some calls wait there until the test lets them go."""

    calls: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def handle(self, request: Request) -> JSONResponse:
        said = (await request.json())["text"]
        self.calls.append(str(said))
        if str(said).startswith("slow"):
            self.waiting += 1
            await self.go.wait()
        return JSONResponse({"said": said})


@asynccontextmanager
async def busy(home: Path, repository: Repository) -> AsyncIterator[tuple[Town, Upstream, Brain]]:
    upstream = Upstream()
    app = Starlette(routes=[Route("/do", upstream.handle, methods=["POST"])])
    async with serving(app, Settings(server={"port": 0})) as port:
        action = {"method": "POST", "path": "/do", "args_schema": SCHEMA, "side_effects": "reversible"}
        hand = {
            "adapter": "http",
            "base_url": f"http://127.0.0.1:{port}",
            "private_network": True,
            "actions": {"free": action, "asked": action},
        }
        town = await open_town(home, repository, hands={"tool": hand}, workers=EVALUATORS)
        gateway, brain = town.gateway, Brain()
        sec = town.people["sec"]
        for name in ("bob", "cy"):
            await gateway.directory.add_principal(sec, NewPrincipal(name, ["approver"]))
            town.people[name] = await gateway.directory.principal("default", name)
        public = {**brain.key.as_dict(private=False), "kid": brain.kid, "alg": "Ed25519"}
        await gateway.directory.add_issuer(sec, "brain", public, ["bot"])
        await gateway.hands.settled()
        await gateway.hands.pin("tool", gateway.hands.describe_one("default", "tool")["offered_digest"], sec)
        try:
            yield town, upstream, brain
        finally:
            upstream.go.set()
            await gateway.close()


async def submit(town: Town, brain: Brain, *actions: dict[str, Any]) -> dict[str, Any]:
    payload = brain.payload(*actions, sub="bot", aud=town.gateway.log.origin)
    plan = UnverifiedPlan(brain.sign(payload), town.people["bot"], town.gateway.clock())
    return await town.gateway.pipeline.submit(plan)


def plan_of(number: int) -> list[dict[str, Any]]:
    """A running, a held and two deferred steps: one waits for the running one's result, one for the held one."""
    said = {"$step": "run", "pointer": "/structured/said"}
    return [
        step("run", "free", args={"text": f"slow {number}"}),
        step("hold", "asked", args={"text": f"held {number}"}),
        step("later", "asked", depends_on=["run"], args={"text": said}),
        step("last", "free", depends_on=["hold"], args={"text": f"last {number}"}),
    ]


async def answer_all(town: Town) -> int:
    """Approve whatever waits; an answer that an activation was faster than is given again in the next round."""
    open_ = (await town.gateway.approvals.list(town.people["bob"], "open", limit=100))["approvals"]
    for one in open_:
        try:
            await town.gateway.approvals.answer(one["id"], town.people["bob"], answer=Answer.APPROVE)
        except HandrailError as error:
            if error.reason not in {Reason.APPROVAL_CLOSED, Reason.APPROVAL_VOIDED, Reason.APPROVAL_MISMATCH}:
                raise
    return len(open_)


async def test_whole_plans_go_through_activations_and_rollbacks(tmp_path: Path, repository: Repository) -> None:
    async with busy(tmp_path / "home", repository) as (town, upstream, brain):
        gateway = town.gateway
        digests = [await town.put_in_force(rules("first"))]
        few = asyncio.Semaphore(EVALUATORS)  # nobody queues for an evaluator: who waits too long is denied

        async def one(number: int) -> dict[str, Any]:
            async with few:
                return await submit(town, brain, *plan_of(number))

        views = await asyncio.gather(*(one(number) for number in range(PLANS)))
        await until(lambda: upstream.waiting == PLANS)
        asked = {view["plan_id"]: view["steps"][1]["approval_id"] for view in views}

        async def change() -> None:
            digests.append(await town.put_in_force(rules("second")))
            await town.rollback(digests[0])
            digests.append(await town.put_in_force(rules("third")))
            upstream.go.set()
            digests.append(await town.put_in_force(rules("fourth", "A person must look, twice.")))
            await town.rollback(digests[1])
            await town.rollback(digests[3])

        changing = asyncio.create_task(change())
        late = [await submit(town, brain, *plan_of(PLANS + number)) for number in range(4)]
        await until(lambda: changing.done() or upstream.go.is_set())

        async def nothing_is_left() -> bool:
            return changing.done() and not await answer_all(town)

        await until(nothing_is_left, seconds=120)
        await changing

        async def rest() -> bool:
            await answer_all(town)
            found = [(await gateway.pipeline.load(view["plan_id"])).view() for view in (*views, *late)]
            return all(one["status"] == "done" for one in found)

        await until(rest, seconds=120)
        done = [(await gateway.pipeline.load(view["plan_id"])).view() for view in (*views, *late)]
        statuses = {one["status"] for plan in done for one in plan["steps"]}
        assert statuses == {"succeeded"}, "no plan is dropped, and nothing is denied that both bundles let go"
        assert len(upstream.calls) == len(set(upstream.calls)) + PLANS + 4, "each once; 'later' repeats what 'run' said"
        assert {one["decision"]["policy_digest"] for plan in done for one in plan["steps"]} <= set(digests)
        assert {plan["steps"][0]["decision"]["policy_digest"] for plan in done[:PLANS]} == {digests[0]}, (
            "what was running finished as it was decided"
        )
        assert len(asked) == PLANS
        await verify(town, done, digests)


async def verify(town: Town, done: list[dict[str, Any]], digests: list[str]) -> None:
    """Every receipt holds; every decision, grant and call of a step is of one bundle, which decided then."""
    trust = Trust.from_document(town.gateway.trust())
    auditor = town.people["bot"]
    entries = town.entries()
    for plan in done:
        for one in plan["steps"]:
            file = await town.gateway.evidence.receipt(one["receipt_id"], auditor)
            proof = await town.gateway.evidence.proof(one["receipt_id"], auditor)
            report = verify_receipt(json.dumps({**file, "proof": proof}).encode(), trust)
            assert report is not None
        about = [entry for entry in entries if entry.get("plan_id") == plan["plan_id"]]
        assert {entry["policy_digest"] for entry in about if entry.get("policy_digest")} <= set(digests)
        for one in plan["steps"]:
            mine = [entry for entry in about if entry.get("step_id") == one["id"]]
            ran = next(entry for entry in mine if entry["type"] == "STPDSP")
            before = mine[: mine.index(ran)]
            judged = [entry for entry in before if entry["type"] in {"POLALW", "APRREQ", "APRREB"}][-1]
            assert judged["policy_digest"] == ran["policy_digest"] == one["decision"]["policy_digest"]
            if judged["effect"] == Effect.ASK:
                granted = [entry for entry in before if entry["type"] == "APRGRT"][-1]
                assert granted["policy_digest"] == ran["policy_digest"], "approved and run under one bundle"
                assert before.index(granted) > before.index(judged)
    assert list(check(town.gateway.engine)) == []


async def test_requests_keep_their_ids_through_bundles_that_ask_the_same(
    tmp_path: Path, repository: Repository
) -> None:
    async with busy(tmp_path / "home", repository) as (town, upstream, brain):
        upstream.go.set()
        first = await town.put_in_force(rules("first"))
        views = [await submit(town, brain, step("hold", "asked")) for _ in range(5)]
        ids = {view["steps"][0]["approval_id"] for view in views}

        async def all_under(digest: str) -> bool:
            page = await town.gateway.approvals.list(town.people["bob"], "open", limit=100)
            return {one["binding"]["policy_digest"] for one in page["approvals"]} == {digest}

        second = await town.put_in_force(rules("second"))
        await until(lambda: all_under(second))
        await town.rollback(first)
        await until(lambda: all_under(first))
        page = await town.gateway.approvals.list(town.people["bob"], "open", limit=100)
        assert {one["id"] for one in page["approvals"]} == ids
        third = await town.put_in_force(rules("first", "Other words."))
        await until(lambda: all_under(third))
        page = await town.gateway.approvals.list(town.people["bob"], "open", limit=100)
        assert not {one["id"] for one in page["approvals"]} & ids
        assert {one["reasons"][0]["message"] for one in page["approvals"]} == {"Other words."}


# --- a real OPA server ------------------------------------------------------------------------------------------------


async def test_a_real_opa_decides_by_what_two_people_activated(
    tmp_path: Path, repository: Repository, opa_url: str
) -> None:
    async def open_() -> Town:
        return await open_town(tmp_path / "home", repository, engine="opa", opa_url=opa_url)

    town = await open_()
    assert (await town.decide()).reasons[0].code == "policy.unavailable", "nothing was activated yet"
    allow = await town.put_in_force(ALLOW)
    decision = await town.decide()
    assert (decision.effect, decision.policy_digest) == (Effect.ALLOW, allow)
    asks = await town.put_in_force(ASK)
    assert (await town.decide()).effect is Effect.ASK
    await town.rollback(allow)
    decision = await town.decide()
    assert (town.digest, decision.effect, decision.policy_digest) == (allow, Effect.ALLOW, allow)
    await town.gateway.close()
    town = await open_()
    decision = await town.decide()
    assert (town.digest, decision.effect, decision.policy_digest) == (allow, Effect.ALLOW, allow)
    await town.rollback(asks)
    assert (await town.decide()).effect is Effect.ASK
    assert (await town.gateway.ready())["policy"] == "ok"
    await town.gateway.close()


async def test_a_bundle_that_opa_cannot_take_is_not_kept_and_the_old_one_decides(
    tmp_path: Path, repository: Repository, opa_url: str
) -> None:
    town = await open_town(tmp_path / "home", repository, engine="opa", opa_url=opa_url)
    allow = await town.put_in_force(ALLOW)
    with pytest.raises(HandrailError) as refused:
        await town.add(town.bundle({"handrail/main.rego": "package handrail\n\ndecisions := {\n"}))
    assert refused.value.reason is Reason.POLICY_BUNDLE
    assert (await town.decide()).policy_digest == allow
    await town.gateway.close()
