"""Schema objects of both dialects as JSON Schema 2020-12, and operations as actions."""

from typing import Any

import pytest
from openapi_spec_validator import validate

from hand_adapters.annotate import action
from hand_adapters.http.openapi import dialect
from hand_adapters.http.openapi.dialect import Direction, Translation
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.offers import offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.selection import OPERATIONS_MAX, select
from hand_adapters.schemas import Checker, normalise
from tests.hands.openapi.documents import BASE, answers, body, offered, only, operation, parameter, root, schemas

FORM = "application/x-www-form-urlencoded"


def translated(schema: Any, version: str = "3.0.3", direction: Direction = Direction.REQUEST, **named: Any) -> Any:
    document = Document(root(version=version, **schemas(**named)))
    return Translation(document, direction).schema(schema, "/there")


def taken(schema: Any, value: Any, *args: Any, close: bool = True, **named: Any) -> bool:
    return not Checker(normalise(translated(schema, *args, **named), close=close)).problems(value)


def test_the_3_0_dialect_means_in_2020_12_what_it_meant() -> None:
    assert translated({"type": "string", "nullable": True, "example": "x", "xml": {}, "x-more": 1}) == {
        "type": ["string", "null"]
    }
    bound = {"type": "number", "minimum": 1, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": False}
    assert translated(bound) == {"type": "number", "exclusiveMinimum": 1, "maximum": 5}
    assert translated({"exclusiveMinimum": 1, "type": "number"}, "3.1.0") == {"exclusiveMinimum": 1, "type": "number"}
    assert translated({"type": "string", "nullable": True}, "3.1.0") == {"type": "string"}, "3.1 has no nullable"
    assert translated({"$ref": "#/components/schemas/A", "nullable": True}, A={"type": "string"}) == {
        "$ref": "#/$defs/A",
        "$defs": {"A": {"type": "string"}},
    }
    beside = translated({"$ref": "#/components/schemas/A", "maxLength": 2}, "3.1.0", A={"type": "string"})
    assert beside == {"$ref": "#/$defs/A", "maxLength": 2, "$defs": {"A": {"type": "string"}}}


def test_nullable_without_a_type_admits_null_in_answers_alone() -> None:
    schema = {"nullable": True, "allOf": [{"$ref": "#/components/schemas/A"}]}
    assert not taken(schema, None, A={"type": "object"})
    assert taken(schema, None, "3.0.3", Direction.ANSWER, A={"type": "object"})
    listed = {"type": "string", "nullable": True, "enum": ["a"]}
    assert not taken(listed, None)
    assert taken(listed, None, "3.0.3", Direction.ANSWER)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "maximum": 2**63 - 1}, 2**53 - 1, 1e21),
        ({"type": "integer", "minimum": -(2**63)}, -(2**53 - 1), -1e21),
        ({"type": "number", "exclusiveMaximum": 2**60}, 2**53 - 1, 1e21),
        ({"type": "number", "minimum": 2**60}, 1e21, 2**53 - 1),
        ({"type": "number", "exclusiveMinimum": 2**60}, 1e21, 2**53 - 1),
        ({"type": "number", "maximum": 10**25}, 1e24, 1e26),
        ({"type": "integer", "minimum": 2**60, "exclusiveMinimum": True}, 1e21, 2**53 - 1),
        ({"enum": [1, 2**63]}, 1, 2),
    ],
)
def test_bounds_that_no_message_can_carry_bound_the_same_messages(schema: Any, good: Any, bad: Any) -> None:
    assert taken(schema, good)
    assert not taken(schema, bad)


