"""A freeze by another gateway that comes on record right before each of the nine steps. Whenever it comes, no intent is
on record after it, and what was under way is on record as what it is."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.freeze import Scope
from gateway.model import Answer
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.stages import approval, credential, dispatch, ingress, policy, result, schema, standing, verify
from tests.freeze.support import Stuck, freeze
from tests.pipeline.house import AGENT, APPROVER, House, close_house, open_house, step
from tests.pipeline.remote import claim, give, note, offered, remote_house

SCOPES = {Scope.ALL: None, Scope.HAND: "tool", Scope.PRINCIPAL: AGENT.id, Scope.CONTEXT: "journey"}
BEFORE_THE_RECORD = {
    "1 ingress": (ingress, "admit"),
    "2 verify": (verify, "verify"),
    "3 schema": (schema, "admit"),
    "3 schema of each step": (schema, "check_steps"),
    "4 policy": (policy, "decide"),
    "5 approval": (approval, "hold"),
    "6 credential": (credential, "mint"),
}


class Elsewhere:
    """Another gateway, in a thread and event loop of its own: what it does is done when the call returns."""

    def __init__(self, house: House, scope: Scope) -> None:
        self.house, self.scope, self.frozen = house, scope, 0

    def freeze(self) -> None:
        if not self.frozen:
            self.frozen += 1
            thread = threading.Thread(target=asyncio.run, args=(self._work(),))
            thread.start()
            thread.join()

    def before(self, stage: Callable[..., Any]) -> Callable[..., Any]:
        def after(*args: Any, **kwargs: Any) -> Any:
            self.freeze()
            return stage(*args, **kwargs)

        return after

    async def _work(self) -> None:
        home = self.house.settings.home
        journal = home / "elsewhere"
        journal.mkdir()
        other = await open_house(home, gateway="gw-elsewhere", brain=self.house.brain, journal=journal, start=False)
        try:
            made = await freeze(other, self.scope, SCOPES[self.scope])
            assert made["recorded"]
        finally:
            await close_house(other)


def nothing_is_let_go_after_the_freeze(house: House) -> None:
    codes = house.codes()
    assert "STPDSP" not in codes[codes.index("FRZSET") :]
    assert "CRDISS" not in codes[codes.index("FRZSET") :]


@pytest.fixture
async def used(house: House) -> House:
    """A context that somebody used, so that it can be frozen."""
    await house.plan(step("first"), context_id="journey")
    house.hands.calls.clear()
    return house


@pytest.mark.parametrize("stage", BEFORE_THE_RECORD)
@pytest.mark.parametrize("scope", Scope)
async def test_a_freeze_before_the_record_lets_nothing_go(
    used: House, monkeypatch: pytest.MonkeyPatch, stage: str, scope: Scope
) -> None:
    module, name = BEFORE_THE_RECORD[stage]
    other = Elsewhere(used, scope)
    monkeypatch.setattr(module, name, other.before(getattr(module, name)))
    if scope is Scope.HAND:
        view = await used.plan(step("a"), step("b", depends_on=["a"]), context_id="journey")
        assert [one["status"] for one in view["steps"]] == ["denied", "denied"]
        assert view["steps"][0]["error"]["code"] == "freeze.active"
    else:
        with pytest.raises(Refused) as refused:
            await used.plan(step("a"), context_id="journey")
        assert refused.value.reason is Reason.FREEZE_ACTIVE
    assert other.frozen == 1
    assert used.hands.calls == []
    nothing_is_let_go_after_the_freeze(used)


async def test_a_freeze_right_before_the_intent_is_written_refuses_the_append(
    used: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment: everything was judged, minted and checked, and the log's writer is about to be asked."""
    append, other = used.log.append, Elsewhere(used, Scope.ALL)

    async def late(item: Append) -> Any:
        if any(draft.type == "STPDSP" for draft in item.entries):
            other.freeze()
        return await append(item)

    monkeypatch.setattr(used.log, "append", late)
    with pytest.raises(Refused) as refused:
        await used.plan(step("a"), context_id="journey")
    assert refused.value.reason is Reason.FREEZE_ACTIVE
    assert used.hands.calls == []
    nothing_is_let_go_after_the_freeze(used)


