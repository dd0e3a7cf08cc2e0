"""Schema objects of OpenAPI 3.0, 3.1 and 3.2 as JSON Schema 2020-12 that stands on its own.

What a schema refers to comes along in ``$defs``. Keywords that only describe (``example``, ``xml``, ``externalDocs``,
``x-...``) are left out; none that constrains is.
"""

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from gateway.canonical import MAX_SAFE_INTEGER, canonical
from gateway.errors import Refused
from gateway.pointers import escape
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.reading import DocumentError

SCHEMA_VALUES_MAX: Final = 20_000
"""Subschemas of one schema with all that it refers to."""
SCHEMA_MAX_BYTES: Final = 262_144
"""Canonical JSON of one schema with all that it refers to."""
_COPIED: Final = frozenset(
    {
        "type", "pattern", "uniqueItems", "required", "dependentRequired", "format", "title", "description",
        "deprecated", "contentEncoding", "contentMediaType",
    }
)  # fmt: skip
_ONE: Final = frozenset(
    {
        "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
        "unevaluatedProperties",
    }
)  # fmt: skip
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_UPPER: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})
_LOWER: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
_REFUSED: Final = frozenset(
    {"$id", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "additionalItems", "dependencies"}
)
_EXPONENT_FROM: Final = 1e21
"""Between 2^53 and this no message carries a number (``gateway.canonical``)."""
_NULL_REFUSING: Final = frozenset({"enum", "const", "allOf", "anyOf", "oneOf", "not"})


class Direction(StrEnum):
    """Which way a value goes: read-only members are in no request, write-only ones in no answer."""

    REQUEST = "readOnly"
    ANSWER = "writeOnly"