def test_read_only_members_are_in_no_request_and_write_only_ones_in_no_answer() -> None:
    pet = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "made": {"$ref": "#/components/schemas/Made"},
            "secret": {"type": "string", "writeOnly": True},
            "name": {"type": "string"},
        },
        "required": ["id", "made", "secret", "name"],
    }
    made = {"type": "string", "readOnly": True}
    assert taken(pet, {"secret": "s", "name": "n"}, Made=made)
    assert not taken(pet, {"id": 1, "secret": "s", "name": "n"}, Made=made)
    assert taken(pet, {"id": 1, "made": "m", "name": "n"}, "3.0.3", Direction.ANSWER, close=False, Made=made)
    assert not taken(pet, {"made": "m", "name": "n"}, "3.0.3", Direction.ANSWER, close=False, Made=made)


def test_recursive_schemas_are_checked_to_any_depth_and_closed() -> None:
    tree = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "below": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
        "required": ["value"],
    }
    use = {"$ref": "#/components/schemas/Tree"}
    assert taken(use, {"value": 1, "below": [{"value": 2, "below": [{"value": 3}]}]}, Tree=tree)
    assert not taken(use, {"value": 1, "below": [{"value": 2, "below": [{"value": "3"}]}]}, Tree=tree)
    assert not taken(use, {"value": 1, "below": [{"value": 2, "extra": 1}]}, Tree=tree)
    circle = {"$ref": "#/components/schemas/A"}
    with pytest.raises(DocumentError, match="circle"):
        offered(node=operation(parameters=[circle]), components={"parameters": {}, "schemas": {"A": circle}})


def test_where_a_base_with_a_discriminator_is_asked_for_its_children_may_stand() -> None:
    named = {
        "Pet": {
            "type": "object",
            "discriminator": {"propertyName": "kind"},
            "properties": {"kind": {"type": "string"}},
            "required": ["kind"],
        },
        "Cat": {
            "allOf": [
                {"$ref": "#/components/schemas/Pet"},
                {"type": "object", "properties": {"lives": {"type": "integer"}}},
            ]
        },
        "Dog": {
            "allOf": [
                {"$ref": "#/components/schemas/Pet"},
                {"type": "object", "properties": {"bark": {"type": "string"}}},
            ]
        },
    }
    use = {"$ref": "#/components/schemas/Pet"}
    assert taken(use, {"kind": "Cat", "lives": 9}, **named)
    assert taken(use, {"kind": "Pet"}, **named)
    assert not taken(use, {"kind": "Cat", "lives": "nine"}, **named)
    assert not taken(use, {"kind": "Cat", "wings": 2}, **named)
    assert not taken({"$ref": "#/components/schemas/Cat"}, {"kind": "Cat", "bark": "loud"}, **named)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "https://evil.example/schema.json"}, "leads out"),
        ({"$ref": "file:///etc/passwd"}, "leads out"),
        ({"$ref": "#anchor"}, "leads out"),
        ({"$ref": "#/components/schemas/None"}, "leads nowhere"),
        ({"$ref": 7}, "leads out"),
        ({"$id": "x"}, "/there/$id: is not supported"),
        ({"$dynamicRef": "#x"}, "/there/$dynamicRef"),
        ({"items": [{"type": "string"}]}, "prefixItems"),
        ({"dependencies": {}}, "/there/dependencies"),
        ({"allOf": {}}, "no list"),
        ({"properties": []}, "no object"),
        ({"properties": {"a/b": 3}}, "/there/properties/a~1b: is no schema"),
        ({"minimum": "1"}, "/there/minimum: is no number"),
        ({"maximum": 10**400}, "too large"),
        ({"const": 2**60}, "no canonical JSON form"),
        ("string", "is no schema"),
    ],
)
def test_a_schema_that_cannot_be_said_is_refused_with_its_place(schema: Any, said: str) -> None:
    with pytest.raises(DocumentError) as refused:
        translated(schema, "3.1.0")
    assert said in refused.value.detail


def test_schemas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "SCHEMA_VALUES_MAX", 10)
    with pytest.raises(DocumentError, match="more than 10 schemas"):
        translated({"anyOf": [{"type": "string"}] * 10})
    monkeypatch.setattr(dialect, "SCHEMA_MAX_BYTES", 100)
    with pytest.raises(DocumentError, match="more than 100 bytes"):
        translated({"description": "x" * 100})


