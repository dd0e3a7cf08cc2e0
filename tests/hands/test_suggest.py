"""Guesses at what an operator would declare of an action."""

from typing import Any

import pytest

from gateway.manifest import ActionManifest, ArgumentRole, SideEffects
from gateway.settings import ActionSettings
from hand_adapters.annotate import action
from hand_adapters.suggest import roles, suggestion


def offered(claims: dict[str, Any] | None = None, properties: dict[str, Any] | None = None) -> ActionManifest:
    schema = {"type": "object", "properties": properties or {}}
    return action("do", None, args_schema=schema, annotations=claims)


@pytest.mark.parametrize(
    ("claims", "effects", "idempotent"),
    [
        ({}, None, False),
        ({"readOnlyHint": True}, SideEffects.NONE, True),
        ({"readOnlyHint": True, "destructiveHint": True}, SideEffects.NONE, True),
        ({"destructiveHint": True, "idempotentHint": True}, SideEffects.IRREVERSIBLE, True),
        ({"destructiveHint": False}, None, False),
        ({"destructiveHint": False, "openWorldHint": True}, None, False),
        ({"destructiveHint": False, "openWorldHint": False}, SideEffects.REVERSIBLE, False),
        ({"readOnlyHint": "yes"}, None, False),
    ],
)
def test_side_effects_by_what_the_tool_says(claims: dict[str, Any], effects: Any, idempotent: bool) -> None:
    found = suggestion(offered(claims))
    assert (found.side_effects, found.idempotent) == (effects, idempotent)
    assert bool(found.why) is (effects is not None)


def test_a_guess_decides_nothing() -> None:
    tool = offered({"readOnlyHint": True, "idempotentHint": True})
    suggestion(tool)
    assert (tool.side_effects, tool.idempotent) == (SideEffects.EXTERNAL, False)


def test_roles_by_names_and_formats() -> None:
    text = {"type": "string"}
    properties = {
        "to": {"type": "array", "items": text},
        "replyTo": {"type": "string", "format": "email"},
        "page": {"type": "string", "format": "uri"},
        "file_path": text,
        "amountCents": {"type": "integer"},
        "amountOfWords": {"type": "string"},
        "message": {"anyOf": [text]},
        "body": text,
        "issueId": {"type": ["integer", "null"]},
        "account": {"type": "string", "enum": ["a", "b"]},
        "nested": {"type": "object", "properties": {"url/of": text}},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"iban": text}}},
        "limit": {"type": "integer"},
    }
    assert suggestion(offered(properties=properties)).roles == {
        "/to/*": ArgumentRole.RECIPIENT,
        "/replyTo": ArgumentRole.RECIPIENT,
        "/page": ArgumentRole.URL,
        "/file_path": ArgumentRole.PATH,
        "/amountCents": ArgumentRole.AMOUNT,
        "/message": ArgumentRole.CONTENT,
        "/body": ArgumentRole.CONTENT,
        "/issueId": ArgumentRole.RESOURCE,
        "/nested/url~1of": ArgumentRole.URL,
        "/rows/*/iban": ArgumentRole.ACCOUNT,
    }


def test_roles_of_what_a_schema_refers_to() -> None:
    """As tools in Python describe an optional argument, and one with a class of its own."""
    schema = {
        "type": "object",
        "properties": {
            "url": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "payment": {"$ref": "#/$defs/Payment"},
        },
        "$defs": {"Payment": {"type": "object", "properties": {"amount": {"type": "number"}}}},
    }
    assert suggestion(action("do", None, args_schema=schema)).roles == {
        "/url": ArgumentRole.URL,
        "/payment/amount": ArgumentRole.AMOUNT,
    }


def test_a_schema_that_refers_to_itself_keeps_nobody_busy() -> None:
    again = [{"$ref": "#/$defs/Node"}] * 64
    node = {"type": "object", "allOf": again, "properties": {f"path{i}": {"anyOf": again} for i in range(64)}}
    schema = {"type": "object", "properties": {"url": {"type": "string"}, "node": again[0]}, "$defs": {"Node": node}}
    assert list(roles(schema)) == [("/url", ArgumentRole.URL)]


def test_every_suggested_role_can_be_declared() -> None:
    """A pointer that no argument can be at would leave the action out."""
    tool = offered(properties={"a/b~c": {"type": "object", "properties": {"url": {"type": "string"}}}})
    roles = suggestion(tool).roles
    assert roles
    declared = ActionSettings(args=dict(roles))
    assert action("do", declared, args_schema=tool.args_schema).roles == roles
