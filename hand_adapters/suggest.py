"""What an operator might declare of an action, guessed from what the tool says of itself.

A guess decides nothing: it is printed for a person to look at. A tool that lies about itself gets a wrong comment in a
file that somebody reviews, and nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.manifest import ActionManifest, ArgumentRole, SideEffects

_FORMATS: Final = {
    "email": ArgumentRole.RECIPIENT,
    "idn-email": ArgumentRole.RECIPIENT,
    "uri": ArgumentRole.URL,
    "url": ArgumentRole.URL,
    "uri-reference": ArgumentRole.URL,
    "iri": ArgumentRole.URL,
}
_WORDS: Final = {
    ArgumentRole.RECIPIENT: {"recipient", "recipients", "to", "cc", "bcc", "email", "emails", "phone", "assignee"},
    ArgumentRole.URL: {"url", "urls", "uri", "uris", "link", "href", "endpoint", "webhook", "host", "domain"},
    ArgumentRole.ACCOUNT: {"account", "iban", "user", "username", "owner", "customer", "tenant"},
    ArgumentRole.PATH: {"path", "paths", "file", "files", "filename", "directory", "dir", "folder"},
    ArgumentRole.AMOUNT: {"amount", "price", "total", "quantity", "sum"},
    ArgumentRole.CONTENT: {"content", "contents", "body", "text", "message", "comment", "description", "html"},
    ArgumentRole.RESOURCE: {"id", "ids", "resource", "repo", "repository", "project", "issue", "branch", "table"},
}
"""Role -> words of an argument's name, the telling ones first: the first role that fits is taken."""
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What might be declared of one action.

    Attributes:
        side_effects: ``None`` where the tool says nothing; what is not declared counts as ``external``.
        why: which of the tool's own words that rests on.
        roles: JSON pointer into the args -> role, by the names and formats of its schema.
    """

    action: str
    side_effects: SideEffects | None
    idempotent: bool
    why: str
    roles: Mapping[str, ArgumentRole]


def suggestion(action: ActionManifest) -> Suggestion:
    """A guess at what an operator would declare, from the action's annotations (MCP ``ToolAnnotations``) and schema."""
    claims = action.annotations
    effects, why = None, ""
    if claims.get("readOnlyHint") is True:
        effects, why = SideEffects.NONE, "readOnlyHint"
    elif claims.get("destructiveHint") is True:
        effects, why = SideEffects.IRREVERSIBLE, "destructiveHint"
    elif claims.get("destructiveHint") is False and claims.get("openWorldHint") is False:
        effects, why = SideEffects.REVERSIBLE, "not destructiveHint"
    idempotent = effects is SideEffects.NONE or claims.get("idempotentHint") is True
    return Suggestion(action.name, effects, idempotent, why, dict(_roles(action.args_schema, "", _DEPTH)))


def _roles(schema: Any, pointer: str, depth: int) -> Iterator[tuple[str, ArgumentRole]]:
    """Roles of the members of an object schema, and of arrays of texts in it."""
    if not isinstance(schema, dict) or depth == 0:
        return
    properties = schema.get("properties")
    for name, member in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(member, dict):
            continue
        at = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        items = member.get("items")
        if _is_scalar(member):
            found = role_of(name, member)
        elif isinstance(items, dict) and _is_scalar(items):
            found, at = role_of(name, items), f"{at}/*"
        else:
            found = None
            yield from _roles(member, at, depth - 1)
            if isinstance(items, dict):
                yield from _roles(items, f"{at}/*", depth - 1)
        if found is not None:
            yield at, found


def _is_scalar(schema: Mapping[str, Any]) -> bool:
    return not _types(schema).isdisjoint({"string", "number", "integer"})


def _types(schema: Mapping[str, Any]) -> set[Any]:
    type_ = schema.get("type")
    return set(type_) if isinstance(type_, list) else {type_}


def role_of(name: str, schema: Mapping[str, Any]) -> ArgumentRole | None:
    """The role of an argument that is a scalar, by its format and its name."""
    if "enum" in schema or "const" in schema:
        return None  # what can only be one of a few words names nobody and nothing
    format_ = schema.get("format")
    if isinstance(format_, str) and format_ in _FORMATS:
        return _FORMATS[format_]
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    numeric = "string" not in _types(schema)
    for role, telling in _WORDS.items():
        fits = role is ArgumentRole.RESOURCE or (role is ArgumentRole.AMOUNT) == numeric
        if fits and not telling.isdisjoint(words):
            return role
    return None
