"""Requests of described operations, as a real server reads them: what arrives is what was given, or nothing leaves."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import HandError
from hand_adapters.http import HttpAdapter
from tests.client.stand_in import serving
from tests.hands.hands_support import call
from tests.hands.openapi.documents import body, operation, parameter, root

TEXT = {"type": "string"}
LIST = {"type": "array", "items": TEXT}
OBJECT = {"type": "object", "additionalProperties": TEXT}
FORM = {
    "type": "object",
    "properties": {"a": TEXT, "many": LIST, "deep": OBJECT, "inner": {"type": "object", "additionalProperties": True}},
    "additionalProperties": TEXT,
}
FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
FILES = {
    "type": "object",
    "properties": {
        "note": TEXT,
        "data": {"type": "string", "format": "binary"},
        "more": {"type": "array", "items": FILE},
    },
    "additionalProperties": TEXT,
}
PARAMETERS = [
    parameter("id", "path"),
    parameter("names", "path", LIST),
    parameter("text"),
    parameter("number", schema={"type": "number"}),
    parameter("flag", schema={"type": "boolean"}),
    parameter("many", schema=LIST),
    parameter("comma", schema=LIST, explode=False),
    parameter("pipe", schema=LIST, style="pipeDelimited"),
    parameter("space", schema=LIST, style="spaceDelimited"),
    parameter("deep", schema=OBJECT, style="deepObject", explode=True),
    parameter("pairs", schema=OBJECT, explode=False),
    {"name": "where", "in": "query", "content": {"application/json": {"schema": {}}}},
    parameter("X-Note", "header"),
    parameter("X-List", "header", LIST),
]
DOCUMENT = root(
    {
        "/things/{id}/parts/{names}": {"get": operation(operationId="look", parameters=PARAMETERS)},
        "/json": {"post": operation(operationId="json", requestBody=body({}))},
        "/form": {
            "post": operation(
                operationId="form",
                requestBody=body(FORM, "application/x-www-form-urlencoded", encoding={"deep": {"style": "deepObject"}}),
            )
        },
        "/files": {"post": operation(operationId="files", requestBody=body(FILES, "multipart/form-data"))},
        "/text": {"post": operation(operationId="text", requestBody=body(TEXT, "text/plain"))},
        "/bytes": {"put": operation(operationId="bytes", requestBody=body({}, "application/octet-stream"))},
        "/free": {
            "get": operation(
                operationId="free",
                parameters=[
                    parameter("free", schema=OBJECT),
                    parameter("a"),
                    parameter("n", schema={"type": ["string", "null"]}),
                ],
            )
        },
    },
    components={"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "key"}}},
)
Sender = Callable[[str, dict[str, Any]], Any]


async def tell(request: Request) -> JSONResponse:
    """What a server understood of a request, by its own framework's reading."""
    form: list[list[Any]] = []
    media = request.headers.get("content-type", "")
    raw = await request.body()
    if "form" in media:
        async with request.form() as read:
            for name, value in read.multi_items():
                if isinstance(value, UploadFile):
                    form.append([name, base64.b64encode(await value.read()).decode(), "file"])
                else:
                    form.append([name, value])
    return JSONResponse(
        {
            "path": request.scope["path"],
            "raw_path": request.scope["raw_path"].decode(),
            "query": [list(pair) for pair in request.query_params.multi_items()],
            "raw_query": request.scope["query_string"].decode(),
            "headers": dict(request.headers),
            "media": media,
            "form": form,
            "body": base64.b64encode(raw).decode(),
        }
    )


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    """``send(action, args)`` -> what a real server understood."""
    file = tmp_path_factory.mktemp("document") / "api.json"
    file.write_text(json.dumps(DOCUMENT))
    routes = [Route("/{path:path}", tell, methods=["GET", "POST", "PUT"])]
    with serving(Starlette(routes=routes)) as url, asyncio.Runner() as runner:
        adapter = adapter_of(url, file)
        digest = runner.run(adapter.manifest()).digest
        yield lambda action, args: runner.run(adapter.run(call("api", action, args, digest))).structured
        runner.run(adapter.close())


