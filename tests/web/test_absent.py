"""A 404 says what was not found, in the words of the request, and no more of what is there than of what is not."""

import re
from typing import Any

import httpx2
import pytest
from handrail import SigningKey

from gateway.errors import Absent
from gateway.model import Role
from gateway.web.absent import KINDS, absent_at
from gateway.web.context import ROUTE
from gateway.web.routes import TABLE
from tests.web.fake import testing_only_Gateway, token

PSEUDONYM = "p-" + "0" * 32


def test_every_parameter_of_a_path_has_a_kind() -> None:
    names = {name for endpoint in TABLE for name in re.findall(r"{([a-z_]+)}", endpoint.path)}
    assert names == KINDS.keys()


@pytest.mark.parametrize(
    ("path", "role", "kind", "named", "why"),
    [
        ("/v1/hands/nowhere", "scoped", "hand", "nowhere", "There is no hand nowhere that you may see."),
        ("/v1/proposals/p9", Role.AUDITOR, "proposal", "p9", "There is no proposal p9 that you may see."),
        ("/v1/policy/bundles/b1", Role.AUTHOR, "policy bundle", "b1", "There is no policy bundle b1 that you may see."),
        ("/log/tile/9/x999/x999/x999/x999/x999/x999/999", Role.AGENT, "tile", None, None),
    ],
)  # fmt: skip
async def test_it_says_which_kind_of_thing_and_which(
    client: httpx2.AsyncClient, path: str, role: str, kind: str, named: str | None, why: str | None
) -> None:
    answer = await client.get(path, headers=token(role))
    said = answer.json()
    assert (answer.status_code, said["code"], said["kind"]) == (404, "request.not_found", kind)
    if named is not None:
        assert (said["id"], said["why"]) == (named, why)


async def test_what_is_out_of_scope_is_said_as_what_is_not_there(client: httpx2.AsyncClient) -> None:
    there, not_there = [
        (await client.get(f"/v1/hands/{name}", headers=token("scoped"))).json() for name in ("git", "nothing")
    ]
    assert there["why"].replace("git", "*") == not_there["why"].replace("nothing", "*")
    assert there.keys() == not_there.keys()


async def test_of_several_things_in_a_path_it_is_not_said_which_one(client: httpx2.AsyncClient) -> None:
    scope = {ROUTE: "/v1/plans/{plan_id}/steps/{step_id}/why", "path_params": {"plan_id": "abc", "step_id": "s1"}}
    assert absent_at(scope) == {"kind": "step", "id": "s1", "why": "There is no step s1 of plan abc that you may see."}


async def test_a_path_of_no_route_names_nothing(client: httpx2.AsyncClient) -> None:
    said = (await client.get("/v1/nothing/of/the/kind", headers=token(Role.AUDITOR))).json()
    assert said["code"] == "request.not_found"
    assert said.keys() & {"kind", "id", "why"} == set()


@pytest.mark.parametrize("named", ["<script>", "a b", "\x1b[2J", "é", "", "a" * 257, "a\n"])
async def test_what_looks_like_no_id_is_not_repeated(named: str) -> None:
    assert Absent("hand", named).facts == {"kind": "hand", "why": "There is no hand that you may see."}


async def test_no_spelling_of_a_path_is_repeated_that_looks_like_no_id(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/hands/%3Cscript%3E", "/v1/hands/%1b%5b2J", "/v1/hands/a%20b"):
        said = (await client.get(path, headers=token(Role.OPERATOR))).json()
        assert (said["code"], said.get("id"), said["why"]) == (
            "request.not_found", None, "There is no hand that you may see.",
        )  # fmt: skip


# --- whom entries name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["/v1/audit/entries?", "/v1/audit/exports?format=ndjson&"])
@pytest.mark.parametrize(
    "given", ["ada", "ada@example.com", "p-1", PSEUDONYM.upper(), f"{PSEUDONYM}0", "x-" + "0" * 32, ""]
)
async def test_an_id_is_refused_where_entries_have_a_pseudonym(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, route: str, given: str
) -> None:
    answer = await client.get(f"{route}principal={given}", headers=token(Role.AUDITOR))
    said = answer.json()
    assert (answer.status_code, said["code"], said["parameter"]) == (400, "request.malformed", "principal")
    assert said["expected"].startswith("a pseudonym, as entries have it")
    assert given == "" or given not in str(said)
    assert gateway.log.appended == [], "nothing was asked, so nothing is on record, the name least of all"


@pytest.mark.parametrize("given", [PSEUDONYM, "i-" + "a" * 32, "system"])
async def test_a_pseudonym_is_asked_for(client: httpx2.AsyncClient, given: str) -> None:
    assert (await client.get(f"/v1/audit/entries?principal={given}", headers=token(Role.AUDITOR))).status_code == 200


# --- words of our own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/keys/k/revoke", {"compromised_at": "yesterday"}),
        ("/v1/principals", {"id": "", "roles": []}),
        ("/v1/issuers", {"id": "brain", "jwk": {**SigningKey.generate().public.public_jwk(), "d": "A" * 43}}),
        ("/v1/freezes", {"scope": "world"}),
    ],
)
async def test_no_library_speaks_in_a_refusal(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> None:
    answer = await client.post(path, json=body, headers=token(Role.SECURITY_ADMIN))
    assert answer.status_code == 400
    for words in ("Value error", "Assertion failed", "pydantic", "Traceback"):
        assert words not in answer.text
