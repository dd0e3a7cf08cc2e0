"""A secret that stands where the reading of an answer ended: half of it is found by nobody, and must not stay."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.responses import PlainTextResponse

from gateway.redaction import MARK
from gateway.truncation import LOOK_AHEAD_BYTES, SEARCHED_VALUE_MAX_BYTES
from tests.canaries import Canaries
from tests.secrets import world as worlds
from tests.secrets.world import Api, hand, opened

LIMIT = 2000
READ = LIMIT + LOOK_AHEAD_BYTES
SECRET = {"token": {"place": "bearer"}}
SPELT = {
    "raw": lambda value: value,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "percent signs": lambda value: quote(value, safe=""),
    "escapes": lambda value: "".join(f"\\u{ord(one):04x}" for one in value),
}


def truncating(api: Api) -> dict[str, Any]:
    declared = hand(api, SECRET)
    declared["actions"]["call"] |= {"result_max_bytes": LIMIT, "results": {"oversize": "truncate"}}
    return declared


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(worlds, "echoed", lambda _how, _value: PlainTextResponse(text))


@pytest.mark.parametrize("spelt", SPELT)
async def test_no_half_of_a_secret_is_left(
    tmp_path: Path, api: Api, canaries: Canaries, monkeypatch: pytest.MonkeyPatch, spelt: str
) -> None:
    value = canaries.plant("awkward")
    echo = SPELT[spelt](value)
    half = echo[: len(echo) // 2]
    async with opened(tmp_path, api, SECRET, crm=truncating(api)) as world:
        await world.gateway.secrets.set(world.people["admin"], "token", value)
        for place in (READ - len(half), LIMIT - len(half) - 130, LIMIT - len(half)):
            answering(monkeypatch, "x" * place + echo + "y" * 5000)
            step = await world.call()
            assert step["status"] == "succeeded", step
            said = step["result"]["content"][0]["text"]
            # An encoding that cannot be cut out alone takes all of the text with it.
            assert said == MARK or step["result_marks"]["truncated"]["left_out_bytes"] > 0
            assert half[:8] not in said
            canaries.must_not_be_in("an answer", said.encode())


async def test_a_result_that_shrinks_brings_no_half_of_a_secret_within_its_limit(
    tmp_path: Path, api: Api, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken out is longer than what takes its place, so the end of reading moves to the front."""
    value = "s3cret-" * 100
    async with opened(tmp_path, api, SECRET, crm=truncating(api)) as world:
        await world.gateway.secrets.set(world.people["admin"], "token", value)
        many = value * (READ // len(value))
        answering(monkeypatch, many + value + "y" * 5000)
        step = await world.call()
        assert step["status"] == "succeeded", step
        assert "s3cret" not in str(step)


async def test_where_a_secret_is_longer_than_what_is_read_ahead_nothing_is_cut(
    tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, api, SECRET, crm=truncating(api)) as world:
        await world.gateway.secrets.set(world.people["admin"], "token", "k" * (SEARCHED_VALUE_MAX_BYTES + 1))
        answering(monkeypatch, "x" * (READ + 1))
        step = await world.call()
        assert (step["status"], step["error"]["code"]) == ("failed", "hand.result_too_large")
        answering(monkeypatch, "x" * (LIMIT + 1))
        step = await world.call()
        assert step["status"] == "succeeded", "it was read to its end"