def adapter_of(url: str, file: Path) -> HttpAdapter:
    more = {"openapi": file, "operations": ("* /**",), "private_network": True}
    return HttpAdapter("api", HandSettings(adapter="http", base_url=url, **more), None)


def arrives(send: Sender, action: str, args: dict[str, Any]) -> Any:
    """What arrived, or ``None`` where nothing left because a value does not fit its place."""
    try:
        return send(action, args)
    except HandError as error:
        if (error.reason, error.failure) != (Reason.SCHEMA_ARGS, HandFailure.NOT_EXECUTED):
            raise
        return None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
lists = st.lists(texts, max_size=3)
objects = st.dictionaries(texts, texts, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
queries = st.fixed_dictionaries(
    {},
    optional={
        "text": texts, "number": st.integers(-(10**9), 10**9), "flag": st.booleans(), "many": lists, "comma": lists,
        "pipe": lists, "space": lists, "deep": objects, "pairs": objects, "where": values,
    },
)  # fmt: skip
often = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_query(pairs: list[list[str]]) -> dict[str, Any]:
    """The inverse of the styles, by splitting what the server decoded."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name == "many":
            found.setdefault(name, []).append(value)
        elif name.startswith("deep["):
            found.setdefault("deep", {})[name[5:-1]] = value
        elif name in {"comma", "pipe", "space"}:
            found[name] = value.split({"comma": ",", "pipe": "|", "space": " "}[name])
        elif name == "pairs":
            items = value.split(",")
            found[name] = dict(zip(items[::2], items[1::2], strict=True))
        else:
            found[name] = json.loads(value) if name in {"number", "flag", "where"} else value
    return found


@given(name=texts, names=st.lists(texts, min_size=1, max_size=3), query=queries)
@often
def test_what_a_server_reads_of_path_and_query_is_what_was_given(
    send: Sender, name: str, names: list[str], query: dict[str, Any]
) -> None:
    got = arrives(send, "look", {"path": {"id": name, "names": names}, "query": query})
    if got is None:
        return
    assert got["path"] == f"/things/{name}/parts/{','.join(names)}"
    assert got["path"].split("/")[4].split(",") == names
    assert read_query(got["query"]) == query
    assert read_query([list(pair) for pair in parse_qsl(got["raw_query"], keep_blank_values=True)]) == query
    assert got["raw_path"].count("/") == 4


@given(value=texts, listed=lists)
@often
def test_what_a_server_reads_of_headers_is_what_was_given(send: Sender, value: str, listed: list[str]) -> None:
    args = {"path": {"id": "i", "names": ["n"]}, "header": {"X-Note": value, "X-List": listed}}
    got = arrives(send, "look", args)
    if got is not None:
        assert got["headers"]["x-note"] == value
        assert got["headers"]["x-list"].split(",") == listed


@given(value=values)
@often
def test_a_json_body_is_the_value(send: Sender, value: Any) -> None:
    got = send("json", {"body": value})
    assert json.loads(base64.b64decode(got["body"])) == value
    assert got["media"] == "application/json"


@given(
    value=st.fixed_dictionaries(
        {}, optional={"a": texts, "many": lists, "deep": objects, "inner": st.dictionaries(texts, values, max_size=2)}
    ),
    others=objects,
)
@often
def test_a_form_is_the_members(send: Sender, value: dict[str, Any], others: dict[str, str]) -> None:
    members = {**others, **value}
    got = arrives(send, "form", {"body": members})
    if got is None:
        return
    found: dict[str, Any] = {}
    for name, text in got["form"]:
        if name == "many":
            found.setdefault(name, []).append(text)
        elif name.startswith("deep[") and "deep" in value:
            found.setdefault("deep", {})[name[5:-1]] = text
        else:
            assert name not in found
            found[name] = json.loads(text) if name == "inner" and "inner" in value else text
    assert found == members


@given(note=texts, data=st.binary(max_size=64), more=st.lists(st.binary(max_size=8), max_size=2), others=objects)
@often
def test_a_multipart_form_is_the_members_and_files(
    send: Sender, note: str, data: bytes, more: list[bytes], others: dict[str, str]
) -> None:
    encoded = {"data": base64.b64encode(data).decode(), "more": [base64.b64encode(one).decode() for one in more]}
    got = arrives(send, "files", {"body": {**others, "note": note, **encoded}})
    if got is None:
        assert not more or any(re.search(r"[\\\x00-\x1f\x7f]", name) for name in others)
        return
    files = [(name, text) for name, text, *kind in got["form"] if kind]
    assert sorted(files) == sorted([("data", encoded["data"]), *(("more", one) for one in encoded["more"])])
    plain = {unquoted(name): text for name, text, *kind in got["form"] if not kind}
    assert plain == {**{unquoted(name): text for name, text in others.items()}, "note": note}


def unquoted(name: str) -> str:
    """What is escaped in a name of a part, as browsers do it, undone."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def test_each_style_is_written_as_the_specification_shows_it(send: Sender) -> None:
    colours, rgb = ["blue", "black", "brown"], {"R": "100", "G": "200"}
    query = {"many": colours, "comma": colours, "pipe": colours, "space": colours, "deep": rgb, "pairs": rgb}
    args = {
        "path": {"id": "a b&é", "names": colours},
        "query": {**query, "number": 1.5, "flag": True, "text": "&=+ #"},
        "header": {"X-List": colours, "X-Note": "plain words"},
    }
    got = send("look", args)
    assert got["raw_path"] == "/things/a%20b%26%C3%A9/parts/blue,black,brown"
    assert got["raw_query"].split("&") == [
        "text=%26%3D%2B%20%23",
        "number=1.5",
        "flag=true",
        "many=blue",
        "many=black",
        "many=brown",
        "comma=blue,black,brown",
        "pipe=blue%7Cblack%7Cbrown",
        "space=blue%20black%20brown",
        "deep%5BG%5D=200",
        "deep%5BR%5D=100",
        "pairs=G,200,R,100",
    ]
    assert (got["headers"]["x-list"], got["headers"]["x-note"]) == ("blue,black,brown", "plain words")
    assert got["headers"]["authorization"] == "DPoP secret-step-credential"
    free = send("free", {"query": {"free": {"x": "1", "y": "2"}, "a": "3"}})
    assert unquote(free["raw_query"]) == "x=1&y=2&a=3"


@pytest.mark.parametrize(
    "args",
    [
        {"path": {"id": "..", "names": ["n"]}},
        {"path": {"id": ".", "names": ["n"]}},
        {"path": {"id": "", "names": ["n"]}},
        {"path": {"id": "a/../../admin", "names": ["n"]}},
        {"path": {"id": "a\\b", "names": ["n"]}},
        {"path": {"id": "a\r\nHost: evil", "names": ["n"]}},
        {"path": {"id": "i", "names": []}},
        {"path": {"id": "i", "names": ["a,b"]}},
        {"path": {"id": "i", "names": [{"a": 1}]}},
        {"path": {"id": "i"}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"many": []}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"comma": ["a,b"]}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"pipe": ["a|b"]}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"space": ["a b"]}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"deep": {}}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"deep": {"a][b": "x"}}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"deep": {"a": ["x"]}}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"text": None}},
        {"path": {"id": "i", "names": ["n"]}, "query": {"unknown": "x"}},
        {"path": {"id": "i", "names": ["n"]}, "header": {"X-Note": "a\r\nX-Admin: 1"}},
        {"path": {"id": "i", "names": ["n"]}, "header": {"X-Note": "é"}},
        {"path": {"id": "i", "names": ["n"]}, "header": {"X-Note": " a"}},
    ],
)
def test_a_value_that_two_readers_could_read_differently_does_not_leave(send: Sender, args: dict[str, Any]) -> None:
    assert arrives(send, "look", args) is None


