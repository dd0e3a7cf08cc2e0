"""The ``anthropic`` SDK finds the same of tokens, models and batches, directly and through a gateway."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam

from gateway.entries import EntryType
from tests.anthropic_api.answers import ERROR_TYPES, Scripted, failure
from tests.anthropic_api.blocks import MODEL, message, tool_use
from tests.anthropic_api.server import StandIn
from tests.messages.pair import Pair, paired, shown

HELLO: list[MessageParam] = [{"role": "user", "content": "Say hello."}]
PATHS = {
    "count": ("POST", "/v1/messages/count_tokens"),
    "models": ("GET", "/v1/models"),
    "one model": ("GET", f"/v1/models/{MODEL}"),
    "batches": ("GET", "/v1/messages/batches"),
}


@pytest.fixture
async def pair(anthropic_api: StandIn, tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(anthropic_api, tmp_path) as both:
        yield both


async def count(client: AsyncAnthropic) -> Any:
    return await client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.")


async def beta_count(client: AsyncAnthropic) -> Any:
    asked: Any = HELLO
    return await client.beta.messages.count_tokens(model=MODEL, messages=asked, betas=["context-1m-2025-08-07"])


async def models(client: AsyncAnthropic) -> Any:
    return [model async for model in client.models.list(limit=1)]


async def models_before(client: AsyncAnthropic) -> Any:
    return (await client.models.list(before_id="claude-haiku-4-5", limit=20)).data


async def one_model(client: AsyncAnthropic) -> Any:
    return await client.models.retrieve(MODEL)


async def no_model(client: AsyncAnthropic) -> Any:
    return await client.models.retrieve("nobody")


async def batches(client: AsyncAnthropic) -> Any:
    return (await client.messages.batches.list()).data


ASKS = {"count": count, "models": models, "one model": one_model, "batches": batches}


async def make(client: AsyncAnthropic, *names: str) -> str:
    params = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
    requests: Any = [{"custom_id": name, "params": params} for name in names]
    return (await client.messages.batches.create(requests=requests)).id


async def test_tokens_and_models(pair: Pair) -> None:
    for ask in (count, beta_count, models, models_before, one_model, no_model):
        direct, through = await pair.both(ask)
        assert through == direct, ask.__name__
    assert (await pair.both(no_model))[1]["status"] == 404


async def test_every_status_of_an_error(pair: Pair) -> None:
    for name, (method, path) in PATHS.items():
        for status in sorted(ERROR_TYPES):
            busy = failure(status, "No.", retry_after="7")
            pair.api.script_other(method, path, busy, busy)
            direct, through = await pair.both(ASKS[name])
            assert through == direct, (name, status)
            assert (direct["status"], direct["headers"]["retry-after"]) == (status, "7")


async def test_the_life_of_a_batch(pair: Pair) -> None:
    made = {"direct": await make(pair.direct, "a", "b", "c"), "governed": await make(pair.governed, "a", "b", "c")}
    clients = {"direct": pair.direct, "governed": pair.governed}

    def same(found: Any) -> Any:
        """What was found of a batch, but for its id and where its results are."""
        return {name: value for name, value in shown(found).items() if name not in {"id", "results_url"}}

    async def each(what: str) -> list[Any]:
        return [same(await getattr(clients[name].messages.batches, what)(made[name])) for name in clients]

    first, second = await each("retrieve")
    assert first == second
    script: list[Scripted] = [message("one"), failure(529, "busy"), message("", tool_use("Bash", {"command": "ls"}))]
    whole = script[2]
    pair.api.script(*script, *script)
    await pair.api.end_batches()
    first, second = await each("retrieve")
    assert first == second
    found = [
        [shown(line) async for line in await clients[name].messages.batches.results(made[name])] for name in clients
    ]
    assert found[0] == found[1]
    assert [line["result"]["type"] for line in found[1]] == ["succeeded", "errored", "succeeded"]
    assert found[1][2]["result"]["message"] == shown(whole)
    assert [one["step_id"] for one in await pair.world.entries(EntryType.STEP_RELEASED)]
    first, second = await each("delete")
    assert first == second


async def test_results_are_fetched_at_the_gateway(pair: Pair) -> None:
    made = await make(pair.governed, "a")
    pair.api.script(message("one"))
    await pair.api.end_batches()
    batch = await pair.governed.messages.batches.retrieve(made)
    assert batch.results_url == f"{pair.world.base_url}/v1/messages/batches/{made}/results"
    [listed] = (await pair.governed.messages.batches.list()).data
    assert listed.results_url == batch.results_url
    results = [line async for line in await pair.governed.messages.batches.results(made)]
    assert [line.result.type for line in results] == ["succeeded"]
    key = pair.world.keys["bot"]
    assert not any(key in f"{one.headers}" for one in pair.api.requests)


async def test_a_batch_is_canceled(pair: Pair) -> None:
    found = []
    for client in (pair.direct, pair.governed):
        made = await make(client, "a")
        canceled = await client.messages.batches.cancel(made)
        await pair.api.end_batches()
        lines = [shown(line) async for line in await client.messages.batches.results(made)]
        found.append((canceled.processing_status, canceled.request_counts, lines))
    assert found[0] == found[1]


async def test_batches_of_others_are_not_listed(pair: Pair) -> None:
    theirs, ours = await make(pair.direct, "a"), await make(pair.governed, "a")
    assert [one.id for one in (await pair.direct.messages.batches.list()).data] == [ours, theirs]
    assert [one.id for one in (await pair.governed.messages.batches.list()).data] == [ours]
    assert [one.id async for one in pair.governed.messages.batches.list(limit=1)] == [ours]