async def test_a_freeze_set_here_while_the_intent_is_written_cancels_the_call_before_it_begins(
    used: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = used.log.append

    async def late(item: Append) -> Any:
        indices = await append(item)
        if any(draft.type == "STPDSP" for draft in item.entries):
            await freeze(used, Scope.ALL)
        return indices

    monkeypatch.setattr(used.log, "append", late)
    view = await used.plan(step("a"), step("b", depends_on=["a"]), context_id="journey")
    assert [one["status"] for one in view["steps"]] == ["cancelled", "denied"]
    assert view["steps"][0]["error"]["code"] == "freeze.active"
    assert used.hands.calls == []
    assert "STPCAN" in used.codes()
    assert view["steps"][0]["receipt"].count(".") == 2


async def test_a_freeze_elsewhere_right_before_the_dispatch_ends_the_call_at_the_next_look(
    used: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, hand = Elsewhere(used, Scope.PRINCIPAL), Stuck()
    used.hands.behaviour["echo"] = hand
    monkeypatch.setattr(dispatch, "dispatch", other.before(dispatch.dispatch))
    view = await used.plan(step("a"), step("b", depends_on=["a"]), context_id="journey")
    assert hand.ended.is_set()
    assert [one["status"] for one in view["steps"]] == ["ambiguous", "denied"]
    nothing_is_let_go_after_the_freeze(used)


@pytest.mark.parametrize("scope", Scope)
async def test_a_freeze_while_the_hand_works_ends_its_call_as_ambiguous(used: House, scope: Scope) -> None:
    hand = Stuck()
    used.hands.behaviour["echo"] = hand
    task = asyncio.create_task(used.plan(step("a"), step("b", depends_on=["a"]), context_id="journey"))
    await hand.reached.wait()
    made = await freeze(used, scope, SCOPES[scope])
    view = await task
    assert hand.ended.is_set()
    assert [(one["status"], one["error"]["code"]) for one in view["steps"]] == [
        ("ambiguous", "freeze.active"),
        ("denied", "freeze.active"),
    ]
    assert (made["running"], made["held"]) == (1, 0)
    frozen = next(entry for entry in used.entries() if entry["type"] == "FRZSET")
    assert (frozen["facts"]["running"], frozen["facts"]["cause"], frozen["principal"]) == (1, "drill", "p-chief")
    nothing_is_let_go_after_the_freeze(used)
    assert used.hands.rested == (["tool"] if scope is Scope.HAND else [])


@pytest.mark.parametrize("stage", ["8 result", "9 record"])
async def test_a_call_that_ended_before_the_freeze_keeps_its_outcome_and_nothing_follows_from_it(
    used: House, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    other = Elsewhere(used, Scope.ALL)
    if stage == "8 result":
        monkeypatch.setattr(result, "settle", other.before(result.settle))
    else:
        monkeypatch.setattr(type(used.pipeline.recorder), "outcome", other.before(type(used.pipeline.recorder).outcome))
    view = await used.plan(step("a"), step("b", depends_on=["a"]), context_id="journey")
    assert [one["status"] for one in view["steps"]] == ["succeeded", "denied"]
    assert view["steps"][1]["error"]["code"] == "freeze.active"
    assert len(used.hands.calls) == 1
    nothing_is_let_go_after_the_freeze(used)


async def test_a_remote_hand_s_result_that_comes_beside_a_freeze_elsewhere_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The freeze is on record before the outcome is, so nothing may go on from that result: the append finds it."""
    house = await remote_house(tmp_path)
    try:
        view = await house.submit(house.brain.payload(note("a")), wait=0)
        await house.until_settled(view["plan_id"])
        [step_jti] = await offered(house)
        handed = await claim(house, step_jti)
        monkeypatch.setattr(result, "settle", Elsewhere(house, Scope.ALL).before(result.settle))
        with pytest.raises(Refused) as refused:
            await give(house, step_jti, handed)
        assert refused.value.reason is Reason.RESULT_LATE
        [state] = (await house.pipeline.load(view["plan_id"])).view()["steps"]
        assert (state["status"], state["error"]["code"]) == ("ambiguous", "freeze.active")
        codes = house.codes()
        assert codes[codes.index("FRZSET") :] == ["FRZSET", "STPAMB", "RESREF"], "what it said is on record"
    finally:
        await close_house(house)


async def test_a_freeze_between_an_answer_and_its_dispatch_voids_the_answer(
    used: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used.plan(step("w", "write"), context_id="journey")
    (waiting,) = (await used.approvals.list(APPROVER))["approvals"]
    other = Elsewhere(used, Scope.ALL)
    monkeypatch.setattr(standing, "outdated", other.before(standing.outdated))
    await used.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE)
    view = await used.until_settled(waiting["plan_id"])
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == ("denied", "freeze.active")
    assert used.hands.calls == []
    nothing_is_let_go_after_the_freeze(used)


async def test_a_hand_that_does_not_let_go_keeps_no_step_running(used: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.halts.KILL_SECONDS", 0.05)
    reached, release = asyncio.Event(), asyncio.Event()

    async def stubborn(call: Any) -> Any:
        reached.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise ValueError("nobody hears this")

    used.hands.behaviour["echo"] = stubborn
    task = asyncio.create_task(used.plan(step("a"), context_id="journey"))
    await reached.wait()
    await freeze(used, Scope.ALL)
    assert (await task)["steps"][0]["status"] == "ambiguous"
    release.set()


def test_the_table_names_every_step_before_the_record() -> None:
    assert {name.split()[0] for name in BEFORE_THE_RECORD} == {"1", "2", "3", "4", "5", "6"}
