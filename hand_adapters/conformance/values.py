"""Values of a JSON Schema (2020-12): the smallest, the largest, and random ones with what programs stumble over.

What is made is a good guess: ``not``, ``uniqueItems``, ``contains`` and the like are not solved for. Whoever asks holds
each value against the compiled schema, and asks again.
"""

import random
import string
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from gateway.canonical import MAX_SAFE_INTEGER
from gateway.pointers import tokens
from hand_adapters.conformance.patterns import NotUnderstood, text

LONG: Final = 4096
"""Characters of the longest text that is made where the schema allows it."""
_TEXT_MAX: Final = 65_536
_DEEP: Final = 24
"""Levels of the deepest value, where a schema leaves its form open."""
_LEVELS_MAX: Final = 40
_FROM_HERE_LEAST: Final = 6
"""Levels from which on only what has to be there is made, so that a schema that refers to itself ends."""
_ITEMS_MAX: Final = 8
_LEAST_FROM: Final = 500
"""Values within one from which on only what has to be there is made."""
_VALUES_MAX: Final = 10_000
_TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
_NASTY: Final = (
    "",
    " ",
    "0",
    "null",
    "-1",
    "--help",
    "../../etc/passwd",
    "a/b\\c",
    "%00%2f",
    "'; --",
    '"}{"',
    "${HOME} $(id) `id`",
    "<b>&amp;",
    "line\nbreak\ttab",
    "e\u0301 \u00e9",
    "\u202eright to left",
    "\u200bzero width\ufeff",
    "\U0001f9d1\u200d\U0001f680 \U00010348",
    "\u4f60\u597d",
    "\u0130\u0131\u017f",
)
"""Texts that quoting, encoding, folding or a shell takes for something else."""
_FORMATS: Final[Mapping[str, Sequence[str]]] = {
    "date": ("2024-02-29", "1999-12-31"),
    "date-time": ("2024-02-29T23:59:59Z", "1999-12-31T23:59:60.5+02:00", "2024-01-01T00:00:00-11:30"),
    "duration": ("P1D", "PT0.5S", "P1Y2M3DT4H"),
    "email": ("a@example.com", "first.last+tag@sub.example.org"),
    "hostname": ("example.com", "a.b-c.example"),
    "idn-email": ("a@example.com", "\u00e4@example.org"),
    "idn-hostname": ("example.com", "b\u00fccher.example"),
    "ipv4": ("192.0.2.1", "203.0.113.255"),
    "ipv6": ("2001:db8::1", "::"),
    "iri": ("https://example.com/\u00e4",),
    "iri-reference": ("/\u00e4?q=1",),
    "json-pointer": ("", "/a~1b/0"),
    "regex": ("a+", "^[0-9]{2}$"),
    "relative-json-pointer": ("0#", "1/a"),
    "time": ("23:59:59Z", "00:00:00.25+01:00"),
    "uri": ("https://example.com/a?b=c#d", "urn:isbn:0451450523"),
    "uri-reference": ("../a", "https://example.com/"),
    "uri-template": ("/a/{b}",),
    "uuid": ("00000000-0000-4000-8000-000000000000", "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"),
}

_WORST: Final = "\u4f60e\u0301\u202e\U0001f9d1\u200d\U0001f680 '\"\\<&%2f${x}"


class Size(Enum):
    """How much of what a schema allows."""

    LEAST = "least"
    MOST = "most"
    NASTY = "nasty"
    """Random, and each text that may be anything is one that programs stumble over."""
    RANDOM = "random"


class Impossible(ValueError):
    """No value of a schema can be made here."""


class Endless(Impossible):
    """One of a schema was not made, because it would be too large."""


