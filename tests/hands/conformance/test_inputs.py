"""The arguments that hands are checked with: they match, they are many, and no schema holds the check up."""

import random
import re
from typing import Any

import pytest

from gateway.canonical import canonical
from hand_adapters.conformance.inputs import ARGS_MAX_BYTES, Inputs, wrong
from hand_adapters.conformance.patterns import NotUnderstood, text
from hand_adapters.schemas import Checker, normalise

A_TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def series(schema: dict[str, Any], count: int = 20, seed: int = 1) -> list[Any]:
    normal = normalise(schema, close=True)
    return [*Inputs("a", normal, Checker(normal), seed).take(count)]


@pytest.mark.parametrize(
    "schema",
    [
        of(a=A_TEXT),
        of(a={"type": "string", "minLength": 3, "maxLength": 5}),
        of(a={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,4}(a|b)?$"}),
        of(a={"type": "string", "format": "date-time"}, b={"type": "string", "format": "uuid"}),
        of(a={"type": "integer", "minimum": -3, "exclusiveMaximum": 40, "multipleOf": 3}),
        of(a={"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        of(a={"type": ["string", "null"]}, b={"type": "boolean"}, c={"enum": [1, "two", None]}, d={"const": {"a": 1}}),
        of(a={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4, "uniqueItems": True}),
        of(a={"type": "array", "prefixItems": [A_TEXT, {"type": "integer"}], "items": False, "minItems": 2}),
        of(a={"type": "array", "contains": {"const": "x"}}),
        of(a={"anyOf": [of(b=A_TEXT), of(c={"type": "integer"})]}),
        of(a={"oneOf": [of(kind={"const": "b"}, b=A_TEXT), of(kind={"const": "c"}, c=A_TEXT)]}),
        of(a={"allOf": [of(b=A_TEXT), of(c=A_TEXT)]}),
        of(a={"if": of(b={"const": 1}), "then": of(c=A_TEXT), "type": "object", "properties": {"b": {}, "c": {}}}),
        of(a={"not": {"type": "string"}}),
        of(a={"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2}),
        of(a={"type": "object", "patternProperties": {"^x-[a-z]+$": A_TEXT}, "minProperties": 1}),
        of(a={"type": "object", "propertyNames": {"pattern": "^[a-c]{4}$"}, "minProperties": 1,
              "additionalProperties": True}),
        of(a={"dependentRequired": {"b": ["c"]}, **of(b=A_TEXT), "properties": {"b": A_TEXT, "c": A_TEXT}}),
        {"$defs": {"tree": of(name=A_TEXT) | {"properties": {"name": A_TEXT, "below": {
            "type": "array", "items": {"$ref": "#/$defs/tree"}}}}}, "$ref": "#/$defs/tree"},
        {"type": "object", "additionalProperties": True},
        {"type": "object"},
    ],
    ids=lambda schema: canonical(schema).decode()[:60],
)  # fmt: skip
def test_what_is_made_matches(schema: dict[str, Any]) -> None:
    checker = Checker(normalise(schema, close=True))
    made = series(schema)
    assert made
    assert [checker.problems(args) for args in made] == [()] * len(made)
    assert len({canonical(args) for args in made}) == len(made)
    assert all(len(canonical(args)) <= ARGS_MAX_BYTES for args in made)


def test_a_seed_makes_the_same_and_another_makes_others() -> None:
    schema = of(a=A_TEXT, b={"type": "integer"})
    assert series(schema) == series(schema)
    assert series(schema) != series(schema, seed=2)
    assert series(schema, 5) == series(schema, 20)[:5]


def test_the_first_ones_are_the_smallest_the_largest_and_a_nasty_one() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 50}, "n": {"type": "integer", "maximum": 9}},
    }
    least, most, nasty = series(schema, 3)  # fmt: skip
    assert least == {}
    assert most == {"a": "a" * 50, "n": 9}
    assert not nasty.get("a", "\u4f60").isascii()


def test_ones_own_come_first_and_each_once() -> None:
    schema = normalise(of(a=A_TEXT), close=True)
    inputs = Inputs("a", schema, Checker(schema), 1, [{"a": "mine"}, {"a": "mine"}])
    first, second = inputs.take(2)
    assert first == {"a": "mine"} != second


def test_a_schema_that_admits_few_ends_the_series() -> None:
    assert series(of(a={"enum": [1, 2]})) in ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}])


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(14)}
         | {"a14": {"type": "object"}}, "$ref": "#/$defs/a0"},
        {"$defs": {"a": of(a={"$ref": "#/$defs/a"})}, "$ref": "#/$defs/a"},
        of(a={"type": "string", "minLength": 10**9}),
        of(a={"type": "array", "minItems": 10**9}),
        of(a={"type": "array", "minItems": 40, "items": {"type": "array", "minItems": 40, "items": {
            "type": "array", "minItems": 40, "items": A_TEXT}}}),
        of(a={"type": "object", "minProperties": 10**9, "additionalProperties": True}),
        of(a=False),
        of(a={"type": "integer", "minimum": 3, "maximum": 2}),
    ],
    ids=lambda schema: canonical(schema).decode()[:60],
)  # fmt: skip
def test_a_schema_that_would_never_end_gives_nothing(schema: dict[str, Any]) -> None:
    assert len(series(schema, 3)) <= 1


@pytest.mark.parametrize(
    "pattern",
    ["abc", "^a+$", "[a-z]{3}", "(?:a|bc)*d", "(?P<name>x)y?", r"\d{2}\.\w+\s", "[^a-z]", "a{2,}", "a{2,4}?", r"\$\{",
     "[-a]", "[]a]"],
)  # fmt: skip
def test_texts_match_their_pattern(pattern: str) -> None:
    rng = random.Random(1)
    assert all(re.search(pattern, text(pattern, rng)) for _ in range(50))


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", r"(a)\1", r"\p{L}", "a{9", "(", "[a", "*", "[z-a]", "(" * 5000, "a{5000}",
     "(((((a{60}){60}){60}){60}){60})", "(?:(?:(?:(?:a?){900}){900}){900})"],
)  # fmt: skip
def test_what_is_not_understood_is_said(pattern: str) -> None:
    with pytest.raises(NotUnderstood):
        text(pattern, random.Random(1))


def test_what_is_made_wrong_is_refused() -> None:
    bounded = {"type": "string", "minLength": 1, "maxLength": 3}
    properties = {
        "a": bounded,
        "n": {"type": "integer", "minimum": 1, "maximum": 9},
        "l": {"type": "array", "maxItems": 1},
        "e": {"enum": ["x"]},
    }
    schema = normalise({"type": "object", "properties": properties, "required": ["a", "n"]}, close=True)
    checker = Checker(schema)
    made = dict(wrong(schema, {"a": "b", "n": 1}))
    assert len(made) > 12
    assert {what for what, args in made.items() if not checker.problems(args)} == set()
    assert not checker.problems({"a": "b", "n": 1}), "the control"
