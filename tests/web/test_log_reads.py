"""Reading the log as files: what a client has is not sent again, and nobody reads faster than one reader may."""

import base64
import hashlib
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unavailable
from gateway.model import Role
from gateway.rates import KEYS_MAX
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.web.asgi import create_app
from gateway.web.conditional import entity_tag, matches
from gateway.web.rates import Rate
from tests.web.conftest import in_process
from tests.web.fake import testing_only_Gateway, token

OPEN = ("/log/checkpoint", "/log/tile/0/000", "/log/tile/0/000.p/7")
BUNDLE = "/log/tile/entries/000"
OURS = entity_tag(b"ours")
OTHER = entity_tag(b"other")


# --- what a client has already ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*OPEN, BUNDLE, "/log/tile/entries/000.p/3"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_a_client_has_is_not_sent_again(client: httpx2.AsyncClient, path: str, method: str) -> None:
    key = token(Role.AUDITOR)
    first = await client.request(method, path, headers=key)
    tag = first.headers["etag"]
    assert (first.status_code, tag[0], tag[-1]) == (200, '"', '"'), "strong, and quoted"
    again = await client.request(method, path, headers={**key, "if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control"):
        assert again.headers[name] == first.headers[name]
    assert "content-type" not in again.headers
    changed = await client.request(method, path, headers={**key, "if-none-match": OTHER})
    assert (changed.status_code, changed.content) == (200, first.content)


async def test_a_bundle_that_one_reader_keeps_is_not_anothers(client: httpx2.AsyncClient) -> None:
    """One client may hold several readers' keys; what it keeps asks nobody who may read, and is not on record."""
    key = token(Role.AUDITOR)
    first = await client.get(BUNDLE, headers=key)
    again = await client.get(BUNDLE, headers={**key, "if-none-match": first.headers["etag"]})
    assert [one.headers["vary"] for one in (first, again)] == ["authorization"] * 2
    for path in OPEN:
        assert "vary" not in (await client.get(path)).headers, "everybody's"


async def test_contents_that_differ_have_tags_that_differ(client: httpx2.AsyncClient) -> None:
    tags = [(await client.get(path)).headers["etag"] for path in OPEN]
    assert len(set(tags)) == len(OPEN)


async def test_a_tag_opens_nothing_that_a_key_does_not(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    for headers in ({}, token(Role.AGENT), token("scoped-auditor")):
        answer = await client.get(BUNDLE, headers={**headers, "if-none-match": "*"})
        assert answer.status_code in {401, 403}
    assert gateway.log.tiles_asked == []


@pytest.mark.parametrize(
    "fields",
    [
        [OURS], [f"W/{OURS}"], ["*"], [" * "], [f"{OTHER}, {OURS}"], [f"{OTHER},{OURS}"], [OTHER, OURS],
        [f",, {OTHER} ,,\t{OURS} ,"], [f'"a,b", "", {OURS}'],
    ],
)  # fmt: skip
def test_a_list_names_the_tag(fields: list[str]) -> None:
    assert matches(fields, OURS)


@pytest.mark.parametrize(
    "fields",
    [
        [], [""], [OTHER], [OURS.strip('"')], [OURS[:-1]], [f"w/{OURS}"], [f"{OURS}, *"], ["*, *"], [f"{OURS} {OTHER}"],
        [f"{OURS};q=1"], [f'"{OURS}"'], [f"{OTHER}, x"], [OURS.lower() if OURS.lower() != OURS else OURS.upper()],
        [f'"a, {OURS[1:]}'],
    ],
)  # fmt: skip
def test_nothing_else_does(fields: list[str]) -> None:
    assert not matches(fields, OURS), "what cannot be read as a list is sent in full"


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_header_is_more_than_yes_or_no(text: str) -> None:
    if matches([text], OURS):
        assert OURS in text or text.strip(" \t") == "*"


def test_a_tag_is_of_the_content() -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"ours").digest()[:16]).decode()
    assert f'"{digest.rstrip(chr(61))}"' == OURS