class Translation:
    """Schemas of a document, made to stand on their own together."""

    def __init__(self, document: Document, direction: Direction) -> None:
        self._document = document
        self._direction = direction
        self._names: dict[str, tuple[str, bool]] = {}
        """Definition -> the pointer and kind that it was made of."""
        self._waiting: list[tuple[str, str, bool]] = []
        self._count = 0

    def schema(self, node: Any, at: str) -> dict[str, Any]:
        """The schema at ``node`` with its definitions. Raises as :meth:`part` and :meth:`whole` do."""
        inner = self.part(node, at)
        return self.whole(inner if isinstance(inner, dict) else ({} if inner else {"not": {}}), at)

    def part(self, node: Any, at: str) -> dict[str, Any] | bool:
        """The schema at ``node``, to stand in a schema that is made :meth:`whole` later.

        Raises:
            DocumentError: it cannot be said in 2020-12, leads out of the document, or is too large.
        """
        return self._one(node, at)

    def whole(self, root: dict[str, Any], at: str) -> dict[str, Any]:
        """``root``, made of parts, with what they refer to in ``$defs``.

        Raises:
            DocumentError: as :meth:`part`, of a definition; or all together is too large.
        """
        definitions: dict[str, Any] = {}
        while self._waiting:
            name, pointer, with_children = self._waiting.pop()
            definitions[name] = self._family(pointer) if with_children else self._one(*self._at(pointer))
        if definitions:
            root = {**root, "$defs": {name: definitions[name] for name in sorted(definitions)}}
        try:
            size = len(canonical(root))
        except Refused:
            raise DocumentError(at, "has no canonical JSON form", "Look for numbers that JSON cannot carry.") from None
        if size > SCHEMA_MAX_BYTES:
            raise DocumentError(at, f"comes to more than {SCHEMA_MAX_BYTES} bytes", "Use a smaller schema.")
        return root

    def _at(self, pointer: str) -> tuple[Any, str]:
        return self._document.target(f"#{quote(pointer, safe='/~')}", pointer)

    def _one(self, node: Any, at: str, *, composed: bool = False) -> dict[str, Any] | bool:
        """One schema; its references are noted and not followed.

        Args:
            composed: whether it is a member of ``allOf``, where a base stands for itself and not for its children.
        """
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise DocumentError(at, "is no schema", "Mend the document.")
        self._count += 1
        if self._count > SCHEMA_VALUES_MAX:
            raise DocumentError(at, f"comes to more than {SCHEMA_VALUES_MAX} schemas", "Use a smaller schema.")
        refused = sorted(_REFUSED & node.keys())
        if refused:
            raise DocumentError(f"{at}/{refused[0]}", "is not supported", "Say it with $ref and plain keywords.")
        made: dict[str, Any] = {}
        if "$ref" in node:
            made["$ref"] = self._reference(node["$ref"], at, composed=composed)
            if self._document.nullable:
                return made  # Reference Object, OpenAPI 3.0.4 section 4.7.23: its siblings are ignored.
        hidden = self._hidden(node, at)
        for key, value in node.items():
            made.update(self._keyword(key, value, f"{at}/{escape(key)}", hidden))
        self._exclusive(node, at, made)
        return self._or_null(node, made)

    def _keyword(self, key: str, value: Any, at: str, hidden: frozenset[str]) -> Mapping[str, Any]:
        if key in _ONE:
            if isinstance(value, list):
                raise DocumentError(at, "is not supported", "Say tuples with prefixItems.")
            return {key: self._one(value, at)}
        if key in _MANY:
            if not isinstance(value, list):
                raise DocumentError(at, "is no list of schemas", "Mend the document.")
            composed = key == "allOf"
            return {key: [self._one(item, f"{at}/{index}", composed=composed) for index, item in enumerate(value)]}
        if key in _NAMED:
            if not isinstance(value, Mapping):
                raise DocumentError(at, "is no object", "Mend the document.")
            kept = value.keys() - hidden if key == "properties" else value.keys()
            return {key: {name: self._one(value[name], f"{at}/{escape(name)}") for name in value if name in kept}}
        if key == "required" and isinstance(value, list):
            return {key: [name for name in value if name not in hidden]}
        if key in _COPIED:
            return {key: value}
        if key in _UPPER | _LOWER and not isinstance(value, bool):
            return {key: _within(value, at, upper=key in _UPPER, exclusive=key.startswith("exclusive"))}
        if key in {"multipleOf", "const"} or (key == "default" and _sayable(value)):
            return {key: value}
        if key == "enum":
            return {key: [item for item in value if _sayable(item)] if isinstance(value, list) else value}
        return {}

    @staticmethod
    def _exclusive(node: Mapping[str, Any], at: str, made: dict[str, Any]) -> None:
        """Boolean exclusive bounds (3.0, and draft 4) as the numbers that 2020-12 has."""
        for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if node.get(flag) is True and made.pop(bound, None) is not None:
                made[flag] = _within(node[bound], f"{at}/{bound}", upper=bound == "maximum", exclusive=True)

    def _or_null(self, node: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        """``nullable`` of 3.0 adds null to the type that stands beside it (OpenAPI 3.0.4 section 4.7.24.2), and does
        nothing without one; in an answer it is taken at its word, for the API means it."""
        if not self._document.nullable or node.get("nullable") is not True:
            return made
        kind = made.get("type")
        alone = isinstance(kind, str) and _NULL_REFUSING.isdisjoint(made)
        if self._direction is Direction.ANSWER and not alone:
            return {"anyOf": [made, {"type": "null"}]}
        return {**made, "type": [kind, "null"]} if isinstance(kind, str) else made

    def _hidden(self, node: Mapping[str, Any], at: str) -> frozenset[str]:
        """Members that do not go this way."""
        properties = node.get("properties")
        if not isinstance(properties, Mapping):
            return frozenset()
        return frozenset(name for name, member in properties.items() if self._is_hidden(member, at))

    def _is_hidden(self, member: Any, at: str) -> bool:
        if not isinstance(member, Mapping):
            return False
        if member.get(str(self._direction)) is True and not (self._document.nullable and "$ref" in member):
            return True
        return "$ref" in member and self._document.mapping(member, at)[0].get(str(self._direction)) is True

    def _reference(self, reference: Any, at: str, *, composed: bool) -> str:
        target, pointer = self._document.target(reference, at)
        with_children = not composed and any(self._children(target, pointer))
        name = pointer.rpartition("/")[2]
        if not pointer.startswith("/components/schemas/") or pointer.count("/") != 3:
            name = hashlib.sha256(pointer.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name += "+" if with_children else ""
        if name not in self._names:
            self._names[name] = (pointer, with_children)
            self._waiting.append((name, pointer, with_children))
        elif self._names[name] != (pointer, with_children):
            raise DocumentError(at, f"two definitions come to the name {name}", "Rename one.")
        return f"#/$defs/{quote(escape(name), safe='~+')}"

    def _children(self, base: Any, pointer: str) -> Iterator[str]:
        """Schemas that are a base with a discriminator and more (OpenAPI 3.0.4 section 4.7.25): where the base is asked
        for, each of them may stand."""
        if not isinstance(base, Mapping) or "discriminator" not in base or {"oneOf", "anyOf"} & base.keys():
            return
        for name, schema in self._document.component("schemas").items():
            parts = schema.get("allOf") if isinstance(schema, Mapping) else None
            for part in parts if isinstance(parts, list) else ():
                reference = part.get("$ref") if isinstance(part, Mapping) else None
                if isinstance(reference, str) and reference == f"#{pointer}":
                    yield f"#/components/schemas/{escape(name)}"

    def _family(self, pointer: str) -> dict[str, Any]:
        base, at = self._at(pointer)
        itself = {"$ref": self._reference(f"#{quote(pointer, safe='/~')}", at, composed=True)}
        children = [{"$ref": self._reference(child, at, composed=False)} for child in self._children(base, pointer)]
        return {"anyOf": [itself, *children]}


def _within(bound: Any, at: str, *, upper: bool, exclusive: bool) -> int | float:
    """A bound as a number that a message can carry; equivalent, because no message carries one in between."""
    if not isinstance(bound, int | float) or isinstance(bound, bool):
        raise DocumentError(at, "is no number", "Mend the document.")
    if abs(bound) <= MAX_SAFE_INTEGER:
        return bound
    if abs(bound) >= _EXPONENT_FROM:
        try:
            return float(bound)
        except OverflowError:
            raise DocumentError(at, "is too large a number", "Mend the document.") from None
    inwards = upper == (bound > 0)
    nearest = MAX_SAFE_INTEGER if inwards != exclusive else _EXPONENT_FROM
    return nearest if bound > 0 else -nearest


def _sayable(value: Any) -> bool:
    try:
        canonical(value)
    except Refused:
        return False
    return True
