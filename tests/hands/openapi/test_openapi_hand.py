"""An http hand that is made of a document: what it offers, what it says about the rest, and what a change of it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from gateway.calls import Injections
from gateway.manifest import ArgumentRole, SideEffects
from gateway.settings import HandSettings, SettingsError
from gateway.web.openapi import openapi
from gateway.web.routes import TABLE
from hand_adapters.contract import HandDrifted
from hand_adapters.diff import differences
from hand_adapters.http import HttpAdapter
from hand_adapters.http.openapi.selection import OPERATIONS_MAX
from hand_adapters.schemas import Checker
from tests.hands.hands_support import call
from tests.hands.openapi.documents import answers, body, operation, parameter, root

PET = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}, "required": ["name"]}
PETS = {
    "/pets": {
        "get": {
            "operationId": "listPets",
            "parameters": [parameter("limit", schema={"type": "integer"})],
            "responses": answers({"type": "array", "items": PET}),
            "tags": ["read"],
        },
        "post": {"operationId": "addPet", "requestBody": body(PET), "responses": answers(PET, "201")},
    },
    "/pets/{id}": {"delete": operation(operationId="dropPet", parameters=[parameter("id", "path")])},
    "/raw": {"post": operation(operationId="raw", requestBody=body({}, "application/xml"))},
}
BEARER = {
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{"token": []}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "pets.json", root(PETS))


def write(file: Path, document: Any) -> Path:
    file.write_text(json.dumps(document))
    return file


def hand(file: Path, *operations: str, url: str = "https://api.example/v1", **more: Any) -> HttpAdapter:
    values = {"base_url": url, "openapi": str(file), "operations": operations or ("* /**",), **more}
    settings = HandSettings(adapter="http", **values)
    HttpAdapter.validate("pets", settings)
    return HttpAdapter("pets", settings, None)


async def test_what_is_not_listed_is_not_offered_and_what_nobody_declared_is_the_worst(file: Path) -> None:
    one = await hand(file, "listPets", "addPet").manifest()
    assert set(one.actions) == {"listPets", "addPet"}
    assert {action.side_effects for action in one.actions.values()} == {SideEffects.EXTERNAL}
    assert not any(action.idempotent or action.roles for action in one.actions.values())
    declared = {"listPets": {"side_effects": "none", "idempotent": True}, "addPet": {"args": {"/body/name": "content"}}}
    two = await hand(file, "listPets", "addPet", actions=declared).manifest()
    assert two.actions["listPets"].side_effects is SideEffects.NONE
    assert two.actions["addPet"].roles == {"/body/name": ArgumentRole.CONTENT}
    assert two.digest != one.digest


async def test_an_operation_that_cannot_be_offered_is_left_out_and_said_so(file: Path) -> None:
    made = hand(file, actions={"listPet": {"side_effects": "none"}})
    assert "raw" not in (await made.manifest()).actions
    assert made.notes == (
        "Action listPet is declared, and the document offers no such operation.",
        (
            "Operation raw is left out: /paths/~1raw/post/requestBody/content: application/xml cannot be written. "
            "Choose an operation that takes JSON or a form."
        ),
    )
    mistyped = hand(file, "addPet", "dropPet", actions={"addPet": {"args": {"/body/nam": "content"}}})
    assert "addPet" not in (await mistyped.manifest()).actions
    assert "/body/nam" in mistyped.notes[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operations": ("raw",)}, "no selected operation can be offered"),
        ({"operations": ("listpets",)}, "no operation is 'listpets'"),
        ({"openapi": "/nowhere.yaml"}, "No such file"),
        ({"openapi": "https://api.example/openapi.json"}, "saved first, and reviewed"),
        ({"base_url": "http://api.example"}, "private_network"),
        (
            {"actions": {"addPet": {"method": "GET", "path": "/x", "args_schema": {"type": "object"}}}},
            "is an operation of the document",
        ),
        (
            {"actions": {"addPet": {"pagination": {"by": "link"}, "side_effects": "none"}}},
            "only a GET whose side_effects",
        ),
        ({"actions": {"listPets": {"pagination": {"by": "link"}}}}, "only a GET whose side_effects"),
    ],
)
def test_a_declaration_that_cannot_be_used_stops_the_start(file: Path, changes: dict[str, Any], said: str) -> None:
    operations = changes.pop("operations", ("* /**",))
    url = changes.pop("base_url", "https://api.example/v1")
    with pytest.raises(SettingsError) as refused:
        hand(changes.pop("openapi", file), *operations, url=url, **changes)
    assert said in refused.value.detail
    assert refused.value.detail.startswith("hands.pets.")


@pytest.mark.parametrize(
    "values",
    [
        {"openapi": "a.json"},
        {"operations": ("a",)},
        {"openapi": "a.json", "operations": ("a",), "actions": {"a": {"method": "GET"}}},
        {"actions": {"a": {"side_effects": "none"}}},
        {"adapter": "remote", "openapi": "a.json", "operations": ("a",)},
        {"adapter": "remote", "actions": {"a": {"args_schema": {}, "pagination": {"by": "link"}}}},
        *(
            {"openapi": "a.json", "operations": ("a",), "actions": {"a": {"pagination": paging}}}
            for paging in (
                {"by": "link", "parameter": "page"},
                {"by": "cursor", "parameter": "after"},
                {"by": "cursor", "parameter": "after", "cursor": "/next", "items": "/data"},
                {"by": "page", "parameter": "page"},
                {"by": "offset", "items": "/data"},
                {"by": "link", "pages_max": 101},
                {"by": "guess"},
            )
        ),
    ],
)
def test_half_a_declaration_is_none(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HandSettings(**{"adapter": "http", "base_url": "https://api.example", **values})


async def test_declared_actions_stand_beside_those_of_a_document(file: Path) -> None:
    declared = {"ping": {"method": "GET", "path": "/ping", "args_schema": {"type": "object"}}}
    assert set((await hand(file, "listPets", actions=declared).manifest()).actions) == {"listPets", "ping"}


CHANGES = {
    "where a parameter goes": lambda paths: paths["/pets"]["get"]["parameters"][0].update({"in": "header"}),
    "how a parameter is written": lambda paths: paths["/pets"]["get"]["parameters"][0].update({"explode": False}),
    "what a parameter may be": lambda paths: paths["/pets"]["get"]["parameters"][0].update({"schema": {}}),
    "a new parameter": lambda paths: paths["/pets"]["get"]["parameters"].append(parameter("admin")),
    "what an answer is": lambda paths: paths["/pets"]["get"].update({"responses": answers({"type": "object"})}),
    "what it is said to do": lambda paths: paths["/pets"]["get"].update({"description": "Call raw first."}),
    "its path": lambda paths: paths.update({"/other": paths.pop("/pets")}),
    "an operation under a tag": lambda paths: paths["/pets"]["post"].update({"tags": ["read"]}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_changed_document_is_another_hand(file: Path, name: str) -> None:
    before = hand(file, "tag:read")
    pinned = await before.manifest()
    changed = json.loads(json.dumps(PETS))
    CHANGES[name](changed)
    write(file, root(changed))
    assert (await before.manifest()).digest == pinned.digest, "a document is read at the start alone"
    after = hand(file, "tag:read")
    offered = await after.manifest()
    assert offered.digest != pinned.digest
    assert differences(pinned.document(), offered.document())
    with pytest.raises(HandDrifted):
        await after.run(call("pets", "listPets", {}, pinned.digest))


async def test_what_a_document_says_elsewhere_is_no_drift(file: Path) -> None:
    pinned = (await hand(file, "listPets").manifest()).digest
    changed = {**PETS, "/new": {"get": operation()}}
    write(file, root(changed, servers=[{"url": "https://evil.example"}], info={"title": "U", "version": "2"}))
    assert (await hand(file, "listPets").manifest()).digest == pinned


def key(place: str, name: str) -> dict[str, Any]:
    scheme = {"type": "apiKey", "in": place, "name": name}
    return {"components": {"securitySchemes": {"key": scheme}}, "security": [{"key": []}]}


@pytest.mark.parametrize(
    ("said", "secret", "words"),
    [
        (BEARER, {"place": "bearer"}, 'place = "bearer"'),
        (key("header", "X-Key"), {"place": "header", "parameter": "x-key"}, 'place = "header", parameter = "X-Key"'),
        (key("query", "api_key"), {"place": "query", "parameter": "api_key"}, 'parameter = "api_key"'),
        (
            {"components": {"securitySchemes": {"pw": {"type": "http", "scheme": "Basic"}}}, "security": [{"pw": []}]},
            {"place": "basic", "username": "u"},
            'username = "NAME"',
        ),
        (
            {
                "components": {"securitySchemes": {"o": {"type": "oauth2", "flows": {}}}},
                "security": [{"o": ["read"]}],
            },
            {"place": "bearer"},
            "an access token (oauth2)",
        ),
    ],
)
def test_a_key_that_a_document_asks_for_is_named_to_the_operator(
    file: Path, said: dict[str, Any], secret: dict[str, Any], words: str
) -> None:
    write(file, root(PETS, **said))
    [note] = hand(file, "listPets").notes
    assert words in note
    assert "[hands.pets.secrets.NAME]" in note
    assert hand(file, "listPets", secrets={"k": secret}).notes == ()


def test_a_key_that_no_secret_can_be_is_said_to_be_so(file: Path) -> None:
    write(file, root(PETS, **key("cookie", "sid")))
    assert "no secret can be put into" in hand(file, "listPets").notes[0]
    write(file, root(PETS, **key("header", 'x"\n[policy]\nsource = "directory')))
    assert "no secret can be put into" in hand(file, "listPets").notes[0]
    write(file, root(PETS, security=[{"unknown": []}]))
    assert "no secret can be put into" in hand(file, "listPets").notes[0]
    write(file, root(PETS, **BEARER | {"security": [{"token": []}, {}]}))
    assert hand(file, "listPets").notes == (), "one way in is open"


async def test_a_parameter_that_is_a_secret_is_no_argument(file: Path) -> None:
    listed = [parameter("X-Api-Key", "header", required=True), parameter("k", required=True), parameter("q")]
    paths = {"/x": {"get": operation(operationId="x", parameters=listed)}}
    write(file, root(paths))
    with pytest.raises(SettingsError, match=r'place = "header", parameter = "X-Api-Key"'):
        hand(file, "x")
    secrets = {"h": {"place": "header", "parameter": "x-api-key"}, "q": {"place": "query", "parameter": "k"}}
    manifest = await hand(file, "x", secrets=secrets).manifest()
    assert manifest.actions["x"].args_schema["properties"] == {
        "query": {
            "type": "object",
            "properties": {"q": {"type": "string"}},
            "required": [],
            "additionalProperties": False,
        }
    }


async def test_a_call_goes_to_the_base_url_and_to_no_server_of_the_document(file: Path) -> None:
    seen: list[tuple[str, str, str | None, str]] = []

    async def tell(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers.get("X-Key"), await request.text()))
        return web.json_response({"id": 1, "name": "Rex"}, status=201)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", tell)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    write(file, root(PETS, servers=[{"url": "https://evil.example"}], **key("header", "X-Key")))
    made = hand(file, url=url, private_network=True, secrets={"k": {"place": "header", "parameter": "X-Key"}})
    digest = (await made.manifest()).digest

    async def inject(scheme: str, host: str, port: int, _method: str, _path: str) -> Injections:
        return Injections(headers={"X-Key": f"for {scheme}://{host}:{port}"})

    got = await made.run(call("pets", "addPet", {"body": {"name": "Rex"}}, digest, inject=inject))
    assert got.structured == {"id": 1, "name": "Rex"}
    await made.run(call("pets", "dropPet", {"path": {"id": "a b"}}, digest, inject=inject))
    await made.close()
    await runner.cleanup()
    ours = f"for {url.removesuffix('/v1')}"
    assert seen == [
        ("POST", "/v1/pets", ours, '{"name":"Rex"}'),
        ("DELETE", "/v1/pets/a%20b", ours, ""),
    ]


async def test_the_gateways_own_document_makes_a_hand(file: Path) -> None:
    write(file, openapi(TABLE, "1.0", "https://gateway.example"))
    made = hand(file, "GET /v1/**", secrets={"api-key": {"place": "bearer"}})
    manifest = await made.manifest()
    assert len(manifest.actions) > 30
    for action in manifest.actions.values():
        assert bool(Checker(action.args_schema).problems({})) == bool(action.args_schema["required"])


async def test_a_hand_has_no_more_operations_than_a_person_can_review(file: Path) -> None:
    write(file, root({f"/{n}": {"get": operation()} for n in range(OPERATIONS_MAX + 1)}))
    with pytest.raises(SettingsError, match="at most"):
        hand(file)
