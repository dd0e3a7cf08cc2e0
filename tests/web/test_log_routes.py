"""The log's static resources over HTTP: who may read what, for how long it may be kept, and what hostile paths get."""

import httpx2
import pytest

from audit.tiles import Tile
from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.model import Role
from gateway.reasons import Reason
from tests.audit.hostile_tiles import HOSTILE
from tests.web.fake import testing_only_Gateway, token

OCTETS = "application/octet-stream"
FOR_EVER = "max-age=31536000, immutable"


async def test_anybody_gets_hash_tiles_and_may_keep_full_ones_for_ever(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answer = await client.get("/log/tile/0/x001/234")
    assert (answer.status_code, answer.headers["content-type"], len(answer.content)) == (200, OCTETS, 256 * 32)
    assert answer.headers["cache-control"] == f"public, {FOR_EVER}"
    part = await client.get("/log/tile/0/x001/234.p/7")
    assert (part.status_code, len(part.content), part.headers["cache-control"]) == (200, 7 * 32, "public, no-cache")
    assert gateway.log.tiles_asked == [Tile(0, 1234), Tile(0, 1234, 7)]
    assert (await client.head("/log/tile/0/000")).status_code == 200
    assert (await client.post("/log/tile/0/000")).status_code == 405


async def test_the_checkpoint_is_kept_by_nobody(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    answer = await client.get("/log/checkpoint")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await client.get("/log/checkpoint?cosignatures=0")).status_code == 200
    refused = await client.get("/log/checkpoint?cosignatures=1")
    assert (refused.status_code, refused.json()["parameter"]) == (400, "cosignatures"), "there are no witnesses"
    assert gateway.log.cosignatures_asked == [None, 0]


@pytest.mark.parametrize(("level", "index"), [one for one in HOSTILE if one[0] and "\n" not in one[1]])
@pytest.mark.parametrize("key", [{}, token(Role.AUDITOR)], ids=["nobody", "auditor"])
async def test_a_hostile_path_is_absent_and_costs_no_look_at_the_log(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, level: str, index: str, key: dict[str, str]
) -> None:
    rest = index.replace("..", "%2e%2e")  # or the client would resolve it
    assert (await client.get(f"/log/tile/{level}/{rest}", headers=key)).status_code == 404
    if level == "0":
        answer = await client.get(f"/log/tile/entries/{rest}", headers=key)
        assert answer.status_code == (404 if key else 401)
    assert gateway.log.tiles_asked == []
    assert gateway.log.appended == []


@pytest.mark.parametrize(
    "path",
    [
        "/log/tile/entries/000.p/1",
        "/log/tile/%65ntries/000.p/1",
        "/log/tile/entries%2f000.p/1",
        "/log/tile/0/../entries/000.p/1",
        "/log/tile/./entries/000.p/1",
        "//log/tile/entries/000.p/1",
        "/log/tile//entries/000.p/1",
    ],
)
async def test_no_spelling_of_the_path_opens_a_bundle_without_a_key(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, path: str
) -> None:
    assert (await client.get(path)).status_code in {401, 404}
    assert gateway.log.tiles_asked == []


async def test_a_bundle_is_for_an_auditor_of_the_operator_s_own_tenant(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    path = "/log/tile/entries/000.p/3"
    good = await client.get(path, headers=token(Role.AUDITOR))
    assert (good.status_code, good.headers["content-type"]) == (200, OCTETS)
    assert good.headers["cache-control"] == "private, no-cache"
    full = await client.get("/log/tile/entries/000", headers=token(Role.AUDITOR))
    assert full.headers["cache-control"] == f"private, {FOR_EVER}"
    for who in (
        "foreign-auditor",
        "scoped-auditor",
        Role.AGENT,
        Role.OPERATOR,
        Role.SECURITY_ADMIN,
        Role.APPROVER,
        Role.AUTHOR,
    ):
        answer = await client.get(path, headers=token(who))
        code = Reason.AUTH_BOUND if who in {"foreign-auditor", "scoped-auditor"} else Reason.AUTH_FORBIDDEN
        assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert gateway.log.tiles_asked == [Tile(0, 0, 3), Tile(0, 0)]


async def test_one_entry_speaks_for_a_minute_of_reading_bundles(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    for number in range(3):
        await client.get(f"/log/tile/entries/00{number}", headers=token(Role.AUDITOR))
    [entry] = gateway.log.appended
    assert (entry.type, entry.principal) == (EntryType.AUDIT_QUERIED, f"pseudonym-of-{Role.AUDITOR}")
    assert entry.facts == {"filters": "none", "bundles_from": 0, "for_seconds": 60}


async def test_no_bundle_is_read_while_the_log_cannot_say_so(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.log.broken = Unavailable(Reason.LOG_UNAVAILABLE, "full")
    for _ in range(2):
        answer = await client.get("/log/tile/entries/000", headers=token(Role.AUDITOR))
        assert (answer.status_code, answer.json()["code"]) == (503, Reason.LOG_UNAVAILABLE)
    assert gateway.log.tiles_asked == []


async def test_witnesses_are_for_everybody_with_a_key(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/log/witnesses", headers=token(Role.AGENT))
    assert answer.json() == {"quorum": 0, "lag_seconds": 0, "problem": None, "witnesses": []}
