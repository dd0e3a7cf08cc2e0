"""A tool's schema is hostile: closed where it is open, never fetched, never slow, and silent about values."""

import pytest

from gateway.settings import ActionSettings
from hand_adapters import annotate
from hand_adapters.schemas import Checker, SchemaError, normalise, reaches


def checker(schema):
    return Checker(normalise(schema, close=True))


OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (OBJECT, {"a": 1}, {"a": 1, "extra": 2}),
        ({"type": "object"}, {}, {"x": 1}),
        ({"properties": {"inner": OBJECT}}, {"inner": {"a": 1}}, {"inner": {"a": 1, "extra": 2}}),
        ({"properties": {"many": {"items": OBJECT}}}, {"many": [{"a": 1}]}, {"many": [{"extra": 1}]}),
        ({"prefixItems": [OBJECT]}, [{"a": 1}], [{"extra": 1}]),
        ({"allOf": [OBJECT, {"properties": {"b": {}}}]}, {"a": 1, "b": 2}, {"a": 1, "c": 2}),
        ({"properties": {"b": {}}, "anyOf": [OBJECT, {"type": "object"}]}, {"a": 1, "b": 2}, {"b": 1, "c": 2}),
        ({"oneOf": [OBJECT, {"type": "string"}]}, {"a": 1}, {"extra": 1}),
        ({"if": OBJECT, "then": {"properties": {"b": {}}}}, {"a": 1, "b": 1}, {"a": 1, "c": 1}),
        ({"$ref": "#/$defs/A", "$defs": {"A": OBJECT}}, {"a": 1}, {"extra": 1}),
        (
            {"allOf": [{"$ref": "#/$defs/A"}], "properties": {"b": {}}, "$defs": {"A": OBJECT}},
            {"a": 1, "b": 2},
            {"c": 2},
        ),
        (
            {"properties": {"x": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}, "$defs": {"A": OBJECT}},
            {"x": {"a": 1}},
            {"x": {"extra": 1}},
        ),
        (
            {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"properties": {"kids": {"items": {"$ref": "#/$defs/Tree"}}}}}},
            {"kids": [{"kids": []}]},
            {"kids": [{"kids": [{"extra": 1}]}]},
        ),
        ({"dependentSchemas": {"a": {"properties": {"b": {}}}}, **OBJECT}, {"a": 1, "b": 1}, {"b": 1}),
    ],
)
def test_what_a_schema_does_not_describe_is_refused(schema, good, bad):
    assert checker(schema).problems(good) == ()
    assert checker(schema).problems(bad)
    open_schema = Checker(normalise(schema, close=False))
    assert open_schema.problems(bad) == (), "the control: without closing it would pass"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "unevaluatedProperties": True},
        {"anyOf": [{}, {"type": "null"}]},
        {},
    ],
)
def test_what_says_that_it_is_open_stays_open(schema):
    assert checker(schema).problems({"anything": 1}) == ()


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:1/s.json",
        "https://example.com/s",
        "file:///etc/passwd",
        "other.json",
        "/etc/passwd",
        "urn:x",
        7,
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda ref: ref,
        lambda ref: {"properties": {"a": ref}},
        lambda ref: {"$defs": {"A": ref}},
        lambda ref: {"allOf": [{"items": ref}]},
        lambda ref: {"not": ref},
    ],
)
def test_a_reference_out_of_the_schema_is_refused(reference, wrap):
    with pytest.raises(SchemaError):
        normalise(wrap({"$ref": reference}), close=True)


def test_a_reference_hidden_in_an_unknown_keyword_fetches_nothing():
    schema = normalise({"$ref": "#/x-hidden", "x-hidden": {"$ref": "http://127.0.0.1:1/s.json"}}, close=True)
    with pytest.raises(SchemaError):
        Checker(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$id": "http://example.com/"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"$schema": 4},
        {"dependencies": {"a": ["b"]}},
        {"items": [{"type": "string"}]},
        {"allOf": ["x"]},
        [],
        "x",
        None,
    ],
)
def test_a_schema_that_could_be_read_two_ways_is_refused(schema):
    with pytest.raises(SchemaError):
        normalise(schema, close=True)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "#/$defs/nowhere"},
        {"properties": 3},
        {"pattern": "(?=a)b"},
        {"pattern": r"(a)\1"},
        {"pattern": "((a{1000}){1000}){1000}"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_checked_in_linear_time_does_not_compile(schema):
    with pytest.raises(SchemaError):
        checker(schema)


def test_an_exponential_pattern_is_answered_all_the_same():
    assert checker({"pattern": "^(a+)+$"}).problems("a" * 100_000 + "b") == ({"pointer": "", "keyword": "pattern"},)


def test_a_schema_nested_beyond_measure_is_refused():
    schema = {}
    for _ in range(100):
        schema = {"items": schema}
    with pytest.raises(SchemaError):
        normalise(schema, close=True)


def test_a_draft_7_schema_means_the_same_here():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "http://example.com/root",
        "properties": {"a": {"$ref": "#/definitions/A"}},
        "definitions": {"A": OBJECT},
    }
    assert checker(schema).problems({"a": {"a": 1}}) == ()
    assert checker(schema).problems({"a": {"b": 1}})


