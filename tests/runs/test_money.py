"""What answers cost: counted by the operator's prices, shown, limited, and told to policies."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.model import TurnKind
from gateway.reasons import Reason
from gateway.runs import money
from gateway.settings import BrainSettings, Settings
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import StandIn
from tests.meta.tree import ROOT
from tests.runs.world import Desk, model_hand, rules, sent, world

PRICES: dict[str, Any] = {"currency": "EUR", "input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write": 3.75}
PRICED = {"claude": {"model": "claude-opus-4-6", "prices": PRICES}}
LOOK = tool_use("desk__look", {"text": "x"}, "a")


@pytest.mark.parametrize(
    ("usage", "millionths"),
    [
        ({}, 0),
        ({"input": 30, "output": 12}, 270),
        ({"input": 1}, 3),
        ({"cache_read": 1}, 1),
        ({"cache_read": 10, "cache_write": 4}, 18),
        ({"output": 2**53}, 15 * 2**53),
    ],
    ids=["nothing", "in and out", "whole", "rounded up", "caches", "a lie"],
)
def test_what_an_answer_costs(usage: dict[str, int], millionths: int) -> None:
    brain = BrainSettings(model="m", prices=PRICES)
    assert money.price(brain, "EUR", usage) == millionths
    assert money.after(100, brain, "EUR", usage) == 100 + millionths


def test_what_nobody_knows_stays_unknown() -> None:
    priced, bare = BrainSettings(model="m", prices=PRICES), BrainSettings(model="m")
    assert money.after(100, bare, "EUR", {"input": 1}) is None
    assert money.after(100, None, "EUR", {"input": 1}) is None
    assert money.after(100, priced, "USD", {"input": 1}) is None
    assert money.after(None, priced, "EUR", {"input": 1}) is None


def test_a_limit_is_rounded_down() -> None:
    assert [money.limit(one) for one in (0.1, 0.000001, 2.9999999, 1e9)] == [100_000, 1, 2_999_999, 10**15]
    assert money.longest(BrainSettings(model="m", prices=PRICES), 44) == 2
    assert money.longest(BrainSettings(model="m", prices={**PRICES, "output": 0}), 44) is None


@pytest.mark.parametrize(
    ("brains", "more"),
    [
        ({"a": {"prices": {**PRICES, "currency": "USD"}}, "b": {"prices": PRICES}}, {}),
        ({"a": {}}, {"runs": {"money_max": 1}}),
        ({"a": {"prices": {name: value for name, value in PRICES.items() if name != "cache_write"}}}, {}),
        ({"a": {"prices": {**PRICES, "input": -1}}}, {}),
        ({"a": {"prices": {**PRICES, "currency": "euro"}}}, {}),
    ],
    ids=["two currencies", "a limit without prices", "a price left out", "a negative price", "no currency"],
)
def test_settings_by_which_nothing_could_be_counted_are_refused(brains: dict[str, Any], more: dict[str, Any]) -> None:
    hands = {"h": {"adapter": "anthropic", "base_url": "https://x.example"}}
    known = {name: {"model": "m", "hand": "h", **one} for name, one in brains.items()}
    with pytest.raises(ValueError, match=r"brains|runs"):
        Settings(hands=hands, brains=known, **more)


async def test_what_a_run_costs_is_shown_everywhere(tmp_path: Path, api: StandIn, at: Desk) -> None:
    async with world(tmp_path, api, at, brains=PRICED) as here:
        api.script(
            message(LOOK, input_tokens=30, output_tokens=12), message("Done.", input_tokens=50, output_tokens=10)
        )
        view = await here.run()
        assert (view["spent"], view["currency"], view["budget"]["money"]) == (0.00057, "EUR", None)
        [listed] = (await here.json("GET", "/v1/runs"))["runs"]
        assert (listed["spent"], listed["currency"]) == (0.00057, "EUR")
        told = [data for _, name, data in await here.events(view["run_id"]) if name == "turn"]
        assert [one["spent"] for one in told if one["kind"] == "model" and one["status"] == "done"] == [0.00027, 0.0003]
        turns = await here.gateway.runs.parts.store.turns(view["run_id"])
        assert [turn.turn.spent for turn in turns] == [0, 270, 270, 570]
        assert turns[-1].turn.kind is TurnKind.END
    async with world(tmp_path, api, at) as here:
        later = await here.json("GET", f"/v1/runs/{view['run_id']}")
        assert later["spent"] == view["spent"], "prices that are gone change nothing that was counted"
        api.script(message("Done."))
        assert "spent" not in await here.run()


async def test_a_budget_in_money_ends_a_run_before_more_is_spent(tmp_path: Path, api: StandIn, at: Desk) -> None:
    async with world(tmp_path, api, at, brains=PRICED, runs={"money_max": 0.5}) as here:
        api.script(message(LOOK, input_tokens=60, output_tokens=10))
        view = await here.run(budget={"money": 0.0002})
        assert (view["status"], view["error"]["code"], view["error"]["problem"]) == ("failed", "run.budget", "money")
        assert (view["spent"], view["budget"]["money"]) == (0.00033, 0.0002)
        assert sent(api)["max_tokens"] == 13, "no longer answer than what is left pays for"
        assert at.calls == []
        assert len(api.asked) == 1
        assert here.recorded("RUNSTA")[0]["facts"]["money"] == 200
        ended = here.recorded("RUNEND")[0]
        assert (ended["reasons"], ended["facts"]["problem"]) == (["run.budget"], "money")
        view = await here.run(budget={"money": 0.000001})
        assert (view["error"]["problem"], view["spent"]) == ("money", 0)
        assert len(api.asked) == 1, "not a token is paid for"
        over = await here.json("POST", "/v1/runs", {"prompt": "p", "budget": {"money": 0.6}}, expect=400)
        assert (over["pointer"], over["expected"]) == ("/budget/money", "at most 0.5")
        for wrong in (0, -1, "1", 1e10):
            await here.json("POST", "/v1/runs", {"prompt": "p", "budget": {"money": wrong}}, expect=400)


async def test_a_budget_in_money_goes_to_brains_with_prices_alone(tmp_path: Path, api: StandIn, at: Desk) -> None:
    hands = {name: model_hand(api.url) for name in ("claude", "spare")}
    brains = {
        "claude": {"model": "first", "cost": 1},
        "spare": {"model": "second", "cost": 2, "prices": PRICES, "fallback": ["claude"]},
    }
    async with world(tmp_path, api, at, hands=hands, brains=brains) as here:
        api.script(message("Priced."), message("Not priced."))
        assert (await here.run(budget={"money": 1}))["brain"] == "spare"
        view = await here.run()
        assert (view["brain"], view["spent"], view["currency"]) == ("claude", None, "EUR")
        body = {"prompt": "p", "brain": "claude", "budget": {"money": 1}}
        refused = await here.json("POST", "/v1/runs", body, expect=422)
        assert refused["code"] == Reason.RUN_NO_BRAIN
        assert "prices" in refused["why"]


async def test_a_policy_sees_what_a_run_costs(tmp_path: Path, api: StandIn, at: Desk) -> None:
    """The rule of the page: over so much a person is asked."""
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    [rule] = re.findall(r"^```rego\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    package = rules(tmp_path) / "handrail"
    (package / "run_costs").mkdir()
    (package / "run_costs" / "run_costs.rego").write_text(rule.replace(">= 2", ">= 0.0003"))
    with (package / "decisions.rego").open("a") as decisions:
        decisions.write("\ndecisions contains decision if some decision in data.handrail.run_costs.decisions\n")
    async with world(tmp_path, api, at, brains=PRICED) as here:
        api.script(message(LOOK, input_tokens=60, output_tokens=10))
        run_id = await here.begin()
        view = await here.reaches(run_id, "waiting")
        assert len(api.asked) == 1
        shown = await here.json("GET", f"/v1/approvals/{view['approvals'][0]}", who="bob")
        assert "run_costs.ask" in json.dumps(shown)
        api.script(message("Paid for."))
        await here.json("POST", f"/v1/approvals/{view['approvals'][0]}", {"answer": "approve"}, who="bob")
        assert (await here.ended(run_id))["text"] == "Paid for."
