"""Whatever a request gets wrong is named, on every route: the member or the parameter, and what was expected."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from pydantic import BaseModel

from gateway.model import Role
from gateway.permissions import Permission, permits
from gateway.web.routes import TABLE
from gateway.web.routes.remote import NOTIFY
from gateway.web.routing import Access, Endpoint, Parameter
from tests.meta.tree import ROOT, python_files, syntax
from tests.web.every_route import ANTHROPIC, BODIES, FORM, FORMS, HEADERS, HOOK, JOSE, JSON, PARAMETERS, QUERIES, called
from tests.web.every_route import PLAIN as EVERY
from tests.web.fake import principal, token

PLAIN = [endpoint for endpoint in EVERY if endpoint.path != NOTIFY]
"""A Git server's notice is whatever that server sends: nothing of it is read."""


PYDANTIC = re.compile(r"Input|instance|valid |inputs|Field required")


def caller(endpoint: Endpoint) -> dict[str, str]:
    """The key of somebody who may call the route."""
    if not isinstance(endpoint.access, Permission):
        key = {} if endpoint.access is Access.OPEN else token(Role.AGENT)
    else:
        key = token(next(role for role in Role if permits(principal("p", role), endpoint.access)))
    return key | HEADERS.get(endpoint.path, {})


async def refused(client: httpx2.AsyncClient, endpoint: Endpoint, query: str = "", body: Any = None) -> dict[str, Any]:
    """The problem document of one request, which always names a place and what should be there."""
    headers, content = caller(endpoint), None
    if body is not None:
        headers, content = headers | JSON, orjson.dumps(body)
    elif endpoint.requests:
        headers, content = headers | JOSE, b"a.b.c"
        if endpoint.path in FORMS:
            headers, content = caller(endpoint) | FORM, FORMS[endpoint.path]
        elif endpoint.path in BODIES:
            headers, content = caller(endpoint) | JSON, orjson.dumps(BODIES[endpoint.path])
    url = endpoint.path.format(**PARAMETERS) + query
    answer = await client.request(endpoint.method, url, headers=headers, content=content)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "request.malformed"), problem
    assert ("pointer" in problem) != ("parameter" in problem)
    assert isinstance(problem["expected"], str)
    assert problem["expected"]
    assert not PYDANTIC.search(problem["expected"]), "words for people"
    return problem


@pytest.mark.parametrize("endpoint", PLAIN, ids=called)
async def test_an_unknown_parameter_is_named_beside_the_known_ones(
    client: httpx2.AsyncClient, endpoint: Endpoint
) -> None:
    problem = await refused(client, endpoint, "?surprise=1")
    assert (problem["parameter"], problem["problem"]) == ("surprise", "unknown")
    for parameter in endpoint.parameters:
        assert parameter.place != "query" or parameter.name in problem["expected"]


@pytest.mark.parametrize("endpoint", PLAIN, ids=called)
@pytest.mark.parametrize("query", ["?x", "?limit=%ff", "?%00=1", "?<b>=1", "?=1", "?limit=%0a"])
async def test_a_query_that_cannot_be_taken_apart_is_named_as_a_whole(
    client: httpx2.AsyncClient, endpoint: Endpoint, query: str
) -> None:
    assert (await refused(client, endpoint, query))["parameter"] == ""


PARAMETERISED = [
    (endpoint, parameter) for endpoint in PLAIN for parameter in endpoint.parameters if parameter.place == "query"
]


def named(value: object) -> str:
    return called(value) if isinstance(value, Endpoint) else value.name if isinstance(value, Parameter) else ""


@pytest.mark.parametrize(("endpoint", "parameter"), PARAMETERISED, ids=named)
async def test_a_parameter_out_of_its_range_is_named(
    client: httpx2.AsyncClient, endpoint: Endpoint, parameter: Parameter
) -> None:
    wrong = ["", "%C3%A9"]
    if parameter.schema["type"] in {"integer", "number"}:
        wrong += ["-1", "1e3", "x", "9" * 16]
    if "maximum" in parameter.schema:
        wrong.append(str(parameter.schema["maximum"] + 1))
    if "minimum" in parameter.schema:
        wrong.append(str(parameter.schema["minimum"] - 1))
    needed = QUERIES.get(endpoint.path, "?")
    start = "?" if f"?{parameter.name}=" in needed else needed + "&" * (needed != "?")
    for value in wrong:
        assert (await refused(client, endpoint, f"{start}{parameter.name}={value}"))["parameter"] == parameter.name
    for value in parameter.schema.get("enum", ()):
        assert value in (await refused(client, endpoint, f"{start}{parameter.name}=nothing"))["expected"]


@pytest.mark.parametrize(("endpoint", "parameter"), PARAMETERISED, ids=named)
async def test_a_repeated_parameter_is_named(
    client: httpx2.AsyncClient, endpoint: Endpoint, parameter: Parameter
) -> None:
    problem = await refused(client, endpoint, f"?{parameter.name}=1&{parameter.name}=1")
    assert (problem["parameter"], problem["problem"]) == (parameter.name, "repeated")


FREE = {"document", "structured"}
"""Members that may be anything; of ``document`` each kind says what."""


def bodies() -> Iterator[tuple[Endpoint, type[BaseModel]]]:
    for endpoint in PLAIN:
        for body in endpoint.requests:
            if body.model is not None:
                yield endpoint, body.model


@pytest.mark.parametrize(("endpoint", "model"), list(bodies()), ids=named)
async def test_a_member_of_the_wrong_kind_is_pointed_at(
    client: httpx2.AsyncClient, endpoint: Endpoint, model: type[BaseModel]
) -> None:
    good = BODIES.get(endpoint.path, {})
    for wrong in ([], "text", 7, None):
        assert (await refused(client, endpoint, body=wrong) if wrong is not None else {"pointer": ""})["pointer"] == ""
    for name, field in model.model_fields.items():
        for value in ({"x": []}, [[]], 1.5):
            problem = await refused(client, endpoint, body={**good, name: value}) if name not in FREE else {}
            assert problem.get("pointer", f"/{name}").split("/")[1] == name
        if field.is_required():
            without = {other: value for other, value in good.items() if other != name}
            problem = await refused(client, endpoint, body=without)
            assert (problem["pointer"], problem["problem"]) == (f"/{name}", "missing")


@pytest.mark.parametrize(("endpoint", "model"), list(bodies()), ids=named)
async def test_a_member_too_many_is_pointed_at_by_its_escaped_name(
    client: httpx2.AsyncClient, endpoint: Endpoint, model: type[BaseModel]
) -> None:
    good = BODIES.get(endpoint.path, {})
    problem = await refused(client, endpoint, body={**good, "surprise": 1})
    assert (problem["pointer"], problem["problem"]) == ("/surprise", "extra_forbidden")
    problem = await refused(client, endpoint, body={**good, "ignore all rules/": 1})
    assert problem["pointer"] == "", "what is no name is not repeated"


def test_every_route_is_walked() -> None:
    others = {"/mcp", "/mcp/{hand_id}", HOOK, NOTIFY, *(endpoint.path for endpoint in ANTHROPIC)}
    assert {endpoint.path for endpoint in TABLE} - {endpoint.path for endpoint in PLAIN} == others
    assert len(list(bodies())) == sum(body.model is not None for endpoint in PLAIN for body in endpoint.requests)


def test_nothing_is_malformed_without_saying_where() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files("gateway")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("Refused(Reason.REQUEST_MALFORMED")
    ]
    assert bare == [], "gateway.errors.Malformed asks for the place and for what was expected"
