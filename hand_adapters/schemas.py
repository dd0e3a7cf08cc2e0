"""JSON Schema 2020-12 for args and results: normalised and closed once at pinning, compiled once, never fetched.

A schema comes from a tool server, so it is hostile until proven otherwise: it may point at a URL or a file, hide an
exponential pattern, or be too loose to mean anything. What cannot be checked is not offered.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

from gateway.errors import HandrailError
from gateway.pointers import escape, pointer, tokens, unescape
from gateway.reasons import Reason

PROBLEMS_MAX: Final = 16
"""Problems reported for one value."""
DEPTH_MAX: Final = 48
"""Nesting levels of a schema."""
_DIALECTS: Final = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
    }
)
# Keywords of older drafts that 2020-12 would silently ignore, so that a constraint would be lost.
_LOST: Final = frozenset({"dependencies", "additionalItems", "$recursiveRef", "$recursiveAnchor"})

# Where subschemas live (core vocabulary and applicators, JSON Schema 2020-12 section 10). "Fresh" ones apply to
# another instance location than their parent; "in place" ones to the same.
_FRESH_ONE: Final = frozenset(
    {"items", "contains", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contentSchema"}
)
_FRESH_MANY: Final = frozenset({"prefixItems"})
_FRESH_NAMED: Final = frozenset({"properties", "patternProperties"})
_IN_PLACE_ONE: Final = frozenset({"not", "if", "then", "else", "propertyNames"})
_IN_PLACE_MANY: Final = frozenset({"allOf", "anyOf", "oneOf"})
_IN_PLACE_NAMED: Final = frozenset({"dependentSchemas", "$defs", "definitions"})
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef"})
# In-place applicators through which properties can be described; ``not`` describes none.
_COMPOSERS: Final = ("allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "$ref", "$dynamicRef")
_OBJECT_KEYWORDS: Final = frozenset(
    {"properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "required"}
)

# The linear-time engine: no backtracking, no look-around, and a bound on the compiled automaton.
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)


class SchemaError(HandrailError):
    """A schema that cannot be used; ``detail`` says why, with a pointer into the schema."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.HAND_PROTOCOL, detail)


class Checker:
    """One compiled schema."""

    __slots__ = ("_names", "_validator")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile ``schema``, a result of :func:`normalise`.

        Raises:
            SchemaError: not a schema, a reference that leads nowhere or elsewhere, or a pattern that is not linear.
        """
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(schema), offline=True, pattern_options=_PATTERNS, validate_formats=True
            )
        except (ValueError, jsonschema_rs.ReferencingError, TypeError, RecursionError) as exc:
            raise SchemaError(f"does not compile: {type(exc).__name__}") from None
        self._names = frozenset(_declared_names(schema))

    def problems(self, value: Any) -> Sequence[Mapping[str, str]]:
        """Problems of ``value`` as ``{pointer, keyword}``; empty where it matches.

        Nothing of the value is told: a member name that the schema does not itself declare is ``*`` in the pointer.
        """
        plain = value if type(value) is dict or not isinstance(value, Mapping) else _plain_mapping(value)
        try:
            if self._validator.is_valid(plain):
                return ()
            errors = list(islice(self._validator.iter_errors(plain), PROBLEMS_MAX))
        except (ValueError, RecursionError):
            return ({"pointer": "", "keyword": "type"},)
        # is_valid and iter_errors agree; were they ever not to, the first one's word stands and the value is refused.
        return tuple(
            {"pointer": self._pointer(error.instance_path), "keyword": error.kind.name} for error in errors
        ) or ({"pointer": "", "keyword": "schema"},)

    def _pointer(self, path: Sequence[str | int]) -> str:
        return pointer(part if isinstance(part, int) or part in self._names else "*" for part in path)


def normalise(schema: Any, *, close: bool) -> dict[str, Any]:
    """A copy of ``schema`` that means one thing: dialect 2020-12, references only within itself.

    Args:
        schema: parsed JSON, from a tool server or the configuration.
        close: also close every object schema that leaves ``additionalProperties`` unset (SANDBOX fact 10):
            ``additionalProperties: false``, or ``unevaluatedProperties: false`` where the schema is composed
            (``allOf``, ``anyOf``, ``$ref`` ...), because there the first would refuse what a sibling describes.

    Raises:
        SchemaError: not an object, another dialect, a reference out of the document, a nested ``$id``, too deep.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError("is not a JSON object")
    root = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    dialect = schema.get("$schema")
    if dialect is not None and (not isinstance(dialect, str) or dialect.rstrip("#") not in _DIALECTS):
        raise SchemaError("/$schema: unsupported dialect")
    copied = _copy(root, "", 0)
    if close:
        _close(copied, copied, fresh=True)
    return copied