def test_arguments_of_one_name_in_three_places_are_three_arguments() -> None:
    node = operation(
        parameters=[parameter("id", "path"), parameter("id", "query", required=True), parameter("id", "header")],
        requestBody=body({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}),
    )
    made = offered("/x/{id}", "put", node=node)
    schema = Checker(normalise(made.args_schema, close=True))
    good = {"path": {"id": "a"}, "query": {"id": "b"}, "body": {"id": 1}}
    assert not schema.problems(good)
    assert not schema.problems(good | {"header": {"id": "c"}})
    for place, given in good.items():
        assert schema.problems({name: value for name, value in good.items() if name != place})
        assert schema.problems(good | {place: {**given, "other": 1}})
    assert schema.problems(good | {"cookie": {}})


def test_the_schema_of_answers_is_that_of_every_success() -> None:
    pet, text = {"type": "object", "required": ["id"]}, {"text/plain": {"schema": {"type": "string"}}}

    def result(responses: Any) -> Any:
        return offered(node={"responses": responses}).result_schema

    assert result(answers(pet)) == pet
    assert result({**answers(pet), "404": {"description": "", "content": {"application/json": {"schema": {}}}}}) == pet
    assert result(answers(pet) | {"204": {"description": "none"}}) == {"anyOf": [pet, {"type": "null"}]}
    assert result(answers(pet, "2XX")) == pet
    assert result(answers({})) is None
    assert result({"204": {"description": ""}}) is None
    assert result({"200": {"description": "", "content": text}}) is None
    assert result({"default": {"description": ""}}) is None
    both = {"200": {"description": "", "content": {"application/problem+json": {"schema": pet}, **text}}}
    assert result(both) == {"anyOf": [pet, {"type": "null"}]}


def test_answers_whose_schema_cannot_be_used_are_not_checked_and_said_so() -> None:
    made = offered(node={"responses": answers({"type": "string", "pattern": "(?=a)"})})
    assert made.result_schema is None
    assert "its answers are not checked" in made.notes[0]


def test_names_are_stable_and_never_alike() -> None:
    paths = {
        "/a/{b}": {"get": operation(), "put": operation(operationId="pets/put it")},
        "/a/b": {"get": operation(), "post": operation(operationId="same")},
        "/c": {"get": operation(operationId="same"), "post": operation(operationId="é")},
        "/d": {"get": operation(operationId="x" * 100)},
    }
    made = Document(root(paths)).operations
    names = {one.title: one.name for one in made}
    assert names["PUT /a/{b}"] == "pets_put_it"
    assert names["POST /c"] == "post", "of nothing that can be in a name the method is left"
    assert names["GET /a/b"].startswith("get_a_b_")
    assert names["GET /a/{b}"].startswith("get_a_b_")
    assert len(set(names.values())) == len(names)
    assert all(len(name) <= 64 for name in names.values())
    turned = Document(root(dict(reversed(paths.items())))).operations
    assert {one.title: one.name for one in turned} == names


def test_only_what_is_listed_is_selected() -> None:
    paths = {
        "/pets": {"get": operation(operationId="list", tags=["pets"]), "post": operation(operationId="pets/add")},
        "/pets/{id}": {"get": operation(operationId="show", tags=["pets"]), "delete": operation(operationId="drop")},
        "/pets/{id}/toys": {"get": operation(operationId="toys")},
    }
    every = Document(root(paths)).operations

    def chosen(*patterns: str) -> list[str]:
        return [one.name for one in select(every, patterns)]

    assert chosen("list") == ["list"]
    assert chosen("pets/add") == chosen("pets_add") == ["pets_add"]
    assert chosen("tag:pets") == ["list", "show"]
    assert chosen("GET /pets") == ["list"]
    assert chosen("* /pets/*") == ["show", "drop"]
    assert chosen("get /**") == ["list", "show", "toys"]
    assert chosen("DELETE /pets/{id}", "list") == ["list", "drop"]
    for nothing in ("LIST", "tag:other", "PATCH /**", "GET /pet.", "TRACE /pets", ""):
        with pytest.raises(DocumentError, match="no operation is"):
            select(every, [nothing])
    many = Document(root({f"/{n}": {"get": operation()} for n in range(OPERATIONS_MAX + 1)})).operations
    with pytest.raises(DocumentError, match="at most"):
        select(many, ["* /**"])


