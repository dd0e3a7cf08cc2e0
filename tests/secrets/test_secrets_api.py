"""The routes of secrets: who may, what they answer, and that a value goes in and never comes out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema_rs import Draft202012Validator

from gateway.web.openapi import openapi
from gateway.web.routes import TABLE
from tests.canaries import Canaries
from tests.secrets.world import Api, World, opened

COMPONENTS = openapi(TABLE, "1.0", "http://127.0.0.1")["components"]


def check(schema: str, value: Any) -> None:
    Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": COMPONENTS}).validate(value)


@pytest.fixture
async def world(tmp_path: Path, api: Api) -> AsyncIterator[World]:
    async with opened(tmp_path, api, {"token": {}, "absent": {"place": "header", "parameter": "X-Absent"}}) as running:
        yield running


async def send(world: World, method: str, path: str, body: Any = None, who: str = "admin") -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=world.url, timeout=30) as http:
        return await http.request(method, path, headers=world.tokens[who], json=body)


async def test_a_secret_is_kept_shown_replaced_and_forgotten_without_its_value(
    world: World, canaries: Canaries
) -> None:
    first, second = canaries.plant("awkward"), canaries.plant()
    made = await send(world, "POST", "/v1/secrets", {"name": "token", "value": first})
    assert made.status_code == 201, made.text
    check("SecretView", made.json())
    again = await send(world, "POST", "/v1/secrets", {"name": "token", "value": second})
    assert (again.status_code, again.json()["problem"]) == (409, "secret.exists")
    rotated = await send(world, "POST", "/v1/secrets/token/rotate", {"value": second})
    assert (rotated.status_code, rotated.json()["version"], rotated.json()["hands"]) == (200, "2", ["crm"])
    listed = await send(world, "GET", "/v1/secrets")
    check("SecretList", listed.json())
    assert [(one["name"], one["version"]) for one in listed.json()["secrets"]] == [("absent", None), ("token", "2")]
    checked = await send(world, "POST", "/v1/secrets/check", {})
    check("SecretChecks", checked.json())
    assert [(one["name"], one["usable"], one.get("reason")) for one in checked.json()["checks"]] == [
        ("absent", False, "secret.missing"),
        ("token", True, None),
    ]
    removed = await send(world, "DELETE", "/v1/secrets/token")
    check("SecretView", removed.json())
    gone = [await send(world, "GET", "/v1/secrets/token"), await send(world, "DELETE", "/v1/secrets/token")]
    assert [answer.status_code for answer in gone] == [404, 404]
    assert [(answer.json()["kind"], answer.json()["id"]) for answer in gone] == [("secret", "token")] * 2
    answers = [made, again, rotated, listed, checked, removed, *gone]
    canaries.must_not_be_in("an answer", b"".join(answer.content for answer in answers))
    facts = [entry["facts"] for kind in ("SECSET", "SECROT", "SECREM") for entry in world.entries(kind)]
    assert facts == [{"secret": "token", "version": version} for version in ("1", "2", "2")]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "token", "value": "short"},
        {"name": "token", "value": "VALUE\r\nInjected: yes"},
        {"name": "token", "value": "VALUE" * 4000},
        {"name": "token", "value": ["VALUE"]},
        {"name": "../token", "value": "VALUE"},
        {"name": "token", "value": "VALUE", "VALUE": 1},
        {"name": "VALUE"},
    ],
    ids=["short", "two lines", "long", "a list", "name", "foreign member", "nothing"],
)
async def test_a_refusal_repeats_nothing_of_a_value(world: World, canaries: Canaries, body: dict[str, Any]) -> None:
    value = canaries.plant("awkward")
    sent = {
        name.replace("VALUE", value): given.replace("VALUE", value) if isinstance(given, str) else given
        for name, given in body.items()
    }
    answer = await send(world, "POST", "/v1/secrets", sent)
    assert answer.status_code == 400, answer.text
    canaries.must_not_be_in("a refusal", answer.content)
    assert world.entries("SECSET") == []


@pytest.mark.parametrize("who", ["op", "eve", "bot"])
async def test_nobody_but_a_security_admin_gets_at_secrets(world: World, who: str) -> None:
    for method, path, body in (
        ("GET", "/v1/secrets", None),
        ("GET", "/v1/secrets/token", None),
        ("POST", "/v1/secrets", {"name": "token", "value": "the-first-value"}),
        ("POST", "/v1/secrets/token/rotate", {"value": "the-first-value"}),
        ("POST", "/v1/secrets/check", {}),
        ("DELETE", "/v1/secrets/token", None),
    ):
        answer = await send(world, method, path, body, who)
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden"), path