def _copy(schema: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
    """Deep copy of a schema that refuses what must not be in one. Values that are not schemas are shared."""
    if depth > DEPTH_MAX:
        raise SchemaError(f"{at}: too deep")
    copied: dict[str, Any] = {}
    for key, value in schema.items():
        here = f"{at}/{escape(key)}"
        if key in _LOST or key == "$id" or (key == "items" and isinstance(value, list)):
            raise SchemaError(f"{here}: not supported")
        if key in _REFERENCES and not (isinstance(value, str) and value.startswith("#")):
            raise SchemaError(f"{here}: leads out of the schema")
        if isinstance(value, Mapping) and key in (_FRESH_ONE | _IN_PLACE_ONE):
            copied[key] = _copy(value, here, depth + 1)
        elif isinstance(value, Mapping) and key in (_FRESH_NAMED | _IN_PLACE_NAMED):
            copied[key] = {name: _copy_any(member, f"{here}/{escape(name)}", depth) for name, member in value.items()}
        elif isinstance(value, list) and key in (_FRESH_MANY | _IN_PLACE_MANY):
            copied[key] = [_copy_any(member, f"{here}/{index}", depth) for index, member in enumerate(value)]
        else:
            copied[key] = value
    return copied


def _copy_any(member: Any, at: str, depth: int) -> Any:
    if isinstance(member, Mapping):
        return _copy(member, at, depth + 1)
    if isinstance(member, bool):
        return member
    raise SchemaError(f"{at}: is not a schema")


def _close(schema: dict[str, Any], root: dict[str, Any], *, fresh: bool) -> None:
    """Close ``schema`` in place, then everything below it.

    Only a schema at a fresh instance location is closed. One that is applied in place (a branch, a definition) stays
    open itself, since what it does not describe a sibling may; whoever applies it closes the whole.
    """
    if fresh and "additionalProperties" not in schema and "unevaluatedProperties" not in schema:
        if not any(composer in schema for composer in _COMPOSERS):
            if _is_object(schema):
                schema["additionalProperties"] = False
        elif _describes_object(schema, root, set()):
            schema["unevaluatedProperties"] = False
    for child, child_is_fresh in list(_children(schema)):
        _close(child, root, fresh=child_is_fresh)


def _children(schema: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    for key, value in schema.items():
        fresh = key in _FRESH_ONE or key in _FRESH_MANY or key in _FRESH_NAMED
        members: Sequence[Any] = ()
        if key in _FRESH_ONE or key in _IN_PLACE_ONE:
            members = (value,)
        elif isinstance(value, dict) and (key in _FRESH_NAMED or key in _IN_PLACE_NAMED):
            members = tuple(value.values())
        elif isinstance(value, list) and (key in _FRESH_MANY or key in _IN_PLACE_MANY):
            members = value
        for member in members:
            if isinstance(member, dict):
                yield member, fresh


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or not _OBJECT_KEYWORDS.isdisjoint(schema)


def _describes_object(schema: Any, root: Mapping[str, Any], seen: set[int]) -> bool:
    """Whether ``schema``, or anything it applies in place, speaks about objects."""
    if not isinstance(schema, Mapping) or id(schema) in seen:
        return False
    seen.add(id(schema))
    if _is_object(schema):
        return True
    return any(_describes_object(branch, root, seen) for branch in branches(schema, root))


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema behind ``#`` or ``#/a/b``. An anchor counts as an object schema: closing too much only refuses."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return {"type": "object"}
    target: Any = root
    for segment in reference[2:].split("/"):
        name = unescape(unquote(segment))
        if isinstance(target, Mapping):
            target = target.get(name)
        elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        else:
            return {"type": "object"}
    return target


def reaches(schema: Mapping[str, Any], pointer: str) -> bool:
    """Whether a value that ``schema`` admits can have something at ``pointer`` (``*`` is any item of an array).

    Where the schema leaves it open, it can.

    Args:
        schema: a result of :func:`normalise`.
    """
    return _reaches(schema, schema, tokens(pointer), set())


def _reaches(schema: Any, root: Mapping[str, Any], names: list[str], seen: set[tuple[int, int]]) -> bool:
    if not names:
        return schema is not False
    if not isinstance(schema, Mapping):
        return schema is True
    here = (id(schema), len(names))
    if here in seen:
        return False
    seen.add(here)
    below = [*_members(schema, names[0]), *_items(schema, names[0])]
    if any(_reaches(child, root, names[1:], seen) for child in below):
        return True
    in_place = list(branches(schema, root))
    if any(_reaches(branch, root, names, seen) for branch in in_place):
        return True
    # It says nothing of what it is made of, so it may be made of anything.
    return not (in_place or schema.keys() & _SHAPING)


_SHAPING: Final = _OBJECT_KEYWORDS | {"type", "const", "enum", "items", "prefixItems", "contains", "unevaluatedItems"}


def _may_be(schema: Mapping[str, Any], kind: str) -> bool:
    said = schema.get("type")
    return said is None or said == kind or (isinstance(said, list) and kind in said)


def _members(schema: Mapping[str, Any], token: str) -> Iterator[Any]:
    """The schemas of a member called ``token``."""
    if not _may_be(schema, "object"):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and token in properties:
        yield properties[token]
        return
    patterns = schema.get("patternProperties")
    yield from patterns.values() if isinstance(patterns, Mapping) else ()
    for rest in ("additionalProperties", "unevaluatedProperties"):
        if rest in schema:
            yield schema[rest]


def _items(schema: Mapping[str, Any], token: str) -> Iterator[Any]:
    """The schemas of an item at ``token``."""
    if not _may_be(schema, "array") or not (token == "*" or token.isdecimal()):  # noqa: S105 - a token of a pointer
        return
    before = schema.get("prefixItems")
    yield from before if isinstance(before, list) else ()
    said = [schema[name] for name in ("items", "contains", "unevaluatedItems") if name in schema]
    yield from said
    if not said and schema.get("type") is not None:
        yield True


def branches(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that apply in place."""
    for composer in _COMPOSERS:
        value = schema.get(composer)
        if composer in _REFERENCES:
            yield from (_resolve(value, root),) if isinstance(value, str) else ()
        elif isinstance(value, list):
            yield from value
        elif composer == "dependentSchemas":
            yield from value.values() if isinstance(value, Mapping) else ()
        elif value is not None:
            yield value


def _declared_names(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from properties
    for child, _ in _children(schema):
        yield from _declared_names(child)


def _plain_mapping(value: Any) -> Any:
    """Plain dicts for the validator, which knows no other mapping type."""
    if isinstance(value, Mapping):
        return {key: _plain_mapping(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_mapping(member) for member in value]
    return value