REFUSED = {
    "a cookie": [parameter("session", "cookie", required=True)],
    "a header that routes": [parameter("Host", "header", required=True)],
    "a header that frames": [parameter("transfer-encoding", "header", required=True)],
    "a header that changes the method": [parameter("X-HTTP-Method-Override", "header", required=True)],
    "a header that names the caller": [parameter("X-Forwarded-For", "header", required=True)],
    "a header with a credential": [parameter("X-Api-Key", "header", required=True)],
    "a proof": [parameter("DPoP", "header", required=True)],
    "a header that is none": [parameter("a: b\r\nc", "header", required=True)],
    "a whole query string": [
        {"name": "q", "in": "querystring", "required": True, "content": {"application/x-www-form-urlencoded": {}}}
    ],
    "an unknown place": [parameter("x", "matrix", required=True)],
    "a style that is not defined there": [parameter("x", "query", style="simple")],
    "a matrix path": [parameter("id", "path", style="matrix")],
    "an exploded pipe": [parameter("x", "query", style="pipeDelimited", explode=True)],
    "an optional path parameter": [parameter("id", "path") | {"required": False}],
    "no schema": [{"name": "x", "in": "query"}],
    "no name": [{"in": "query", "schema": {}}],
    "one parameter twice": [parameter("x"), parameter("x")],
    "another media type": [{"name": "x", "in": "query", "content": {"text/xml": {}}}],
    "no list": {"x": parameter("x")},
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_that_needs_what_no_agent_may_write_is_refused(name: str) -> None:
    path = "/x/{id}" if "path" in str(REFUSED[name]) else "/x"
    with pytest.raises(DocumentError) as refused:
        offered(path, node=operation(parameters=REFUSED[name]))
    assert refused.value.place.startswith("/paths/")
    assert refused.value.remedy


IN_TURN = {
    "lines": {"application/jsonl": {"itemSchema": {}}},
    "items of one document": {"application/json": {"itemSchema": {"type": "object"}}},
    "parts by their order": {"multipart/form-data": {"prefixEncoding": [{}], "schema": {"type": "array"}}},
    "parts without an end": {"multipart/form-data": {"itemEncoding": {}, "itemSchema": {}}},
    "parts within a part": {
        "multipart/form-data": {"schema": {"type": "object"}, "encoding": {"a": {"encoding": {"b": {}}}}}
    },
}


@pytest.mark.parametrize("name", IN_TURN)
def test_a_body_that_is_described_item_by_item_is_refused(name: str) -> None:
    with pytest.raises(DocumentError) as refused:
        offered(method="post", version="3.2.0", node=operation(requestBody={"content": IN_TURN[name]}))
    assert refused.value.place.startswith("/paths/~1x/post/requestBody/content")
    assert refused.value.remedy


def test_a_media_type_of_3_2_may_be_a_reference_and_an_answer_a_stream() -> None:
    pet = {"schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}
    made = offered(
        method="post",
        version="3.2.0",
        node=operation(
            requestBody={"content": {"application/json": {"$ref": "#/components/mediaTypes/Pet"}}, "required": True},
            responses={"200": {"content": {"text/event-stream": {"itemSchema": {"type": "object"}}}}},
        ),
        components={"mediaTypes": {"Pet": pet}},
    )
    assert Checker(made.args_schema).problems({"body": {}})
    assert not Checker(made.args_schema).problems({"body": {"name": "Rex"}})
    assert made.result_schema is None, "what is text has no structure"


def test_what_is_optional_and_not_an_agents_is_left_out_and_said_so() -> None:
    names = ("Host", "X-Auth-Token", "Accept", "Content-Type", "Authorization", "If-Match")
    node = operation(parameters=[*(parameter(name, "header") for name in names), parameter("c", "cookie")])
    made = offered(node=node)
    assert list(made.args_schema["properties"]["header"]["properties"]) == ["If-Match"]
    assert [note.partition(" is left out")[0].rpartition(" ")[2] for note in made.notes] == [
        "Host",
        "X-Auth-Token",
        "c",
    ]


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/x/{id}", []),
        ("/x", [parameter("id", "path")]),
        ("/x/{id", [parameter("id", "path")]),
        ("/x?y={id}", [parameter("id", "path")]),
        ("/../x", []),
        ("/x/%2e%2e/y", []),
        ("/x\\y", []),
    ],
)
def test_a_path_that_is_not_its_parameters_is_refused(path: str, given: Any) -> None:
    with pytest.raises(DocumentError):
        offered(path, node=operation(parameters=given))


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("post", {"content": {"application/xml": {"schema": {}}}, "required": True}),
        ("post", {"content": {}}),
        ("post", {}),
        ("get", body({"type": "object"})),
        ("post", body({"type": "object"}, "multipart/form-data", encoding={"a": {"headers": {"X": {}}}})),
        ("post", body({"type": "object"}, FORM, encoding={"a": {"style": "pipeDelimited"}})),
        ("post", body({"type": "object"}, FORM, encoding={"a": {"contentType": "image/png"}})),
    ],
)
def test_a_body_that_cannot_be_written_is_refused(method: str, given: Any) -> None:
    with pytest.raises(DocumentError):
        offered(method=method, node=operation(requestBody=given))


