"""What the web layer refuses, and what it says and records when it does."""

import httpx2
import pytest
import structlog
from starlette.applications import Starlette

from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.model import Role
from gateway.reasons import TEXTS, Reason
from gateway.web.access import ResponseAborted
from gateway.web.context import source_of
from gateway.web.errors import ERRORS, document
from tests.web.conftest import in_process
from tests.web.fake import PLAN_ID, testing_only_Gateway, token

JOSE = {"content-type": "application/jose"}


def test_every_reason_has_a_status_and_a_title() -> None:
    assert set(ERRORS) == set(Reason)
    # What observe mode let pass, and whose word the stricter one was, is told beside a step that may run.
    told = {Reason.POLICY_OBSERVED_DENY, Reason.POLICY_OBSERVED_ASK, Reason.POLICY_STRICTER}
    assert {reason for reason, (status, _) in ERRORS.items() if not 400 <= status <= 599} == told
    assert all(title for _, title in ERRORS.values())
    assert {ERRORS[reason][0] for reason in told} == {200}
    assert len({title for _, title in ERRORS.values()}) == len(ERRORS)


def test_a_hint_cannot_shadow_a_member_of_the_problem_document() -> None:
    body = document(Reason.AUTH_FORBIDDEN, "r", {"status": 200, "code": "ok", "limit": 7})
    assert (body["status"], body["code"], body["limit"]) == (403, "auth.forbidden", 7)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({}, Reason.AUTH_MISSING),
        ({"authorization": "Basic aHI6aHI="}, Reason.AUTH_INVALID),
        ({"authorization": "Bearer"}, Reason.AUTH_INVALID),
        ({"authorization": "Bearer  "}, Reason.AUTH_INVALID),
        ({"authorization": "Bearer hr_nobody_key"}, Reason.AUTH_INVALID),
        ({"authorization": "Bearer " + "a" * 300}, Reason.AUTH_INVALID),
        ({"authorization": "hr_agent_key"}, Reason.AUTH_INVALID),
        ({"authorization": "Bearer hr_expired_key"}, Reason.AUTH_EXPIRED),
    ],
)
async def test_a_caller_without_a_good_key_gets_401_and_an_aggregated_entry(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, header: dict[str, str], reason: Reason
) -> None:
    answer = await client.get("/v1/me", headers=header)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert ("invalid_token" in answer.headers["www-authenticate"]) == (reason is not Reason.AUTH_MISSING)
    body = answer.json()
    assert body["code"] == reason
    assert body["type"] == f"urn:handrail:reason:{reason}"
    assert body["detail"] == TEXTS[reason]
    assert body["request_id"] == answer.headers["x-request-id"]
    [(entry, source)] = gateway.log.aggregated
    assert (entry.type, entry.reasons, source) == (EntryType.ACCESS_REFUSED, (str(reason),), "192.0.2.7")


async def test_two_authorization_headers_are_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get(
        "/v1/me", headers=[("authorization", "Bearer hr_agent_key"), ("authorization", "Bearer hr_agent_key")]
    )
    assert answer.json()["code"] == "auth.invalid"


