"""What models' answers use: on record, in the metric, and held against a limit of the context and of the principal."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message

from gateway.canonical import MAX_SAFE_INTEGER
from gateway.entries import EntryType
from tests.anthropic_api.answers import Answer, Cut, failure, stream
from tests.anthropic_api.blocks import message, streamed
from tests.anthropic_api.server import StandIn
from tests.messages.world import TOOLS, World, asking, bundle, world
from tests.meta.tree import ROOT
from tests.until import until

PAGE = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
HERE = {"x_handrail_context": "journey"}
NO_LIMIT: Mapping[str, Any] = {"context": {}, "principal": {}}


@asynccontextmanager
async def limited(home: Path, api: StandIn, limits: Mapping[str, Any], **more: Any) -> AsyncIterator[World]:
    """A gateway with these limits on tokens. The same home again is a restart."""
    rules = home / "policies"
    if not rules.exists():
        bundle(rules, {"code": sorted(TOOLS)})
    (rules / "handrail" / "tokens" / "data.json").write_text(json.dumps({**NO_LIMIT, **limits}))
    async with world(home, api, **more) as ready:
        yield ready


def using(read: int, written: int, words: str = "yes") -> Message:
    return message(words, input_tokens=read, output_tokens=written)


async def denied(ready: World, code: str, who: str = "bot", **headers: str) -> None:
    """A question is denied by this code, and does not reach the model."""
    before = len(ready.api.asked)
    answer = await ready.post(asking(), who, **headers)
    assert answer.status_code == 403, answer.text
    assert code in answer.text
    assert len(ready.api.asked) == before


async def answered(ready: World, whole: Message, who: str = "bot", **headers: str) -> None:
    ready.api.script(whole)
    answer = await ready.post(asking(), who, **headers)
    assert (answer.status_code, answer.json()["content"]) == (200, [{"type": "text", "text": "yes"}]), answer.text


def counted(ready: World, kind: str) -> float:
    """``handrail_model_tokens_total`` of the model's hand."""
    found = ready.gateway.metrics.registry.get_sample_value(
        "handrail_model_tokens_total", {"hand": "claude", "kind": kind}
    )
    return found or 0.0


async def facts(ready: World) -> list[tuple[Any, Any]]:
    """What each ending of a step says of tokens."""
    ended = await ready.entries(EntryType.STEP_EXECUTED, EntryType.STEP_FAILED, EntryType.STEP_AMBIGUOUS)
    said = [one.get("facts", {}) for one in ended]
    return [(one.get("input_tokens"), one.get("output_tokens")) for one in said]