def test_what_a_path_item_says_of_parameters_an_operation_may_say_anew() -> None:
    item = {
        "parameters": [parameter("a", schema={"type": "integer"}), parameter("b")],
        "get": operation(parameters=[{"$ref": "#/components/parameters/A"}]),
    }
    document = Document(
        root({"/x": item}, components={"parameters": {"A": parameter("a", schema={"type": "boolean"})}})
    )
    made = offer(document, only(document), BASE, ())
    properties = made.args_schema["properties"]["query"]["properties"]
    assert {name: schema["type"] for name, schema in properties.items()} == {"a": "boolean", "b": "string"}


def large(count: int) -> dict[str, Any]:
    """A document whose schemas all refer to each other."""
    named = {
        f"S{n}": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"$ref": f"#/components/schemas/S{(n + 1) % 50}"}},
            "required": ["name"],
        }
        for n in range(50)
    }
    paths = {
        f"/things/{n}/{{id}}": {
            "put": {
                "operationId": f"put-{n}",
                "parameters": [parameter("id", "path"), parameter("q")],
                "requestBody": body({"$ref": f"#/components/schemas/S{n % 50}"}),
                "responses": answers({"$ref": f"#/components/schemas/S{(n * 7) % 50}"}),
            }
        }
        for n in range(count)
    }
    return root(paths, version="3.0.3", **schemas(**named))


def test_a_document_of_hundreds_of_operations_becomes_actions_that_compile() -> None:
    made = large(200)
    validate(made)
    document = Document(made)
    for one in document.operations:
        found = offer(document, one, BASE, ())
        entry = action(one.name, None, args_schema=found.args_schema, result_schema=found.result_schema)
        nested = {"name": "a", "next": {"name": "b", "next": {"name": "c"}}}
        assert not Checker(entry.args_schema).problems({"path": {"id": "i"}, "body": nested})
        assert Checker(entry.args_schema).problems({"path": {"id": "i"}, "body": {"name": "a", "next": {"name": 1}}})