class Values:
    """Makes values of one schema."""

    def __init__(self, schema: Mapping[str, Any], rng: random.Random, size: Size = Size.RANDOM) -> None:
        self._root = schema
        self._rng = rng
        self._size = size
        self._made = 0

    def value(self) -> Any:
        """One value.

        Raises:
            Impossible: a schema that admits none, that never ends, or a pattern beyond what is read.
        """
        return self._of(self._root, 0)

    def _of(self, schema: Any, level: int) -> Any:
        self._made += 1
        if level > _LEVELS_MAX or self._made > _VALUES_MAX:
            raise Endless("too deep, or too much")
        if schema is False:
            raise Impossible("false")
        flat = {} if schema is True else self._flat(schema, 0)
        if "const" in flat:
            return flat["const"]
        if "enum" in flat:
            return self._choice(flat["enum"])
        said = [*flat.get("examples", ()), *([flat["default"]] if "default" in flat else [])]
        if said and self._size is Size.RANDOM and self._rng.random() < 0.3:
            return self._rng.choice(said)
        kind = self._kind(flat, level)
        make = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }.get(kind)
        if make is not None:
            return make(flat, level)
        return None if kind == "null" else bool(self._choice([False, True]))

    # --- one schema of many ------------------------------------------------------------------------------------------

    def _flat(self, schema: Mapping[str, Any], turns: int) -> dict[str, Any]:
        """A schema with its references followed, and one branch of each choice merged into it."""
        self._made += 1
        if turns > _LEVELS_MAX or self._made > _VALUES_MAX:
            raise Endless("references that never end")
        flat = {key: value for key, value in schema.items() if key not in _IN_PLACE}
        also = [self._referred(schema[key]) for key in ("$ref", "$dynamicRef") if key in schema]
        also += schema.get("allOf", ())
        also += [self._choice(schema[key]) for key in ("anyOf", "oneOf") if schema.get(key)]
        if "if" in schema:
            also += [schema["if"], schema.get("then", True)] if self._rng.random() < 0.5 else [schema.get("else", True)]
        for branch in also:
            if branch is False:
                raise Impossible("false")
            if branch is not True:
                flat = _merged(flat, self._flat(branch, turns + 1))
        return flat

    def _referred(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            return self._root if reference == "#" else True
        target: Any = self._root
        for token in tokens(reference[1:]):
            if isinstance(target, Mapping) and token in target:
                target = target[token]
            elif isinstance(target, list) and token.isdecimal() and int(token) < len(target):
                target = target[int(token)]
            else:
                raise Impossible("a reference to nothing")
        return target

    def _kind(self, flat: Mapping[str, Any], level: int) -> str:
        said = flat.get("type")
        kinds = [said] if isinstance(said, str) else list(said or ())
        if not kinds:
            kinds = [kind for kind, words in _WORDS.items() if not words.isdisjoint(flat)]
        if not kinds:
            kinds = list(_TYPES if level < _FROM_HERE_LEAST else _TYPES[2:])
        return str(self._choice(kinds))

    # --- kinds -------------------------------------------------------------------------------------------------------

    def _object(self, flat: Mapping[str, Any], level: int) -> dict[str, Any]:
        described: Mapping[str, Any] = flat.get("properties", {})
        required: Sequence[str] = flat.get("required", ())
        made: dict[str, Any] = {}
        for name, member in described.items():
            if name in required or (member is not False and self._takes(level)):
                try:
                    made[name] = self._of(member, level + 1)
                except Impossible:
                    if name in required:
                        raise
        self._complete(made, flat, level)
        most = flat.get("maxProperties")
        if most is not None:
            for name in [name for name in reversed(made) if name not in required][: max(0, len(made) - int(most))]:
                del made[name]
        if flat.keys() <= {"type"} and self._size is Size.MOST and level == 0:
            made["deep"] = _deep(_DEEP)
        return made

    def _complete(self, made: dict[str, Any], flat: Mapping[str, Any], level: int) -> None:
        """Add the members that have to be there, and some that nothing describes where these may be."""
        described, rest = flat.get("properties", {}), self._undescribed(flat)
        for name in flat.get("required", ()):
            if name not in made:
                made[name] = self._of(rest, level + 1)
        for name, needed in flat.get("dependentRequired", {}).items():
            for other in needed if name in made else ():
                if other not in made:
                    made[other] = self._of(described.get(other, rest), level + 1)
        free = 1 if rest is not False and not described and self._takes(level) else 0
        for number in range(max(int(flat.get("minProperties", 0)), free) - len(made)):
            made[self._name(flat, number)] = self._of(rest, level + 1)

    def _undescribed(self, flat: Mapping[str, Any]) -> Any:
        """The schema of a member that ``properties`` does not describe."""
        patterns = flat.get("patternProperties")
        if patterns:
            return next(iter(patterns.values()))
        return flat.get("additionalProperties", flat.get("unevaluatedProperties", True))

    def _name(self, flat: Mapping[str, Any], number: int) -> str:
        for pattern in flat.get("patternProperties", {}):
            return self._matching(pattern)
        names = flat.get("propertyNames")
        return str(self._of({"type": "string", **names}, 1)) if isinstance(names, Mapping) else f"member{number}"

    def _array(self, flat: Mapping[str, Any], level: int) -> list[Any]:
        before: Sequence[Any] = flat.get("prefixItems", ())
        rest = flat.get("items", flat.get("contains", True))
        least, most = int(flat.get("minItems", 0)), int(flat.get("maxItems", _ITEMS_MAX))
        least = max(least, 1) if "contains" in flat else least
        if rest is False:
            most = min(most, len(before))
        most = max(least, min(most, max(_ITEMS_MAX, least)))
        if least > _VALUES_MAX:
            raise Impossible("too many items")
        if self._is_enough(level):
            most = least
        length = most if self._size is Size.MOST else self._rng.randint(least, most)
        return [self._of(before[at] if at < len(before) else rest, level + 1) for at in range(length)]

    def _string(self, flat: Mapping[str, Any], level: int) -> str:  # noqa: ARG002
        least, most = int(flat.get("minLength", 0)), flat.get("maxLength")
        longest = LONG if most is None else int(most)
        if least > _TEXT_MAX:
            raise Impossible("too long")
        if "pattern" in flat:
            return self._fitted(self._matching(flat["pattern"]), flat)
        if flat.get("format") in _FORMATS:
            return str(self._choice(_FORMATS[flat["format"]]))
        if "contentEncoding" in flat and flat["contentEncoding"] == "base64":
            return "aGFuZHJhaWw="
        if self._size is Size.LEAST:
            return "a" * least
        if self._size is Size.MOST:
            return "a" * max(least, min(longest, LONG))
        if self._size is Size.NASTY:
            return (_WORST + "a" * (least - len(_WORST)))[: max(least, longest)]
        chosen = self._rng.choice(_NASTY) if self._rng.random() < 0.4 else self._word()
        return (chosen + "a" * (least - len(chosen)))[: max(least, longest)]

    def _fitted(self, made: str, flat: Mapping[str, Any]) -> str:
        """Another text of the pattern, where this one is too short or too long."""
        least, most = int(flat.get("minLength", 0)), int(flat.get("maxLength", LONG))
        for _ in range(20):
            if least <= len(made) <= most:
                break
            made = self._matching(flat["pattern"])
        return made

    def _matching(self, pattern: str) -> str:
        try:
            return text(pattern, self._rng)
        except NotUnderstood as exc:
            raise Impossible(f"a pattern: {exc}") from None

    def _integer(self, flat: Mapping[str, Any], level: int) -> int:  # noqa: ARG002
        least, most = _bounds(flat, -MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
        step = int(flat.get("multipleOf", 1)) or 1
        least, most = -(-int(least) // step) * step, int(most) // step * step
        if least > most:
            raise Impossible("bounds")
        if self._size is not Size.RANDOM:
            nearest = min(max(0, least), most)
            return most if self._size is Size.MOST else least if "minimum" in flat else nearest
        near = [value for value in (0, 1, -1, 2, 10, 255, 256, 2**31, -(2**31)) if least <= value <= most]
        chosen = self._rng.choice([least, most, *near, self._rng.randint(least, most)])
        return chosen // step * step

    def _number(self, flat: Mapping[str, Any], level: int) -> float | int:
        if "multipleOf" in flat and float(flat["multipleOf"]).is_integer():
            return self._integer(flat, level)
        least, most = _bounds(flat, -1e15, 1e15)
        if least > most:
            raise Impossible("bounds")
        if "multipleOf" in flat:
            step = float(flat["multipleOf"])
            return round(least / step + 1) * step if least > 0 or most < 0 else 0
        if self._size is Size.LEAST:
            return least if "minimum" in flat else min(max(0, least), most)
        if self._size is Size.MOST:
            return most
        near = [value for value in (0, 0.5, -0.5, 1e-7, 0.1 + 0.2, 1e9) if least <= value <= most]
        return float(self._rng.choice([least, most, *near, round(self._rng.uniform(least, most), 3)]))

    # --- chance ------------------------------------------------------------------------------------------------------

    def _is_enough(self, level: int) -> bool:
        """Whether only what has to be there is still made."""
        return self._size is Size.LEAST or level >= _FROM_HERE_LEAST or self._made > _LEAST_FROM

    def _takes(self, level: int) -> bool:
        """Whether a member that need not be there is."""
        if self._is_enough(level):
            return False
        return self._size is Size.MOST or self._rng.random() < 0.6

    def _choice(self, of: Sequence[Any]) -> Any:
        if not of:
            raise Impossible("nothing to choose from")
        if self._size is Size.LEAST:
            return of[0]
        return of[-1] if self._size is Size.MOST and self._rng.random() < 0.5 else self._rng.choice(of)

    def _word(self) -> str:
        return "".join(self._rng.choice(string.ascii_lowercase) for _ in range(self._rng.randint(3, 12)))


def _bounds(flat: Mapping[str, Any], lowest: float, highest: float) -> tuple[float, float]:
    """The least and the greatest number, those of an open interval moved in by one unit."""
    whole = flat.get("type") == "integer"
    unit = 1 if whole else 1e-6
    least = max(
        [flat.get("minimum", lowest), *([flat["exclusiveMinimum"] + unit] if "exclusiveMinimum" in flat else [])]
    )
    most = min(
        [flat.get("maximum", highest), *([flat["exclusiveMaximum"] - unit] if "exclusiveMaximum" in flat else [])]
    )
    return least, most


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two schemas of one value, as nearly as a single one says it."""
    merged = {**one, **other}
    for key in ("properties", "patternProperties", "dependentRequired", "$defs"):
        if key in one and key in other:
            merged[key] = {**one[key], **other[key]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    for key in ("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"):
        if key in one and key in other:
            merged[key] = max(one[key], other[key])
    for key in ("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"):
        if key in one and key in other:
            merged[key] = min(one[key], other[key])
    if "enum" in one and "enum" in other:
        merged["enum"] = [value for value in one["enum"] if value in other["enum"]]
    if isinstance(one.get("type"), str) and isinstance(other.get("type"), list):
        merged["type"] = one["type"]
    return merged


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"deeper": value}
    return value


_IN_PLACE: Final = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else"})
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "minProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "contains"}),
    "string": frozenset({"pattern", "minLength", "maxLength", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
"""Keywords by which a schema without a type speaks of one."""