async def test_entries_and_the_metric_say_what_answers_used(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(tmp_path, anthropic_api, {}) as ready:
        cached = using(7, 3)
        cached.usage.cache_read_input_tokens, cached.usage.cache_creation_input_tokens = 100, 1000
        await answered(ready, cached)
        ready.api.script(stream(*streamed(using(20, 5))))
        assert (await ready.post(asking(stream=True))).status_code == 200
        assert await facts(ready) == [(1107, 3), (20, 5)]
        assert (counted(ready, "input"), counted(ready, "output")) == (1127, 8)


async def test_what_a_batch_used_counts_when_its_results_are_fetched(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(tmp_path, anthropic_api, {"context": {"most": 50}}) as ready:
        ready.api.script(using(20, 5), failure(400), using(30, 1))
        asked = {"requests": [{"custom_id": name, "params": asking(name)} for name in "abc"]}
        made = await ready.post(asked, path="/anthropic/v1/messages/batches", **HERE)
        assert made.status_code == 200, made.text
        await ready.api.end_batches()
        key = {"x-api-key": ready.keys["bot"]}
        results = f"/anthropic/v1/messages/batches/{made.json()['id']}/results"
        assert (await ready.http.get(results, headers=key)).status_code == 200
        assert await facts(ready) == [(None, None), (50, 6)]
        await denied(ready, "tokens.context", **HERE)
        assert (await ready.http.get(results, headers=key)).status_code == 200


async def test_what_is_no_answer_uses_nothing(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(tmp_path, anthropic_api, {"context": {"most": 1}}) as ready:
        ready.api.script(failure(429))
        assert (await ready.post(asking(), **HERE)).status_code == 429
        count = {name: value for name, value in asking().items() if name != "max_tokens"}
        assert (await ready.post(count, path="/anthropic/v1/messages/count_tokens", **HERE)).status_code == 200
        assert await facts(ready) == [(None, None), (None, None)]
        assert counted(ready, "input") == 0
        await answered(ready, using(1, 0), **HERE)
        await denied(ready, "tokens.context", **HERE)
        assert (await ready.post(count, path="/anthropic/v1/messages/count_tokens", **HERE)).status_code == 200


async def test_an_answer_that_breaks_off_uses_what_was_said_until_then(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(tmp_path, anthropic_api, {"context": {"most": 500}}) as ready:
        begun = asyncio.Event()
        ready.api.script(stream(*streamed(using(500, 5))[:4], begun, Cut.BREAK))
        headers = {"x-api-key": ready.keys["bot"], "x-handrail-context": "journey"}
        url = f"{ready.base_url}/v1/messages"
        async with ready.http.stream("POST", url, json=asking(stream=True), headers=headers) as got:
            async for _ in got.aiter_raw():
                begun.set()
        [(read, _)] = await facts(ready)
        assert read == 500
        await denied(ready, "tokens.context", **HERE)


@pytest.mark.parametrize("limits", [{"context": {"most": 100}}, {"principal": {"hour": {"most": 100}}}])
async def test_a_restart_forgets_no_tokens(tmp_path: Path, anthropic_api: StandIn, limits: Mapping[str, Any]) -> None:
    code = "tokens.context" if "context" in limits else "tokens.principal"
    async with limited(tmp_path, anthropic_api, limits) as ready:
        await answered(ready, using(60, 39), **HERE)
        await answered(ready, using(1, 0), **HERE)
        await denied(ready, code, **HERE)
    async with limited(tmp_path, anthropic_api, limits, keys=ready.keys) as ready:
        await denied(ready, code, **HERE)
        await answered(ready, using(1, 0), "rival")  # what one used is not another's


async def test_a_fresh_context_sheds_no_tokens_of_the_principal(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(
        tmp_path, anthropic_api, {"context": {"most": 100}, "principal": {"day": {"most": 150}}}
    ) as ready:
        await answered(ready, using(90, 10), x_handrail_context="one")
        await denied(ready, "tokens.context", x_handrail_context="one")
        await answered(ready, using(90, 10), x_handrail_context="two")
        await denied(ready, "tokens.principal", x_handrail_context="three")


async def test_a_provider_that_lies_about_usage_breaks_no_record(tmp_path: Path, anthropic_api: StandIn) -> None:
    """What is no count counts nothing; what no reader can hold counts as the most that all can, or is no answer."""
    async with limited(tmp_path, anthropic_api, {}) as ready:
        for number in (2**53 - 1, 2**53, 2**63, -5, True, "7", 1.5, None, [7]):
            whole = json.loads(using(1, 1).to_json())
            whole["usage"] = {"input_tokens": number, "cache_read_input_tokens": number, "output_tokens": 1}
            ready.api.script(Answer([json.dumps(whole).encode()]))
            answer = await ready.post(asking())
            read, _ = (await facts(ready))[-1]
            if answer.status_code == 200:
                assert read == (MAX_SAFE_INTEGER if number == MAX_SAFE_INTEGER else 0)
            else:
                assert (answer.status_code, read) == (502, None), answer.text
        assert (MAX_SAFE_INTEGER, 1) in await facts(ready)


async def test_questions_at_once_are_all_counted(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with limited(tmp_path, anthropic_api, {"context": {"most": 40}}) as ready:
        ready.api.decide = lambda body: using(9, 1)
        answers = await asyncio.gather(*(ready.post(asking(str(n)), **HERE) for n in range(4)))
        assert [one.status_code for one in answers] == [200] * 4  # none of them is on record when all are judged
        assert counted(ready, "input") + counted(ready, "output") == 40
        await denied(ready, "tokens.context", **HERE)


async def test_the_limits_of_the_page(tmp_path: Path, anthropic_api: StandIn) -> None:
    [shown] = re.findall(r"^```json\n(\{\n  \"context\": \{\"ask_over\".*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    limits = json.loads(shown)
    asked_over, most = limits["context"]["ask_over"], limits["context"]["most"]
    async with limited(tmp_path, anthropic_api, limits) as ready:
        await answered(ready, using(asked_over - 1, 1), **HERE)
        held = await ready.post(asking(), **HERE)
        assert held.status_code == 200, held.text
        assert len(ready.api.asked) == 1
        ready.api.script(using(most - asked_over, 0))
        await ready.approve(held.json()["content"][0]["text"])

        async def again() -> bool:
            return len(await facts(ready)) == 2

        await until(again)
        assert (await ready.post(asking(), **HERE)).json()["content"] == [{"type": "text", "text": "yes"}]
        await denied(ready, "tokens.context", **HERE)