async def test_the_scheme_is_case_insensitive(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/me", headers={"authorization": "bEARER hr_agent_key"})).status_code == 200


async def test_a_key_in_the_query_string_is_no_key(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/me?access_token=hr_agent_key")).status_code == 401


async def test_a_directory_that_is_down_is_503_and_not_a_bad_key(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.directory.failure = Unavailable(Reason.LOG_UNAVAILABLE, "database is locked")
    answer = await client.get("/v1/me", headers=token(Role.AGENT))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "locked" not in answer.text
    assert gateway.log.aggregated == []


async def test_an_unknown_path_is_401_for_strangers_and_404_for_callers(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/nothing")).status_code == 401
    answer = await client.get("/v1/nothing", headers=token(Role.AGENT))
    assert (answer.status_code, answer.json()["code"]) == (404, "request.not_found")


@pytest.mark.parametrize(
    "path", ["/healthz/", "//healthz", "/healthz%2f", "/HEALTHZ", "/healthz/../v1/me", "/healthz;a"]
)
async def test_a_path_that_only_resembles_an_open_one_is_not_open(client: httpx2.AsyncClient, path: str) -> None:
    request = client.build_request("GET", "/")
    request.url = httpx2.URL(f"http://127.0.0.1:8080{path}")
    assert (await client.send(request)).status_code == 401


async def test_a_wrong_method_names_the_right_ones(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/v1/plans", headers=token(Role.AGENT))
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "request.method", "POST")
    answer = await client.delete("/v1/approvals/x", headers=token(Role.APPROVER))
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_an_error_that_nobody_foresaw_says_nothing(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.pipeline.answer = RuntimeError("postgres://user:secret@db")
    with structlog.testing.capture_logs() as logs:
        answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.json()["code"]) == (500, "gateway.internal")
    assert "secret" not in answer.text
    [record] = [line for line in logs if line["event"] == "request failed"]
    assert record["request_id"] == answer.headers["x-request-id"]


async def test_an_answer_that_breaks_off_closes_the_connection(app: Starlette, gateway: testing_only_Gateway) -> None:
    gateway.pipeline.script = [(1, "step", {"unserialisable": object()})]
    async with in_process(app) as client:
        with pytest.raises(ResponseAborted):
            await client.get(f"/v1/plans/{PLAN_ID}/events", headers=token(Role.AGENT))


async def test_the_private_detail_of_a_refusal_stays_private(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.pipeline.answer = Refused(Reason.SCHEMA_PLAN, "row 7 of table users", pointer="/a")
    answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/a")
    assert "users" not in answer.text
    assert gateway.log.aggregated == [], "what the pipeline refuses, the pipeline records"


async def test_503_asks_for_a_retry(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    for reason in (Reason.LOG_UNAVAILABLE, Reason.OVERLOADED, Reason.KEY_UNAVAILABLE):
        gateway.pipeline.answer = HandrailError(reason)
        answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | JOSE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(("reason", "seconds"), [(Reason.LIMIT_PLANS, "1"), (Reason.LIMIT_APPROVALS, "60")])
async def test_a_principal_that_has_enough_under_way_is_told_when_to_come_again(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, reason: Reason, seconds: str
) -> None:
    gateway.pipeline.answer = Unavailable(reason, limit=7)
    answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, seconds)
    assert (answer.json()["code"], answer.json()["limit"]) == (reason, 7)
    assert gateway.log.aggregated == []


async def test_every_answer_carries_the_security_headers_and_no_server_name(client: httpx2.AsyncClient) -> None:
    for path, header in (("/healthz", {}), ("/v1/me", {}), ("/v1/me", token(Role.AGENT)), ("/x", token(Role.AGENT))):
        answer = await client.get(path, headers=header)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert len(answer.headers["x-request-id"]) == 16
        assert "server" not in answer.headers


async def test_only_public_keys_may_be_cached(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/.well-known/jwks.json")).headers["cache-control"] == "public, max-age=300"
    assert (await client.get("/log/checkpoint")).headers["cache-control"] == "no-cache"


async def test_a_client_cannot_choose_its_request_id(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"x-request-id": "forged"})
    assert answer.headers.get_list("x-request-id") != ["forged"]
    assert "forged" not in answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::2", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("not an address", "unknown"),
    ],
)
def test_one_sender_is_one_source(address: str, source: str) -> None:
    assert source_of({"client": (address, 1)}) == source
    assert source_of({"client": None}) == "local"


async def test_strangers_do_not_make_labels_of_metrics(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    await client.get("/scan/me/1")
    await client.get("/v1/scan/2", headers=token(Role.AGENT))
    await client.get(f"/v1/plans/{PLAN_ID}", headers=token(Role.AGENT))
    text = (await client.get("/metrics", headers=token(Role.OPERATOR))).text
    assert 'handrail_http_requests_total{route="unmatched",status="401"} 1.0' in text
    assert 'handrail_http_requests_total{route="/v1/plans/{plan_id}",status="200"} 1.0' in text
    assert "scan" not in text
    assert PLAN_ID not in text
