"""The arguments that an action is tried with: one series for one seed, whatever else is tried."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.canonical import canonical
from gateway.errors import Refused
from hand_adapters.conformance.values import Endless, Impossible, Size, Values
from hand_adapters.schemas import Checker

ATTEMPTS_MAX: Final = 60
"""Values that are made for one that matches."""
_ENDLESS_MAX: Final = 3
"""Values that were too large to be made, after which no more are: a schema comes from a tool."""
ARGS_MAX_BYTES: Final = 65_536
"""Of one call's arguments in canonical JSON."""


class Inputs:
    """Arguments of one action, each once: the given ones, the smallest, the largest, one with texts that programs
    stumble over, and then random ones."""

    def __init__(
        self,
        action: str,
        schema: Mapping[str, Any],
        checker: Checker,
        seed: int,
        given: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """
        Args:
            schema: that of the manifest, normalised.
            given: the operator's own, tried first; they are not held against the schema here.
        """
        self._schema = schema
        self._checker = checker
        self._key = f"{seed}:{action}"
        self._given = list(given)
        self._seen: set[bytes] = set()
        self._number = 0
        self._endless = 0

    def take(self, most: int) -> Iterator[Mapping[str, Any]]:
        """The next ones, at most ``most``; fewer where the schema admits no more, or no more are found."""
        for _ in range(most):
            found = self._next()
            if found is None:
                return
            yield found

    def _next(self) -> Mapping[str, Any] | None:
        while self._given:
            given = self._given.pop(0)
            if self._is_new(given):
                return given
        for _ in range(ATTEMPTS_MAX):
            if self._endless > _ENDLESS_MAX:
                return None
            number, self._number = self._number, self._number + 1
            size = {0: Size.LEAST, 1: Size.MOST, 2: Size.NASTY}.get(number, Size.RANDOM)
            # Of its own number alone, so that a finding is met again however many came before it.
            rng = random.Random(f"{self._key}:{number}")  # noqa: S311 - the same for the same seed, by intent
            try:
                made = Values(self._schema, rng, size).value()
                if isinstance(made, dict) and not self._checker.problems(made) and self._is_new(made):
                    return made
            except Endless:
                self._endless += 1
            except (Impossible, Refused):
                continue
        return None

    def _is_new(self, args: Mapping[str, Any]) -> bool:
        """Raises ``Refused`` where it has no canonical form."""
        written = canonical(args)
        if written in self._seen or len(written) > ARGS_MAX_BYTES:
            return False
        self._seen.add(written)
        return True


def wrong(schema: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is made of ``right``, which matches, so that it cannot match any more, with what was done to it.

    Only what is wrong by construction: a schema is not asked.
    """
    if schema.get("type") == "object":
        yield "a list in place of the arguments", [right]
        yield "a text in place of the arguments", "text"
    for name in schema.get("required", ()):
        yield f"without {name}", {key: value for key, value in right.items() if key != name}
    left_open = not {"additionalProperties", "unevaluatedProperties", "patternProperties"} & schema.keys()
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    if closed or (left_open and (schema.get("type") == "object" or "properties" in schema)):
        yield "with a member that is not declared", {**right, "handrail_undeclared": True}
    for name, member in schema.get("properties", {}).items():
        if isinstance(member, Mapping):
            for what, value in _wrong(member):
                yield f"{name} {what}", {**right, name: value}


def _wrong(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Values that a schema of one member cannot admit."""
    kind = schema.get("type")
    if isinstance(kind, str):
        other: Any = "text" if kind in {"integer", "number", "boolean", "null", "array", "object"} else 7
        yield f"that is no {kind}", other
        if kind != "null":
            yield "that is null", None
    if kind == "string" and schema.get("maxLength", ARGS_MAX_BYTES) < ARGS_MAX_BYTES:
        yield "that is too long", "a" * (int(schema["maxLength"]) + 1)
    if kind == "string" and schema.get("minLength", 0) > 0:
        yield "that is too short", ""
    if kind in {"integer", "number"} and "maximum" in schema:
        yield "that is too great", schema["maximum"] + 1
    if kind in {"integer", "number"} and "minimum" in schema:
        yield "that is too small", schema["minimum"] - 1
    if kind == "array" and schema.get("maxItems", ARGS_MAX_BYTES) < ARGS_MAX_BYTES:
        yield "with too many items", [None] * (int(schema["maxItems"]) + 1)
    if "enum" in schema and "handrail_undeclared" not in schema["enum"]:
        yield "that is none of its values", "handrail_undeclared"