def test_problems_name_the_place_and_never_the_value():
    people = {
        "type": "object",
        "properties": {
            "ages": {"type": "object", "additionalProperties": {"type": "integer"}},
            "to~/x": {"items": {"enum": ["a"]}},
        },
        "required": ["ages", "to~/x"],
    }
    problems = checker(people).problems({"ages": {"anna@example.com": "old"}, "to~/x": ["a", "secret"]})
    assert sorted(problems, key=lambda problem: problem["pointer"]) == [
        {"pointer": "/ages/*", "keyword": "type"},
        {"pointer": "/to~0~1x/1", "keyword": "enum"},
    ]
    assert checker(people).problems({"ages": {}, "to~/x": [], "secret": 1}) == (
        {"pointer": "", "keyword": "additionalProperties"},
    )


def test_problems_are_bounded():
    assert len(checker({"items": {"type": "integer"}}).problems(["x"] * 1000)) == 16


def test_the_schema_given_is_left_as_it_was():
    given = {"properties": {"a": {"type": "object"}}}
    normalise(given, close=True)
    assert given == {"properties": {"a": {"type": "object"}}}


def test_a_value_that_is_no_json_is_a_problem_and_no_crash():
    assert checker({"type": "object"}).problems({"a": object()})
    assert checker({"type": "string"}).problems(object())


NOTE = {"type": "object", "properties": {"to": {"type": "string"}, "at": {"type": ["object", "null"]}}}
REACHED = [
    (NOTE, "/to", True),
    (NOTE, "/uri", False),
    (NOTE, "/to/x", False),
    (NOTE, "/at/x", False),
    ({"properties": {"a": {"type": "array", "items": {"properties": {"b": {}}}}}}, "/a/*/b", True),
    ({"properties": {"a": {"type": "array", "items": {"properties": {"b": {}}}}}}, "/a/*/c", False),
    ({"properties": {"a": {"type": "array", "items": {"type": "string"}}}}, "/a/b", False),
    ({"properties": {"a": {"type": "array"}}}, "/a/*", True),
    ({"properties": {"a": {"type": "array"}}}, "/a/0", True),
    ({"properties": {"a": {"prefixItems": [{"type": "string"}], "items": False}}}, "/a/0", True),
    ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}}}, "/a/*", True),
    ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "/a/*", False),
    ({"properties": {"a": {}}}, "/a/b/*/c", True),
    ({"properties": {"a": True}}, "/a/b", True),
    ({"properties": {"a": False}}, "/a", False),
    ({"properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}}, "/a/any", True),
    ({"properties": {"a": {"patternProperties": {"^x": {"type": "string"}}}}}, "/a/xy", True),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}}, "/next/next", True),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}}, "/next/prev", False),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"$ref": "#/$defs/n"}}}, "/a", False),
    ({"allOf": [{"properties": {"a": {"type": "string"}}}], "properties": {"b": {}}}, "/a", True),
    ({"properties": {"a/b": {}, "c~d": {}}}, "/a~1b", True),
    ({"properties": {"a/b": {}, "c~d": {}}}, "/c~0d", True),
]


@pytest.mark.parametrize(("schema", "pointer", "reached"), REACHED)
def test_a_place_that_no_argument_can_be_at_is_known(schema, pointer, reached):
    """A rule about a mistyped place would be silent for ever."""
    closed = normalise({"type": "object", **schema}, close=True)
    Checker(closed)
    assert reaches(closed, pointer) is reached


def test_an_action_whose_roles_point_nowhere_is_not_offered():
    with pytest.raises(SchemaError, match="/uri"):
        annotate.action("get", ActionSettings(args={"/uri": "url"}), args_schema=NOTE)
    with pytest.raises(SchemaError, match="/from"):
        annotate.action("get", ActionSettings(data_subjects=("/from",)), args_schema=NOTE)
    assert annotate.action("get", ActionSettings(args={"/to": "url"}), args_schema=NOTE).roles == {"/to": "url"}
