"""Every route with every role and with none; every answer against its schema; every body and parameter strictly."""

import base64
from typing import Any

import httpx2
import orjson
import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from audit.query import Filter
from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.model import Role
from gateway.permissions import Permission, permits
from gateway.reasons import Reason
from gateway.web.authentication import OPEN_PATHS, is_open
from gateway.web.errors import ERRORS
from gateway.web.oauth import TOKEN_PATH
from gateway.web.openapi import openapi, problems_of
from gateway.web.resources import METADATA_PATH
from gateway.web.routes import TABLE
from gateway.web.routes.remote import NOTIFY
from gateway.web.routing import Access, Endpoint
from tests.web.every_route import (
    BODIES,
    FORM,
    FORMS,
    HEADERS,
    HOOK,
    JOSE,
    JSON,
    JWK,
    PARAMETERS,
    PLAIN,
    QUERIES,
    RESULT,
    called,
)
from tests.web.fake import APPROVAL_ID, DIGEST, PLAN_ID, PROPOSAL_ID, principal, testing_only_Gateway, token, view

PSEUDONYM = "p-" + "0" * 32
DOCUMENT = openapi(TABLE, "1.0", "http://127.0.0.1:8080")


async def call(client: httpx2.AsyncClient, endpoint: Endpoint, headers: dict[str, str]) -> httpx2.Response:
    content = None
    if endpoint.requests and endpoint.requests[0].media_type == JOSE["content-type"] and endpoint.path not in BODIES:
        headers, content = headers | JOSE, b"a.b.c"
    elif endpoint.path in FORMS:
        headers, content = headers | FORM, FORMS[endpoint.path]
    elif endpoint.requests:
        headers, content = headers | JSON, orjson.dumps(BODIES.get(endpoint.path, {}))
    if headers.keys() & {"authorization"}:
        headers = headers | HEADERS.get(endpoint.path, {})
    url = endpoint.path.format(**PARAMETERS) + QUERIES.get(endpoint.path, "")
    return await client.request(endpoint.method, url, headers=headers, content=content)


@pytest.mark.parametrize("endpoint", TABLE, ids=called)
async def test_only_the_listed_routes_answer_without_a_key(client: httpx2.AsyncClient, endpoint: Endpoint) -> None:
    status = (await call(client, endpoint, {})).status_code
    if endpoint.path == NOTIFY:
        assert status == 404, "it has a secret of its own, and here is none"
    elif endpoint.path == RESULT:
        assert status == 403, "it takes a step's credential, and here is none"
    elif endpoint.path.startswith(METADATA_PATH):
        assert status == 404, "no issuer is configured"
    elif is_open(endpoint.path.format(**PARAMETERS)) or endpoint.path == HOOK:
        assert status == 200
    else:
        assert status == 401


@pytest.mark.parametrize("endpoint", [e for e in PLAIN if e.access is not Access.OPEN], ids=called)
@pytest.mark.parametrize("role", list(Role))
async def test_a_route_answers_exactly_the_roles_that_have_its_permission(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, endpoint: Endpoint, role: Role
) -> None:
    allowed = not isinstance(endpoint.access, Permission) or permits(principal("p", role), endpoint.access)
    answer = await call(client, endpoint, token(role))
    if allowed:
        assert answer.status_code in endpoint.answers, answer.text
    else:
        status = 400 if endpoint.path == TOKEN_PATH else 403
        assert (answer.status_code, answer.json()["code"]) == (status, "auth.forbidden")
        [(entry, source)] = gateway.log.aggregated
        assert (entry.type, source) == (EntryType.ACCESS_REFUSED, f"pseudonym-of-{role}")


@pytest.mark.parametrize("endpoint", PLAIN, ids=called)
async def test_an_answer_is_what_the_description_says(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, endpoint: Endpoint
) -> None:
    role = next(
        (
            role
            for role in Role
            if isinstance(endpoint.access, Permission) and permits(principal("p", role), endpoint.access)
        ),
        Role.AGENT,
    )
    answer = await call(client, endpoint, token(role))
    described = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"][str(answer.status_code)]
    media_type = answer.headers["content-type"].split(";")[0]
    assert media_type in described["content"]
    if media_type == "application/json":
        schema = {**described["content"][media_type]["schema"], "components": DOCUMENT["components"]}
        problems = [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())]
        assert problems == []


