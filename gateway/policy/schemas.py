"""A bundle's data held against the JSON Schemas (2020-12) that stand beside it.

``data.schema.json`` describes the ``data.json`` of its directory. A rule reads data that somebody mistyped as
undefined, and undefined may be silent; so a bundle whose data is off its schema is refused. A schema refers to nothing
but itself: nothing is fetched.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs

from gateway.pointers import pointer
from gateway.policy.faults import Problem

DATA: Final = "data.json"
SCHEMA: Final = "data.schema.json"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_PROBLEMS_MAX: Final = 16
_MESSAGE_MAX: Final = 300
# The linear-time engine, and a bound on the compiled automaton.
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)


def check(documents: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Problem]:
    """Every problem of ``documents`` under ``schemas``.

    Args:
        documents: path of each ``data.json`` -> its content.
        schemas: path of each ``data.schema.json`` -> its content.
    """
    for path, schema in sorted(schemas.items()):
        beside = path.removesuffix(SCHEMA) + DATA
        if beside not in documents:
            yield Problem(path, 0, 0, f"describes {beside}, which is missing")
            continue
        fault = _fault(schema)
        if fault is not None:
            yield Problem(path, 0, 0, fault)
            continue
        try:
            validator = jsonschema_rs.Draft202012Validator(
                schema, offline=True, pattern_options=_PATTERNS, validate_formats=True
            )
            errors = list(islice(validator.iter_errors(documents[beside]), _PROBLEMS_MAX))
        except (ValueError, jsonschema_rs.ReferencingError, TypeError, RecursionError) as exc:
            yield Problem(path, 0, 0, f"not a usable JSON Schema: {' '.join(str(exc).split())[:_MESSAGE_MAX]}")
            continue
        for error in errors:
            at = pointer(error.instance_path) or "the top"
            yield Problem(beside, 0, 0, f"off its schema at {at}: {error.message[:_MESSAGE_MAX]}")


def compiles(pattern: str) -> bool:
    """Whether a regular expression compiles in linear time and bounded memory."""
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, offline=True, pattern_options=_PATTERNS)
    except ValueError:
        return False
    return True


def _fault(schema: Any) -> str | None:
    """Why a schema is not one that this check can trust, or ``None``."""
    if not isinstance(schema, dict) or schema.get("$schema") != _DIALECT:
        return f'needs "$schema": "{_DIALECT}"'
    pending: list[Any] = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for name in _REFERENCES & item.keys():
                if not (isinstance(item[name], str) and item[name].startswith("#")):
                    return f"{name} leads out of the schema"
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return None
