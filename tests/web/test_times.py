"""Moments on the wire have one form: as the OpenAPI document says, and as a real gateway answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from handrail import MalformedError, SigningKey, parse_time
from handrail.times import asked_time
from hypothesis import given
from hypothesis import strategies as st

from gateway import times
from gateway.app import build
from gateway.model import Role
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from gateway.web.openapi import openapi
from gateway.web.routes import TABLE
from tests.moments import TIMELY, in_form, moments
from tests.web.conftest import serving

DURATIONS: Final = re.compile(r".*_(seconds|milliseconds|days)")
DOCUMENT: Final = openapi(TABLE, "1", "http://localhost")


def scalars(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The string and number forms that a member may take."""
    for one in schema.get("anyOf", [schema]):
        if one.get("type") in {"string", "number", "integer"}:
            yield one


def members() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for model, schema in DOCUMENT["components"]["schemas"].items():
        for name, member in schema.get("properties", {}).items():
            yield model, name, member


def test_every_moment_in_the_document_is_a_date_time() -> None:
    found = 0
    for model, name, member in members():
        if TIMELY.fullmatch(name) and not DURATIONS.fullmatch(name):
            for one in scalars(member):
                assert one.get("format") == "date-time", f"{model}.{name} is not written as the other moments are"
                found += 1
    assert found > 30


def test_every_moment_of_an_answer_has_the_one_form() -> None:
    asked = {"KeyRevocation", "HoldRequest"}
    for model, name, member in members():
        for one in scalars(member):
            if one.get("format") == "date-time" and model not in asked:
                assert one["pattern"] == times.PATTERN, f"{model}.{name}"


def test_every_moment_that_is_asked_for_is_a_date_or_a_date_time() -> None:
    found = 0
    for endpoint in TABLE:
        for parameter in endpoint.parameters:
            if TIMELY.fullmatch(parameter.name):
                formats = {one.get("format") for one in parameter.schema["anyOf"]}
                assert formats == {"date-time", "date"}, f"{endpoint.path} {parameter.name}"
                found += 1
    assert found >= 9


@given(st.integers(0, 4_000_000_000_000))
def test_what_is_written_is_read_again(milliseconds: int) -> None:
    text = times.format_time(milliseconds / 1000)
    assert re.fullmatch(times.PATTERN, text)
    assert times.format_time(times.parse_time(text)) == text
    assert parse_time(text).timestamp() == times.parse_time(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-21T03:00:00+01:00", 1_795_226_400.0),
        ("2026-11-21T02:00:00.5Z", 1_795_226_400.5),
        ("2026-11-21T02:00:00.123456789Z", 1_795_226_400.123456),
    ],
)
def test_any_zone_and_precision_is_read(text: str, seconds: float) -> None:
    assert times.parse_time(text) == times.parse_time_or_date(text) == parse_time(text).timestamp() == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "1795226400", "now", "2026-11-21 02:00:00Z", "2026-11-21T02:00:00", "2026-11-21T02:00Z",
        "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z", "2026-11-21T02:00:00Z\n",
        "2026-11-21T02:00:00+25:00", "٢٠٢٦-11-21T02:00:00Z", "2026-W47-6T02:00:00Z", "20261121T020000Z",
    ],
)  # fmt: skip
def test_nothing_else_is_a_time(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which text it was, the caller knows
        times.parse_time(text)
    with pytest.raises(MalformedError):
        parse_time(text)


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_nobody_meant_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        times.parse_time(text)


def test_a_date_is_its_beginning_where_dates_are_taken() -> None:
    assert times.parse_time_or_date("2026-11-21") == times.parse_time("2026-11-21T00:00:00Z")
    with pytest.raises(ValueError):  # noqa: PT011
        times.parse_time("2026-11-21")


def test_the_client_sends_no_time_without_its_zone() -> None:
    assert asked_time(datetime(2026, 11, 21, 2, tzinfo=UTC)) == "2026-11-21T02:00:00+00:00"
    with pytest.raises(MalformedError):
        asked_time(datetime(2026, 11, 21, 2))  # noqa: DTZ001


# --- a real gateway --------------------------------------------------------------------------------------------------


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    gateway = await asyncio.to_thread(build, Settings(home=tmp_path, server={"port": 0}))
    async with (
        serving(create_app(gateway), gateway.settings) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        [one] = await gateway.directory.bootstrap(
            [NewPrincipal("root", [str(role) for role in Role if role not in {Role.AGENT, Role.HAND}])]
        )
        client.headers["authorization"] = f"Bearer {one['api_key']['token']}"
        yield client


async def test_real_answers_write_every_moment_so(http: httpx2.AsyncClient) -> None:
    jwk = SigningKey.generate().public.public_jwk()
    answers: dict[str, Any] = {}
    for path, body in (
        ("/v1/principals", {"id": "bob", "roles": ["approver"]}),
        ("/v1/principals/bob/enrolments", None),
        ("/v1/issuers", {"id": "brain", "jwk": jwk}),
        ("/v1/freezes", {"scope": "principal", "subject": "bob", "cause": "drill"}),
        ("/v1/privacy/holds", {"person": "bob", "code": "legal_claim", "until": "2900-01-01T00:00:00+05:30"}),
        ("/v1/privacy/access", {"person": "bob"}),
        ("/v1/keys/step/rotate", {}),
    ):
        answer = await http.post(path, json=body) if body is not None else await http.post(path)
        assert answer.is_success, answer.text
        answers[f"POST {path}"] = answer.json()
    kid = next(key["kid"] for key in answers["POST /v1/keys/step/rotate"]["keys"] if key["state"] == "retiring")
    stolen = {"compromised_at": "2026-01-01T00:00:00Z"}
    answers["revoked"] = (await http.post(f"/v1/keys/{kid}/revoke", json=stolen)).json()
    for endpoint in TABLE:
        plain = "{" not in endpoint.path and endpoint.path not in {"/mcp", "/openapi.json"}
        if endpoint.method == "GET" and plain:
            asked = "?framework=gdpr" if endpoint.path == "/v1/controls/report" else ""
            answer = await http.get(endpoint.path + asked)
            if answer.headers["content-type"].startswith("application/json"):
                answers[endpoint.path] = answer.json()
    found = {(path, name, value) for path, document in answers.items() for name, value in moments(document)}
    assert [one for one in found if not in_form(one[2])] == []
    assert {path for path, _, _ in found} >= {
        "POST /v1/principals", "POST /v1/principals/bob/enrolments", "POST /v1/issuers", "POST /v1/freezes",
        "POST /v1/privacy/holds", "POST /v1/privacy/access", "/v1/keys", "/v1/audit/entries", "/v1/controls/report",
        "/v1/controls/access-review", "/v1/controls/processing-record",
    }  # fmt: skip
    assert ("POST /v1/privacy/holds", "until", "2899-12-31T18:30:00.000Z") in found
    assert ("revoked", "compromised_at", "2026-01-01T00:00:00.000Z") in found