async def test_a_problem_is_what_the_description_says(client: httpx2.AsyncClient) -> None:
    schema = {"$ref": "#/components/schemas/ProblemDocument", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate((await client.get("/v1/me")).json())


def test_the_description_is_valid_openapi_3_1() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_description_covers_every_route_and_every_reason_that_a_route_gives() -> None:
    assert {(p, m) for p, item in DOCUMENT["paths"].items() for m in item} == {
        (endpoint.path, endpoint.method.lower()) for endpoint in TABLE
    }
    for endpoint in TABLE:
        operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
        for reason in problems_of(endpoint):
            status = ERRORS[reason][0]
            of_its_own = status in endpoint.answers or status in endpoint.refusals
            assert of_its_own or f"`{reason}`" in operation["responses"][str(status)]["description"]
        assert (operation.get("security") == []) == is_open(endpoint.path.format(**PARAMETERS))
    operations = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(set(operations)) == len(operations)


def test_open_routes_are_those_in_the_one_list() -> None:
    assert {endpoint.path for endpoint in TABLE if endpoint.access is Access.OPEN} == OPEN_PATHS | {
        "/log/tile/{level}/{tile_path}",
        RESULT,
        METADATA_PATH + "/mcp",
        METADATA_PATH + "/mcp/{hand_id}",
    }
    for endpoint in TABLE:
        assert (endpoint.open_handler is not None) == (endpoint.access is Access.OPEN)
        assert (endpoint.handler is None) == (endpoint.access is Access.OPEN)


async def test_the_description_is_served(client: httpx2.AsyncClient) -> None:
    served = (await client.get("/openapi.json", headers=token(Role.AGENT))).json()
    assert served["openapi"] == "3.1.1"
    assert served["paths"].keys() == DOCUMENT["paths"].keys()


# --- plans -----------------------------------------------------------------------------------------------------------


async def test_a_plan_arrives_byte_for_byte_with_its_caller_and_wait(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    raw = b"not a jws, \xff and not for the web layer to judge"
    answer = await client.post("/v1/plans?wait=2.5", content=raw, headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.headers["location"]) == (200, f"/v1/plans/{PLAN_ID}")
    [(unverified, wait)] = gateway.pipeline.submitted
    assert (unverified.raw, unverified.caller.id, wait) == (raw, "agent", 2.5)


@pytest.mark.parametrize("status", ["running", "waiting"])
async def test_a_plan_that_is_not_done_is_202(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, status: str
) -> None:
    gateway.pipeline.answer = view(status)
    answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/plans/{PLAN_ID}")


@pytest.mark.parametrize(
    "wait",
    [
        "-1",
        "61",
        "1e3",
        "nan",
        "inf",
        "0x1",
        " 1",
        "1 ",
        "",
        "1.2345",
        "\u0661",
        "1,5",
        "1&wait=2",
        "99999",
        "+1",
        "1_0",
    ],
)
async def test_a_wait_that_is_not_plain_seconds_within_the_limit_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, wait: str
) -> None:
    answer = await client.post(f"/v1/plans?wait={wait}", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.pipeline.submitted == []


@pytest.mark.parametrize("wait", ["0", "60", "60.0", "0.001"])
async def test_a_wait_within_the_limit_is_taken(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, wait: str
) -> None:
    answer = await client.post(f"/v1/plans?wait={wait}", content=b"x", headers=token(Role.AGENT) | JOSE)
    assert answer.status_code == 200
    assert gateway.pipeline.submitted[0][1] == float(wait)


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/calls", "/v1/runs", "/mcp"])
@pytest.mark.parametrize("coding", ["gzip", "deflate, gzip", "GZIP", "x"])
async def test_a_body_that_its_sender_coded_or_says_so_of_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, path: str, coding: str
) -> None:
    """Whoever stands in front of the gateway and decodes it would have read another one."""
    kind = JOSE if path == "/v1/plans" else {"content-type": "application/json"}
    headers = token(Role.AGENT) | kind | {"content-encoding": coding}
    answer = await client.post(path, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "request.media_type")
    assert gateway.pipeline.submitted == []


@pytest.mark.parametrize("kind", ["application/json", "application/jose+json", "text/plain", "application/josee", ""])
async def test_a_plan_of_another_content_type_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, kind: str
) -> None:
    answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | {"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "request.media_type")
    assert [entry.reasons for entry, _ in gateway.log.aggregated] == [("request.media_type",)]
    assert gateway.pipeline.submitted == []


@pytest.mark.parametrize("kind", ["application/jose; charset=utf-8", "Application/JOSE", "application/jose;x"])
async def test_parameters_and_case_of_the_content_type_do_not_matter(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/plans", content=b"x", headers=token(Role.AGENT) | {"content-type": kind})
    assert answer.status_code == 200


async def test_an_empty_plan_is_refused(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    answer = await client.post("/v1/plans", content=b"", headers=token(Role.AGENT) | JOSE)
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.pipeline.submitted == []


@pytest.mark.parametrize("path", ["%00", "a%00b", "a%0ab", "..%2f..", "a b", "é", "a" * 257, "%ff"])
async def test_an_id_that_cannot_be_one_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(f"/v1/receipts/{path}", headers=token(Role.AGENT))
    assert (answer.status_code, answer.json()["code"]) == (404, "request.not_found")


# --- bodies ----------------------------------------------------------------------------------------------------------

BAD_JSON = [
    b"",
    b"{",
    b'{"answer":"approve","answer":"refuse"}',
    b'{"answer":NaN}',
    b'\xef\xbb\xbf{"answer":"approve"}',
    b'{"answer":"\xff"}',
    b'{"answer":"\\ud800"}',
]
OFF_SHAPE = [
    b"[]",
    b'"approve"',
    b"{}",
    b'{"answer":"maybe"}',
    b'{"answer":"approve","reason":"x"}',
    b'{"answer":1}',
]


@pytest.mark.parametrize(
    ("body", "code"), [*((b, "schema.json") for b in BAD_JSON), *((b, "request.malformed") for b in OFF_SHAPE)]
)
async def test_an_answer_that_is_not_strict_json_of_its_shape_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, body: bytes, code: str
) -> None:
    answer = await client.post(f"/v1/approvals/{APPROVAL_ID}", content=body, headers=token(Role.APPROVER) | JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert gateway.approvals.answers == []


async def test_what_a_client_made_up_is_not_repeated_to_it(client: httpx2.AsyncClient) -> None:
    body = b'{"answer":"approve","<script>":"<b>"}'
    answer = await client.post(f"/v1/approvals/{APPROVAL_ID}", content=body, headers=token(Role.APPROVER) | JSON)
    assert (answer.json()["problem"], answer.json()["pointer"]) == ("extra_forbidden", "")
    assert "script" not in answer.text


async def test_a_signed_answer_and_a_plain_one_are_told_apart_by_content_type(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    url, headers = f"/v1/approvals/{APPROVAL_ID}", token(Role.APPROVER)
    await client.post(url, content=b"a.b.c", headers=headers | JOSE)
    await client.post(url, content=b'{"answer":"refuse"}', headers=headers | JSON)
    assert (await client.post(url, content=b"approve", headers=headers)).status_code == 415
    assert gateway.approvals.answers == [
        (APPROVAL_ID, "approver", None, b"a.b.c"),
        (APPROVAL_ID, "approver", "refuse", None),
    ]


PRINCIPALS = [
    ({"id": "bob", "roles": []}, "/roles"),
    ({"id": "bob", "roles": ["root"]}, "/roles/0"),
    ({"id": "a/b", "roles": ["agent"]}, "/id"),
    ({"id": "", "roles": ["agent"]}, "/id"),
    ({"id": "bob\n", "roles": ["agent"]}, "/id"),
    ({"id": "bob", "roles": ["agent"], "ttl_days": 0}, "/ttl_days"),
    ({"id": "bob", "roles": ["agent"], "ttl_days": 367}, "/ttl_days"),
    ({"id": "bob", "roles": ["agent"], "ttl_days": "9"}, "/ttl_days"),
    ({"id": "bob", "roles": ["agent"], "ttl_days": True}, "/ttl_days"),
    ({"id": "bob", "roles": ["agent"], "tenant": "other"}, "/tenant"),
    ({"id": "bob", "roles": ["agent"], "approval_jwk": {**JWK, "d": "A" * 43}}, "/approval_jwk/d"),
    ({"id": "bob", "roles": ["agent"], "approval_jwk": {**JWK, "crv": "X25519"}}, "/approval_jwk/crv"),
    ({"id": "bob", "roles": ["agent"], "approval_jwk": {**JWK, "x": "A" * 42}}, "/approval_jwk/x"),
]


@pytest.mark.parametrize(("body", "pointer"), PRINCIPALS)
async def test_a_principal_off_shape_is_refused_with_a_pointer(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/v1/principals", content=orjson.dumps(body), headers=token(Role.SECURITY_ADMIN) | JSON)
    assert (answer.status_code, answer.json()["code"], answer.json()["pointer"]) == (400, "request.malformed", pointer)
    assert gateway.directory.added == []


async def test_a_new_principal_and_a_new_issuer_reach_the_directory_as_asked(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    headers = token(Role.SECURITY_ADMIN) | JSON
    person = {"id": "bob@example.org", "roles": ["approver"], "hands": ["git"], "approval_jwk": JWK, "ttl_days": 3}
    assert (await client.post("/v1/principals", content=orjson.dumps(person), headers=headers)).status_code == 201
    issuer = {"id": "brain", "jwk": JWK, "speaks_for": ["bob"], "attests_request": True}
    assert (await client.post("/v1/issuers", content=orjson.dumps(issuer), headers=headers)).status_code == 201
    first, second = gateway.directory.added
    assert (first.id, first.roles, first.hands, first.approval_jwk, first.ttl_days) == (
        "bob@example.org",
        [Role.APPROVER],
        ["git"],
        JWK,
        3,
    )
    assert second == ("brain", JWK, ["bob"], True)


# --- keys, hands, audit, health ---------------------------------------------------------------------------------------


async def test_a_change_of_keys_is_on_record_under_who_asked(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    headers = token(Role.SECURITY_ADMIN)
    assert (await client.post("/v1/keys/receipt/rotate", headers=headers)).status_code == 200
    assert (await client.post("/v1/keys/k/revoke", headers=headers)).status_code == 200
    assert gateway.keyset.changed == [("rotate", "receipt"), ("revoke", "k")]
    assert {entry.principal for entry in gateway.log.appended} == {"pseudonym-of-security_admin"}
    assert (await client.post("/v1/keys/other/rotate", headers=headers)).status_code == 404
    assert (await client.post("/v1/keys", json={"purpose": "step"}, headers=headers)).status_code == 200
    assert (await client.post("/v1/keys", json={"purpose": "other"}, headers=headers)).status_code == 400
    stolen = await client.post(
        "/v1/keys/k/revoke", json={"compromised_at": "1970-01-01T01:00:03.9+01:00"}, headers=headers
    )
    assert stolen.json()["epochs"][-1] == {"epoch": "00000002-bb", "state": "active"}
    assert gateway.keyset.changed[2:] == [("create", "step"), ("revoke", "k since 3")]
    assert (await client.post("/v1/keys/epoch/rotate", headers=headers)).status_code == 200
    assert gateway.privacy.rotated == ["security_admin"]
    for bad in (3, "3", True, "2026-11-21", "2026-11-21T02:00:00", "1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z"):
        answer = await client.post("/v1/keys/k/revoke", json={"compromised_at": bad}, headers=headers)
        assert answer.status_code == 400, bad
        said = answer.json()
        assert (said["pointer"], said["expected"].partition(",")[0]) == (
            "/compromised_at",
            "a time as RFC 3339 writes it",
        )


async def test_no_key_changes_while_the_log_cannot_be_written(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.log.unready = Unavailable(Reason.LOG_UNAVAILABLE)
    for path in ("/v1/keys/receipt/rotate", "/v1/keys/k/revoke"):
        assert (await client.post(path, headers=token(Role.SECURITY_ADMIN))).status_code == 503
    assert gateway.keyset.changed == []


async def test_what_somebody_is_shown_of_the_hands(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"description": "", "side_effects": "none", "idempotent": True, "args_schema": {}}
    actions = [{"name": name, **about} for name in ("a", "b")]
    described = [{**one, "actions": actions} for one in gateway.hands.describe("default")]
    monkeypatch.setattr(gateway.hands, "describe", lambda _tenant: described)
    gateway.hands.manifests = [one for one in gateway.hands.manifests if one.hand == "clock"]
    gateway.menus.hides["bot"] = {"clock": {"b"}}

    async def shown(role: Role | str, **query: str) -> dict[str, list[str]]:
        answer = await client.get("/v1/hands", params=query, headers=token(role))
        assert answer.status_code == 200
        return {hand["id"]: [one["name"] for one in hand["actions"]] for hand in answer.json()["hands"]}

    assert await shown(Role.OPERATOR) == {"git": ["a", "b"], "clock": ["a", "b"]}, "an operator's own list is whole"
    assert await shown(Role.AUTHOR, principal="bot") == {"clock": ["a"]}, "what is not pinned is in no list"
    assert await shown(Role.OPERATOR, principal="eve") == {"clock": ["a", "b"]}
    refused = await client.get("/v1/hands", params={"principal": "bot"}, headers=token(Role.AGENT))
    assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")


async def test_a_hand_outside_the_scope_looks_absent(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/hands", headers=token("scoped"))).json()["hands"]
    assert [hand["id"] for hand in listed] == ["clock"]
    assert (await client.get("/v1/hands/git", headers=token("scoped"))).status_code == 404
    assert (await client.get("/v1/hands/clock", headers=token("scoped"))).status_code == 200


async def test_all_that_a_hand_offers_is_shown_to_who_may_agree_to_it_and_to_no_agent(
    client: httpx2.AsyncClient,
) -> None:
    shown = {
        role: (await client.get("/v1/hands/clock", headers=token(role))).json()
        for role in (Role.OPERATOR, Role.AGENT, Role.AUTHOR)
    }
    assert shown[Role.OPERATOR]["manifest"] == {"hand": "clock"}
    assert {role for role, hand in shown.items() if "manifest" in hand} == {Role.OPERATOR}


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "\n"])
async def test_only_a_digest_can_be_pinned(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, digest: str
) -> None:
    answer = await client.post(
        "/v1/hands/git/pin", content=orjson.dumps({"digest": digest}), headers=token(Role.OPERATOR) | JSON
    )
    assert answer.status_code == 400
    assert gateway.hands.pinned == []


async def test_an_audit_query_is_on_record_and_bound_to_the_tenant(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    asked = "type=policy%20denied&effect=deny&plan=p&reason=policy.denied&after=3&limit=5"
    answer = await client.get(f"/v1/audit/entries?{asked}", headers=token(Role.AUDITOR))
    assert answer.json() == {
        "entries": [{"index": 7, "code": "POLDNY", "label": "policy denied", "entry": {"v": 1}}],
        "next": None,
        "tree_size": 8,
        "covers": {"first": 0, "last": 7, "dropped": []},
        "matches": None,
        "checkpoint": None,
        "scope": {"tenant": "default", "hands": None, "types": []},
    }
    [(wanted, after, limit, newest)] = gateway.reader.queries
    assert (wanted.tenant, wanted.type, wanted.plan_id, after, limit) == ("default", "POLDNY", "p", 3, 5)
    assert newest is False
    [entry] = gateway.log.appended
    assert (entry.type, entry.principal) == (EntryType.AUDIT_QUERIED, "pseudonym-of-auditor")
    assert entry.facts["filters"] == "effect,plan,reason,type", (
        "what was looked for may be personal; which filters, not"
    )


async def test_every_filter_of_an_audit_query_reaches_the_reader(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    period = "since=2026-01-31&until=2026-01-31T01:00:05%2B01:00"
    asked = f"step=s&control=gdpr:5(2)&policy=d&{period}&context=c&hand=h&action=a&principal={PSEUDONYM}"
    answer = await client.get(f"/v1/audit/entries?{asked}&count=true&proofs=true", headers=token(Role.AUDITOR))
    [(wanted, *_)] = gateway.reader.queries
    assert wanted == Filter(
        tenant="default", step_id="s", control="gdpr:5(2)", policy_digest="d", since="2026-01-31T00:00:00.000Z",
        until="2026-01-31T00:00:05.000Z", context_id="c", hand="h", action="a", principal=PSEUDONYM,
    )  # fmt: skip
    document = answer.json()
    assert document["matches"] == 1
    assert document["checkpoint"] == await gateway.log.checkpoint()
    assert document["entries"][0]["proof"] == [base64.b64encode(b"\x07" * 32).decode()]
    [entry] = gateway.log.appended
    assert entry.facts["filters"] == "action,context,control,hand,policy,principal,since,step,until"


@pytest.mark.parametrize(
    "asked",
    [
        "count=1",
        "proofs=yes",
        "since=yesterday",
        "until=-1",
        "since=1769817600",
        "control=%00",
        "tenant=other",
        "step=s",
        "step=s&hand=h&type=POLDNY",
        "type=nothing",
        "effect=maybe",
        "after=-1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "order=up",
        "plan=a&plan=b",
        "plan=%00",
        "plan=%ff",
        "plan",
        "after=" + "9" * 30,
    ],
)
async def test_an_audit_query_that_is_not_understood_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, asked: str
) -> None:
    answer = await client.get(f"/v1/audit/entries?{asked}", headers=token(Role.AUDITOR))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.reader.queries == []


@pytest.mark.parametrize(("order", "newest"), [("newest", True), ("oldest", False)])
async def test_an_audit_query_is_answered_in_the_order_that_was_asked_for(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, order: str, newest: bool
) -> None:
    answer = await client.get(f"/v1/audit/entries?order={order}", headers=token(Role.AUDITOR))
    assert answer.status_code == 200
    assert gateway.reader.queries[0][3] is newest


async def test_a_page_of_approvals_is_asked_for_as_it_was_said(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    for asked in ("", "?status=open&after=ab12&limit=100"):
        answer = await client.get(f"/v1/approvals{asked}", headers=token(Role.APPROVER))
        assert (answer.status_code, answer.json()["next"]) == (200, None)
    assert gateway.approvals.asked == [(None, None, 20), ("open", "ab12", 100)]


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=101", "limit=-1", "limit=x", "after=", "after=a%27b", "after=a&after=b", "page=2"]
)
async def test_a_page_of_approvals_that_is_not_understood_is_refused(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, asked: str
) -> None:
    answer = await client.get(f"/v1/approvals?{asked}", headers=token(Role.APPROVER))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")
    assert gateway.approvals.asked == []


async def test_a_get_route_answers_head_and_a_route_without_a_body_reads_none(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    answer = await client.head("/v1/me", headers=token(Role.AGENT))
    assert (answer.status_code, answer.content) == (200, b"")
    answer = await client.post("/v1/keys/step/rotate", content=b"{", headers=token(Role.SECURITY_ADMIN))
    assert (answer.status_code, gateway.keyset.changed) == (200, [("rotate", "step")])


async def test_readiness_is_503_while_a_check_fails_and_says_which(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.readiness = {"log": "log.unavailable", "policy": "ok", "keys": "ok"}
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"] == {
        "log": "log.unavailable",
        "policy": "ok",
        "keys": "ok",
        "hands": {"git": "pinned"},
    }


async def test_readiness_waits_until_every_hand_was_asked_once_and_not_for_one_that_is_away(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for states, status in (
        ({"git": "pinned", "slow": "asking"}, 503),
        ({"git": "pinned", "slow": "unavailable"}, 200),
        ({"git": "unavailable", "slow": "unpinned", "old": "disabled", "new": "drifted"}, 200),
    ):
        monkeypatch.setattr(gateway.hands, "states", lambda states=states: states)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["hands"]) == (status, states)
        assert answer.json()["status"] == ("ok" if status == 200 else "unavailable")


async def test_the_application_starts_and_closes_its_gateway(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    assert (gateway.started, gateway.closed) == (1, 0)


# --- proposals -------------------------------------------------------------------------------------------------------


async def test_a_proposal_and_its_activation_arrive_with_their_signed_acts(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    body = {"kind": "policy.observe", "document": {"hand": "git", "n": [1]}, "act": "a.b.c"}
    answer = await client.post("/v1/proposals", json=body, headers=token(Role.AUTHOR))
    assert answer.status_code == 201
    body = {"document_sha256": "ab" * 32, "act": "d.e.f"}
    path = f"/v1/proposals/{PROPOSAL_ID}/activate"
    assert (await client.post(path, json=body, headers=token(Role.OPERATOR))).json()["status"] == "activated"
    path = f"/v1/proposals/{PROPOSAL_ID}/sign"
    assert (await client.post(path, json=body, headers=token(Role.SECURITY_ADMIN))).json()["needed"] == 2
    assert gateway.proposals.asked == [
        ("author", "policy.observe", {"hand": "git", "n": [1]}, b"a.b.c"),
        (PROPOSAL_ID, "operator", "ab" * 32, b"d.e.f"),
        (PROPOSAL_ID, "security_admin", "ab" * 32, b"d.e.f"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "policy.everything", "document": {}},
        {"kind": "policy.observe", "document": []},
        {"kind": "policy.observe"},
        {"kind": "policy.observe", "document": {}, "quorum": 1},
        {"kind": "policy.observe", "document": {}, "act": 1},
    ],
)
async def test_a_body_that_is_no_proposal_is_refused(client: httpx2.AsyncClient, body: Any) -> None:
    answer = await client.post("/v1/proposals", json=body, headers=token(Role.AUTHOR))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.malformed")


async def test_proposals_are_listed_by_state_and_kind(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    path = f"/v1/proposals?status=open&kind=policy.canary&after={PROPOSAL_ID}&limit=7"
    assert (await client.get(path, headers=token(Role.AUDITOR))).status_code == 200
    assert gateway.proposals.asked == [("open", "policy.canary", PROPOSAL_ID, 7)]
    for wrong in ("status=done", "kind=policy", "limit=0", "after=%2e%2e"):
        answer = await client.get(f"/v1/proposals?{wrong}", headers=token(Role.AUDITOR))
        assert answer.json()["code"] == "request.malformed"


# --- policy bundles --------------------------------------------------------------------------------------------------


async def test_a_bundle_may_be_larger_than_a_plan_and_not_endless(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    limit = gateway.settings.server.body_max_bytes
    headers = token(Role.AUTHOR) | JOSE
    answer = await client.post("/v1/policy/bundles", content=b"x" * (limit + 1), headers=headers)
    assert answer.status_code == 201
    assert len(gateway.lifecycle.asked[0][1]) == limit + 1
    answer = await client.post("/v1/policy/bundles", content=b"x" * 8_388_609, headers=headers)
    assert (answer.status_code, answer.json()["body_max_bytes"]) == (413, 8_388_608)
    answer = await client.post("/v1/policy/rollback", content=b"x" * (limit + 1), headers=token(Role.OPERATOR) | JSON)
    assert answer.status_code == 413


async def test_a_bundle_is_a_jws_and_its_file_comes_back_as_one(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/policy/bundles", content=b"{}", headers=token(Role.AUTHOR) | JSON)
    assert answer.json()["code"] == "request.media_type"
    answer = await client.get(f"/v1/policy/bundles/{DIGEST}/file", headers=token(Role.AUTHOR))
    assert (answer.headers["content-type"], answer.text) == ("application/jose", "a.b.c")


async def test_readiness_tells_of_a_refused_bundle_and_goes_on(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    assert (await client.get("/readyz")).json()["notices"] == {}
    gateway.policy.problem = "secret/place.rego:1: no"
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["notices"]) == (200, {"policy": "policy.bundle"})
    assert "secret" not in answer.text
