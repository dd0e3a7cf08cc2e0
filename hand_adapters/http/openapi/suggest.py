"""What a document makes likely of an operation, for a person to review: nothing here decides anything."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.manifest import ArgumentRole, SideEffects
from gateway.pointers import escape
from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.offers import Offer, offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.security import Scheme, requirements
from hand_adapters.suggest import role_of

_EFFECTS: Final = {
    "GET": SideEffects.NONE,
    "HEAD": SideEffects.NONE,
    "PUT": SideEffects.REVERSIBLE,
    "DELETE": SideEffects.IRREVERSIBLE,
}
_LEVELS_MAX: Final = 4
ROLES_MAX: Final = 16
"""Suggested roles of one operation."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One operation as it would be offered."""

    offer: Offer
    side_effects: SideEffects
    roles: Mapping[str, ArgumentRole]
    security: Sequence[Sequence[Scheme]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        operation = self.offer.operation
        return {
            "name": operation.name,
            "method": operation.method,
            "path": operation.path,
            "operation_id": operation.operation_id,
            "tags": list(operation.tags),
            "title": self.offer.title,
            "suggested_side_effects": str(self.side_effects),
            "suggested_roles": {pointer: str(role) for pointer, role in self.roles.items()},
            "security": [[scheme.name for scheme in way] for way in self.security],
            "notes": list(self.offer.notes),
        }


def suggest(
    document: Document, operations: Sequence[Operation]
) -> tuple[list[Suggestion], list[tuple[Operation, str]]]:
    """Suggestions for operations that can be offered, and why the others cannot."""
    found: list[Suggestion] = []
    left_out: list[tuple[Operation, str]] = []
    for operation in operations:
        try:
            ways = requirements(document, operation)
            slots = [scheme.slot for way in ways for scheme in way if scheme.slot is not None]
            made = offer(document, operation, "", slots)
        except DocumentError as exc:
            left_out.append((operation, exc.detail))
            continue
        effects = _EFFECTS.get(operation.method, SideEffects.EXTERNAL)
        roles = dict(list(_roles(made.args_schema, made.args_schema, "", 0))[:ROLES_MAX])
        found.append(Suggestion(made, effects, roles, ways))
    return found, left_out


def toml(
    hand_id: str, file: Path, document: Document, base_url: str | None, found: Sequence[Suggestion]
) -> Iterator[str]:
    """The lines of a declaration to review. What is only suggested is commented out, so that the worst counts."""
    yield f"[hands.{hand_id}]"
    yield 'adapter = "http"'
    if base_url is not None:
        yield f"base_url = {_text(base_url)}"
    else:
        yield f"# base_url = {_text(_server(document))}  # as the document says: is that where you mean to send this?"
    yield f"openapi = {_text(str(file))}"
    yield "operations = ["
    yield from (f"  {_text(one.offer.operation.operation_id or one.offer.operation.name)}," for one in found)
    yield "]"
    yield from _secrets(hand_id, found)
    for one in found:
        yield ""
        yield f"[hands.{hand_id}.actions.{one.offer.operation.name}]"
        yield f"# {_comment(one.offer.operation.title)}"
        yield f'# side_effects = "{one.side_effects}"  # suggested by the method alone; without it: external'
        if one.roles:
            inner = ", ".join(f'{_text(pointer)} = "{role}"' for pointer, role in one.roles.items())
            yield f"# args = {{ {inner} }}"


def _secrets(hand_id: str, found: Sequence[Suggestion]) -> Iterator[str]:
    schemes = {scheme.name: scheme for one in found for way in one.security for scheme in way}
    for name, scheme in sorted(schemes.items()):
        yield ""
        yield f"# The document asks for {_comment(scheme.kind)} ({_comment(name)})."
        if scheme.slot is not None:
            yield f"# [hands.{hand_id}.secrets.{_secret_name(name)}]"
            yield from (f"# {_comment(line)}" for line in scheme.toml)


def _secret_name(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:63]
    return plain if plain[:1].isalpha() else f"key-{plain}"[:63]


def _server(document: Document) -> str:
    servers = document.root.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    url = first.get("url") if isinstance(first, Mapping) else None
    return url if isinstance(url, str) else "https://..."


def _roles(schema: Any, root: Mapping[str, Any], at: str, level: int) -> Iterator[tuple[str, ArgumentRole]]:
    """Roles that names and formats of arguments suggest, by pointer."""
    if level > _LEVELS_MAX or not isinstance(schema, Mapping):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _roles(root.get("$defs", {}).get(reference.rpartition("/")[2]), root, at, level + 1)
    for branch in [*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from _roles(branch, root, at, level + 1)
    yield from _roles(schema.get("items"), root, f"{at}/*", level + 1)
    properties = schema.get("properties")
    for name, member in properties.items() if isinstance(properties, Mapping) else ():
        here = f"{at}/{escape(name)}"
        if level > 0:  # the outermost names are places, not arguments
            yield from _named(name, member, here)
        yield from _roles(member, root, here, level + 1)


def _named(name: str, member: Any, at: str) -> Iterator[tuple[str, ArgumentRole]]:
    """The role of one argument, or of each item of a list."""
    node: Mapping[str, Any] = member if isinstance(member, Mapping) else {}
    kinds = node.get("type")
    of_any = {kinds} if isinstance(kinds, str) else set(kinds or ())
    if "array" in of_any:
        yield from _named(name, node.get("items"), f"{at}/*")
    elif of_any & {"string", "number", "integer"}:
        role = role_of(name, node)
        if role is not None:
            yield at, role


def _text(value: str) -> str:
    """A TOML basic string in printable ASCII."""
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    number = ord(character)
    if 0xD800 <= number <= 0xDFFF:
        return "?"
    return f"\\u{number:04X}" if number <= 0xFFFF else f"\\U{number:08X}"


def _comment(value: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", value)