@pytest.mark.parametrize("asked", ["bytes=0-31", "bytes=0-0,32-63", "bytes=9999-", "lines=1-2"])
async def test_a_part_is_never_sent_for_a_range(client: httpx2.AsyncClient, asked: str) -> None:
    answer = await client.get("/log/tile/0/000", headers={"range": asked, "if-range": entity_tag(b"x")})
    assert (answer.status_code, len(answer.content), answer.headers["accept-ranges"]) == (200, 256 * 32, "none")


@pytest.mark.parametrize("path", [*OPEN, BUNDLE])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_no_other_method_reads(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, path: str, method: str
) -> None:
    headers = {**token(Role.AUDITOR), "x-http-method-override": "GET", "if-none-match": "*"}
    answer = await client.request(method, path, headers=headers)
    assert answer.status_code == 405
    assert gateway.log.tiles_asked == []


# --- how fast --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def slow(gateway: testing_only_Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a gateway that lets a caller read three times at once, and then once a second."""
    gateway.settings = Settings(server={"log_reads_per_second": 1, "log_reads_burst": 3})
    async with in_process(create_app(gateway)) as client:  # type: ignore[arg-type]
        yield client


async def test_a_million_tiles_are_not_to_be_had_at_once(
    slow: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answers = [await slow.get(f"/log/tile/0/{number:03}") for number in range(40)]
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (429, "limit.reads", 1)
    assert refused.headers["retry-after"] == str(refused.json()["retry_after_seconds"]) == "1"
    assert len(gateway.log.tiles_asked) == sum(answer.status_code == 200 for answer in answers) <= 10
    assert gateway.log.aggregated == [], "a flood fills no log"


async def test_no_spelling_of_what_is_asked_is_free(slow: httpx2.AsyncClient) -> None:
    spellings = ("/log/checkpoint", "/log/tile/9/999", "/log/tile/x/y", "/log/checkpoint?cosignatures=9")
    statuses = [(await slow.get(path, headers={"if-none-match": "*"})).status_code for path in spellings * 4]
    assert statuses[-4:] == [429] * 4


async def test_callers_do_not_take_from_one_another(slow: httpx2.AsyncClient) -> None:
    for _ in range(20):
        await slow.get("/log/checkpoint")
    assert (await slow.get("/log/checkpoint")).status_code == 429
    assert (await slow.get(BUNDLE, headers=token(Role.AUDITOR))).status_code == 200, "an auditor counts as themselves"
    assert (await slow.get("/v1/log/witnesses", headers=token(Role.AUDITOR))).status_code == 200
    for _ in range(20):
        await slow.get(BUNDLE, headers=token(Role.AUDITOR))
    assert (await slow.get(BUNDLE, headers=token(Role.AUDITOR))).status_code == 429


class Hands:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, caller: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            rate.check(caller)
        except Unavailable:
            continue
        count += 1
    return count


def test_a_rate_gives_its_burst_and_then_its_steady_pace() -> None:
    clock = Hands()
    rate = Rate(4, 10, Reason.LIMIT_READS, clock)
    assert taken(rate, "a", 100) == 10
    assert taken(rate, "b", 100) == 10
    clock.now += 1
    assert taken(rate, "a", 100) == 4
    clock.now += 1_000
    assert taken(rate, "a", 100) == 10, "a silence is worth a burst and no more"


def test_a_refusal_says_when_and_costs_nothing_more() -> None:
    clock = Hands()
    rate = Rate(0.125, 1, Reason.LIMIT_READS, clock)
    rate.check("a")
    for _ in range(50):
        with pytest.raises(Unavailable) as refused:
            rate.check("a")
        assert refused.value.facts["retry_after_seconds"] == 8
    clock.now += 8
    rate.check("a")


def test_many_callers_are_not_remembered_for_ever() -> None:
    clock = Hands()
    rate = Rate(1, 1, Reason.LIMIT_READS, clock)
    for number in range(KEYS_MAX + 5):
        rate.check(f"caller {number}")
    assert len(rate) == KEYS_MAX
    assert taken(rate, f"caller {KEYS_MAX + 4}", 3) == 0
    assert taken(rate, "caller 0", 3) == 1, "the one that was silent for longest is as new"
