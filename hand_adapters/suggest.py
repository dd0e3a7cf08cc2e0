"""What an operator might declare of an action, guessed from what the tool says of itself.

A guess decides nothing: it is printed for a person to look at. A tool that lies about itself gets a wrong comment in a
file that somebody reviews, and nothing else.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from gateway.manifest import ActionManifest, ArgumentRole, SideEffects
from gateway.pointers import escape
from hand_adapters.schemas import branches

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
_LEVELS_MAX: Final = 6
_NODES_MAX: Final = 4096
"""Schemas looked at: one that refers to itself has no end."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What might be declared of one action.

    Attributes:
        side_effects: ``None`` where the tool says nothing; what is not declared counts as ``external``.
        why: what that rests on: a word of the tool's own, or the method of a request.
        roles: JSON pointer into the args -> role, by the names and formats of its schema.
    """

    action: str
    side_effects: SideEffects | None
    idempotent: bool
    why: str
    roles: Mapping[str, ArgumentRole]

    def document(self) -> dict[str, Any]:
        """As JSON, in the words of a declaration."""
        return {
            "name": self.action,
            "side_effects": None if self.side_effects is None else str(self.side_effects),
            "idempotent": self.idempotent,
            "args": {pointer: str(role) for pointer, role in self.roles.items()},
        }


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
    return Suggestion(action.name, effects, idempotent, why, dict(roles(action.args_schema)))


def roles(schema: Mapping[str, Any], *, places: int = 0) -> Iterator[tuple[str, ArgumentRole]]:
    """Roles that the names and formats of arguments suggest, by JSON pointer, the outer ones first.

    Args:
        schema: a result of ``schemas.normalise``.
        places: so many outer levels of names are places of a request, and tell nothing of what is in them.
    """
    seen: set[tuple[int, str]] = set()
    queue: deque[_Node] = deque([_Node(schema, "", 0, "")])
    while queue and len(seen) < _NODES_MAX:
        node = queue.popleft()
        if (id(node.schema), node.at) in seen:
            continue
        seen.add((id(node.schema), node.at))
        role = _role(node.name, node.schema) if node.name else None
        if role is not None:
            yield node.at, role
        queue.extend(islice(_within(node, schema, places), _NODES_MAX - len(queue)))


class _Node(NamedTuple):
    """A schema, the pointer of what it is of, how many levels deep that is, and the name that it goes by."""

    schema: Mapping[str, Any]
    at: str
    level: int
    name: str


def _within(node: _Node, root: Mapping[str, Any], places: int) -> Iterator[_Node]:
    """The schemas that a schema is made of, and those of what is in it."""
    schema, at, level, name = node
    yield from (_Node(one, at, level, name) for one in branches(schema, root) if isinstance(one, Mapping))
    if level == _LEVELS_MAX:
        return
    items, properties = schema.get("items"), schema.get("properties")
    if isinstance(items, Mapping):
        yield _Node(items, f"{at}/*", level + 1, name)
    for inner, member in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(member, Mapping):
            yield _Node(member, f"{at}/{escape(inner)}", level + 1, inner if level >= places else "")


def _role(name: str, schema: Mapping[str, Any]) -> ArgumentRole | None:
    """The role of an argument that is a scalar, by its format and its name."""
    types = _types(schema)
    if types.isdisjoint({"string", "number", "integer"}) or "enum" in schema or "const" in schema:
        return None  # what can only be one of a few words names nobody and nothing
    format_ = schema.get("format")
    if isinstance(format_, str) and format_ in _FORMATS:
        return _FORMATS[format_]
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    numeric = "string" not in types
    for role, telling in _WORDS.items():
        fits = role is ArgumentRole.RESOURCE or (role is ArgumentRole.AMOUNT) == numeric
        if fits and not telling.isdisjoint(words):
            return role
    return None


def _types(schema: Mapping[str, Any]) -> set[Any]:
    type_ = schema.get("type")
    return set(type_) if isinstance(type_, list) else {type_}