def test_no_member_of_a_free_object_stands_in_for_another_parameter(send: Sender) -> None:
    assert arrives(send, "free", {"query": {"free": {"a": "evil"}, "a": "good"}}) is None
    for name in ("a", "A", "a[]", "a[0]", "key", "Key", "n"):
        assert arrives(send, "free", {"query": {"free": {name: "evil"}}}) is None
    assert arrives(send, "free", {"query": {"free": {"free": "1"}}}) is not None
    assert arrives(send, "free", {"query": {"n": None}}) is None
    assert arrives(send, "form", {"body": {"deep": {"x": "1"}, "deep[x]": "2"}}) is None
    assert arrives(send, "form", {"body": {"many": []}}) is None


@pytest.mark.parametrize(
    ("action", "args", "pointer"),
    [
        ("look", {"path": {"id": "a/b", "names": ["n"]}}, "/path/id"),
        ("look", {"path": {"id": "i", "names": ["n"]}, "query": {"comma": ["a,b"]}}, "/query/comma"),
        ("look", {"path": {"id": "i", "names": ["n"]}, "header": {"X-Note": " a"}}, "/header/X-Note"),
        ("form", {"body": {"many": []}}, "/body"),
        ("form", {"body": {"_method": "x"}}, "/body/*"),
    ],
)
def test_a_value_that_does_not_fit_is_said_to_be_where_it_is(
    send: Sender, action: str, args: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(HandError) as refusal:
        send(action, args)
    assert refusal.value.facts["pointer"] == pointer
    assert str(refusal.value.facts["why"]).endswith(".")


@pytest.mark.parametrize("name", ["_method", "_METHOD", "_method[]", "X-HTTP-Method-Override", " _method"])
def test_no_member_tells_a_server_another_method(send: Sender, name: str) -> None:
    assert arrives(send, "free", {"query": {"free": {name: "DELETE"}}}) is None
    for action in ("form", "files"):
        assert arrives(send, action, {"body": {name: "DELETE"}}) is None


def test_a_parameter_that_says_another_method_is_not_offered(tmp_path: Path) -> None:
    described = operation(operationId="one", parameters=[parameter("_method"), parameter("a")])
    file = tmp_path / "api.json"
    file.write_text(json.dumps(root({"/one": {"post": described}})))
    adapter = adapter_of("https://api.example", file)
    (action,) = asyncio.run(adapter.manifest()).actions.values()
    assert list(action.args_schema["properties"]["query"]["properties"]) == ["a"]
    assert "says another method" in adapter.notes[0]


def test_headers_that_differ_by_case_alone_are_not_offered(tmp_path: Path) -> None:
    described = operation(operationId="two", parameters=[parameter("X-A", "header"), parameter("x-a", "header")])
    file = tmp_path / "api.json"
    file.write_text(json.dumps(root({"/two": {"get": described}, "/one": {"get": operation(operationId="one")}})))
    adapter = adapter_of("https://api.example", file)
    assert list(asyncio.run(adapter.manifest()).actions) == ["one"]
    assert "differ by case alone" in adapter.notes[0]


@pytest.mark.parametrize("name", ["a\\", 'a\\"; filename="x', "a\0b", "a\x7f"])
def test_a_name_of_a_part_that_could_end_elsewhere_does_not_leave(send: Sender, name: str) -> None:
    assert arrives(send, "files", {"body": {name: "x"}}) is None


def test_bodies_of_text_and_bytes(send: Sender) -> None:
    got = send("text", {"body": "é\n"})
    assert (base64.b64decode(got["body"]).decode(), got["media"]) == ("é\n", "text/plain; charset=utf-8")
    got = send("bytes", {"body": base64.b64encode(b"\x00\xff").decode()})
    assert (base64.b64decode(got["body"]), got["media"]) == (b"\x00\xff", "application/octet-stream")
    for no_bytes in ("%", "a", 7, None):
        assert arrives(send, "bytes", {"body": no_bytes}) is None


def test_one_call_has_one_multipart_body_and_no_value_holds_its_boundary(send: Sender) -> None:
    args = {"body": {"note": "x", "data": "AA=="}}
    first, second = send("files", args), send("files", args)
    assert (first["body"], first["media"]) == (second["body"], second["media"])
    boundary = first["media"].partition("boundary=")[2]
    forged = send(
        "files", {"body": {"note": f'x\r\n--{boundary}\r\nContent-Disposition: form-data; name="admin"\r\n\r\n1'}}
    )
    assert [name for name, *_ in forged["form"]] == ["note"]
    quoted = send("files", {"body": {'n"; filename="x': "1"}})
    assert quoted["form"] == [["n%22; filename=%22x", "1"]]
