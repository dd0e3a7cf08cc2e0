"""An issuer's keys over time, against an issuer that is scripted, and whose documents are an attacker's."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import HandrailError, Unavailable
from gateway.identity.provider import DOCUMENT_MAX_BYTES, THROTTLE_SECONDS, Provider
from gateway.reasons import Reason
from gateway.telemetry import Metrics
from tests.identity.issuer import ISSUER, KEY, OTHER, jwks, settings
from tests.until import until

DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
JWKS = f"{ISSUER}/jwks"


class Scripted:
    """The port, without a network: documents by URL; ``asked`` is what was got."""

    def __init__(self) -> None:
        self.documents = {DISCOVERY: json.dumps({"issuer": ISSUER, "jwks_uri": JWKS}).encode(), JWKS: jwks(KEY)}
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def get(self, url: str, *, timeout_seconds: float, answer_max_bytes: int) -> bytes:
        assert answer_max_bytes == DOCUMENT_MAX_BYTES
        self.asked.append(url)
        if self.gate is not None:
            await self.gate.wait()
        if url not in self.documents:
            raise Unavailable(Reason.AUTH_UNAVAILABLE, "gone")
        return self.documents[url]

    async def close(self) -> None:
        self.closed = True

    @property
    def fetches(self) -> int:
        return self.asked.count(DISCOVERY)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def provider(scripted: Scripted, time: Time) -> AsyncIterator[Provider]:
    made = Provider("company", settings(), scripted, Metrics(), time)
    yield made
    await made.close()
    assert scripted.closed


async def reason(call: Any) -> Reason:
    with pytest.raises(HandrailError) as failure:
        await call
    return failure.value.reason


async def test_keys_are_fetched_at_the_first_token_and_kept(provider: Provider, scripted: Scripted) -> None:
    for _ in range(100):
        assert (await provider.key("one")).kid == "one"
    assert scripted.asked == [DISCOVERY, JWKS]


async def test_a_crowd_at_the_first_token_is_one_fetch(provider: Provider, scripted: Scripted) -> None:
    scripted.gate = asyncio.Event()
    crowd = [asyncio.create_task(provider.key("one")) for _ in range(50)]
    await until(lambda: scripted.asked)
    scripted.gate.set()
    assert {found.kid for found in await asyncio.gather(*crowd)} == {"one"}
    assert scripted.fetches == 1


async def test_a_caller_that_leaves_does_not_end_the_fetch_of_the_others(
    provider: Provider, scripted: Scripted
) -> None:
    scripted.gate = asyncio.Event()
    leaves, stays = (asyncio.create_task(provider.key("one")) for _ in range(2))
    await until(lambda: scripted.asked)
    leaves.cancel()
    scripted.gate.set()
    assert (await stays).kid == "one"


async def test_a_key_that_the_issuer_rotated_in_is_found_and_one_that_it_took_out_is_gone(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    await provider.key("one")
    scripted.documents[JWKS] = jwks(OTHER)
    time.now += THROTTLE_SECONDS
    assert (await provider.key("two")).kid == "two"
    assert await reason(provider.key("one")) is Reason.AUTH_INVALID


async def test_a_flood_of_invented_kids_is_one_fetch_in_ten_seconds(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    await provider.key("one")
    for number in range(1024):
        time.now += THROTTLE_SECONDS / 256
        assert await reason(provider.key(f"invented {number}")) is Reason.AUTH_INVALID
    assert scripted.fetches == 1 + 4


async def test_keys_are_fetched_anew_without_anybody_waiting(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    await provider.key("one")
    time.now += provider.settings.keys_refresh_seconds
    scripted.gate = asyncio.Event()
    assert (await provider.key("one")).kid == "one"
    scripted.gate.set()
    await until(lambda: scripted.asked.count(JWKS) == 2)


async def test_an_issuer_that_is_down_is_believed_for_an_hour_and_no_longer(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    await provider.key("one")
    scripted.documents.clear()
    time.now += provider.settings.keys_max_age_seconds - 1
    assert (await provider.key("one")).kid == "one"
    time.now += THROTTLE_SECONDS
    assert await reason(provider.key("one")) is Reason.AUTH_UNAVAILABLE


async def test_an_issuer_that_was_never_reached_is_tried_once_in_ten_seconds(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    good, scripted.documents = scripted.documents, {}
    for _ in range(100):
        assert await reason(provider.key("one")) is Reason.AUTH_UNAVAILABLE
    assert scripted.fetches == 1
    scripted.documents = good
    time.now += THROTTLE_SECONDS
    assert (await provider.key("one")).kid == "one"


@pytest.mark.parametrize(
    "discovery",
    [
        b"",
        b"[]",
        json.dumps({"issuer": ISSUER}).encode(),
        json.dumps({"issuer": ISSUER + "/", "jwks_uri": JWKS}).encode(),
        json.dumps({"issuer": "https://evil.example", "jwks_uri": JWKS}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": "http://issuer.example/jwks"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": "https://user:pass@issuer.example/jwks"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": "https:///jwks"}).encode(),
        json.dumps({"issuer": ISSUER, "jwks_uri": JWKS + "?" + "x" * 1024}).encode(),
        f'{{"issuer":"{ISSUER}","jwks_uri":"{JWKS}","jwks_uri":"{JWKS}"}}'.encode(),
    ],
)
async def test_a_discovery_document_of_somebody_else_brings_no_key(
    provider: Provider, scripted: Scripted, discovery: bytes
) -> None:
    scripted.documents[DISCOVERY] = discovery
    assert await reason(provider.key("one")) is Reason.AUTH_UNAVAILABLE
    assert scripted.asked == [DISCOVERY]


async def test_keys_that_cannot_be_read_do_not_take_away_those_that_are_known(
    provider: Provider, scripted: Scripted, time: Time
) -> None:
    await provider.key("one")
    scripted.documents[JWKS] = b'{"keys": 1}'
    time.now += THROTTLE_SECONDS
    assert await reason(provider.key("two")) is Reason.AUTH_INVALID
    assert (await provider.key("one")).kid == "one"
    assert scripted.fetches == 2
