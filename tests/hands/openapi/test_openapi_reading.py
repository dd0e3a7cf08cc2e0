"""Documents that are not what they seem: each is refused, with the place and what to do."""

import json

import pytest
import yaml

from hand_adapters.http.openapi import reading
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.reading import DEPTH_MAX, VALUES_MAX, DocumentError, read
from tests.hands.openapi.documents import operation, parameter, root

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
HOSTILE = {
    "an alias bomb": (BOMB, "values"),
    "an alias to what holds it": ("a: &a [*a]", "line 1: the alias"),
    "an alias to nothing": ("a: 1\nb: *c", "line 2: the alias"),
    "a member twice in YAML": ("openapi: 3.1.0\npaths: {}\npaths: {}", "line 3: an object has two members 'paths'"),
    "a member twice in JSON": ('{"openapi": "3.1.0", "openapi": "3.0.0"}', "two members 'openapi'"),
    "a member twice, deep in JSON": ('{"a": [{"b": 1, "b": 2}]}', "two members 'b'"),
    "a Python object": ("a: !!python/object/apply:os.system ['true']", "line 1: the tag"),
    "a tag that changes a type": ("a: !!binary aGk=", "line 1: the tag"),
    "a merge key": ("a: &a {b: 1}\nc:\n  <<: *a", "line 3: a merge key"),
    "a list as a key": ("? [a, b]\n: 1", "line 1: a key is no text"),
    "an alias as a key": ("a: &a x\n*a : 1", "a key is no text"),
    "two documents": ("a: 1\n---\nb: 2", "line 2: the file holds more than one"),
    "nothing": ("", "is empty"),
    "half a document": ("a: [1, 2", "is not YAML"),
    "half a document in JSON": ('{"a": ', "line 1: is not JSON"),
    "not a number": ("a: .nan", "line 1: .nan is no number"),
    "not a number in JSON": ('{"a": NaN}', "NaN is no number"),
    "a number without end": ('{"a": 1e999}', "too large"),
    "a number of many digits": ('{"a": ' + "9" * 5000 + "}", "digits"),
    "a nest in JSON": ('{"a":' * 5000 + "1" + "}" * 5000, "levels deep"),
    "a small nest in JSON": ('{"a":' * (DEPTH_MAX + 1) + "1" + "}" * (DEPTH_MAX + 1), "levels deep"),
    "a nest in YAML": ("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), "levels deep"),
    "a nest of aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, DEPTH_MAX + 2)), "levels deep",
    ),
    "half a character": ('{"a": "\\ud800"}', "half a character"),
    "half a character in a name": ('{"\\uDFFF": 1}', "half a character"),
    "half a character in YAML": ('a: "\\ud800"', ""),
    "control characters": ("a: \x01", "is not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_with_its_place(name: str) -> None:
    text, said = HOSTILE[name]
    with pytest.raises(DocumentError) as refused:
        read(text.encode())
    assert said in refused.value.detail
    assert refused.value.remedy


def test_a_document_beyond_measure_is_not_read() -> None:
    with pytest.raises(DocumentError, match="bytes"):
        read(b" " * (reading.DOCUMENT_MAX_BYTES + 1))
    with pytest.raises(DocumentError, match="byte 1: is not UTF-8"):
        read(b"a\xff")
    assert len(BOMB) < 1000 < VALUES_MAX, "the bomb is small, and what it stands for is not"


def test_yaml_is_read_as_the_json_that_it_stands_for() -> None:
    text = """
openapi: 3.1.0   # a version, and no number
on: {yes: no, 200: "200", 1.50: 1.5}
list: [1, -2, 0x1F, 0o17, 1e3, .5, true, False, ~, null, "null", 2020-01-01, 12:30, 1_000, '', ]
text: |
  two
  lines
shared: &s {a: [1]}
again: *s
"""
    assert read(text.encode()) == {
        "openapi": "3.1.0",
        "on": {"yes": "no", "200": "200", "1.50": 1.5},
        "list": [1, -2, 31, 15, 1000.0, 0.5, True, False, None, None, "null", "2020-01-01", "12:30", "1_000", ""],
        "text": "two\nlines\n",
        "shared": {"a": [1]},
        "again": {"a": [1]},
    }


def test_json_and_yaml_of_one_document_are_one_value() -> None:
    made = root({"/a/{b}": {"get": operation(parameters=[parameter("b", "path")], summary="é \u2028 '\" x: y")}})
    as_json, as_yaml = json.dumps(made), yaml.safe_dump(made, allow_unicode=True)
    assert read(as_json.encode()) == read(as_yaml.encode()) == read(b"\xef\xbb\xbf" + as_json.encode()) == made


@pytest.mark.parametrize("loader", [yaml.BaseLoader, getattr(yaml, "CBaseLoader", yaml.BaseLoader)])
def test_both_parsers_of_the_library_read_alike(loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LOADER", loader)
    assert read(b"a: {b: [1, '2', ~]}\nc: &x yes\nd: *x\n") == {"a": {"b": [1, "2", None]}, "c": "yes", "d": "yes"}
    for text, said in HOSTILE.values():
        with pytest.raises(DocumentError) as refused:
            read(text.encode())
        assert said in refused.value.detail


@pytest.mark.parametrize("version", ["3.0.4", "3.1.2", "3.2.0"])
def test_every_version_of_openapi_3_is_read(version: str) -> None:
    assert [one.title for one in Document(root({"/x": {"get": operation()}}, version=version)).operations] == ["GET /x"]


def test_of_3_2_methods_that_no_declaration_can_name_are_not_offered() -> None:
    item = {"query": operation(), "additionalOperations": {"COPY": operation()}, "post": operation()}
    made = root({"/x": item}, version="3.2.0", jsonSchemaDialect="https://spec.openapis.org/oas/3.2/dialect/2025-09-17")
    made["$self"] = "https://evil.example/openapi"
    assert [one.title for one in Document(made).operations] == ["POST /x"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "is no object"),
        ({"swagger": "2.0"}, "Swagger 2.0"),
        ({"openapi": "3.3.0", "paths": {}}, "3.3.0"),
        ({"openapi": "3.1"}, "of version"),
        ({"openapi": 3.1}, "of version"),
        (root(jsonSchemaDialect="https://json-schema.org/draft/2019-09/schema"), "/jsonSchemaDialect"),
        (root({"no": {}}), "/paths/no: does not begin with a slash"),
        (root({"/x": []}), "/paths/~1x: is no object"),
        (root({"/x": {"get": 1}}), "/paths/~1x/get: is no object"),
        (root({"/x": {"$ref": "other.yaml#/x"}}), "leads out of the document"),
        (root({"/x": {"$ref": "https://evil.example/x"}}), "leads out of the document"),
        (root({"/x": {"$ref": "#/nowhere"}}), "leads nowhere"),
        (root({"/x": {"$ref": "#/paths/~1y"}, "/y": {"$ref": "#/paths/~1x"}}), "in a circle"),
    ],
)
def test_what_is_no_document_is_refused(made: object, said: str) -> None:
    with pytest.raises(DocumentError) as refused:
        list(Document(made).operations)
    assert said in refused.value.detail
