"""What should have stood in a document or in the configuration, in words for people: from what pydantic found there.

Only what the model says is told. Nothing of a value that was given is repeated.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

REQUIRED: Final = "missing"
UNKNOWN: Final = "extra_forbidden"

_KINDS: Final = {
    "text": ("string_type", "string_unicode"),
    "a whole number": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "a number": ("float_type", "float_parsing", "finite_number"),
    "true or false": ("bool_type", "bool_parsing"),
    "a list": ("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"),
    "the path of a file": ("path_type",),
}
_OBJECTS: Final = frozenset({"dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"})
_WORDS: Final = {kind: words for words, kinds in _KINDS.items() for kind in kinds}
_BOUNDS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda said: f"a number over {said['gt']:g}",
    "greater_than_equal": lambda said: f"a number of at least {said['ge']:g}",
    "less_than": lambda said: f"a number under {said['lt']:g}",
    "less_than_equal": lambda said: f"a number of at most {said['le']:g}",
    "string_too_short": lambda said: f"a text of at least {_counted(said['min_length'], 'character')}",
    "string_too_long": lambda said: f"a text of at most {_counted(said['max_length'], 'character')}",
    "too_short": lambda said: f"at least {_counted(said['min_length'], 'item')}",
    "too_long": lambda said: f"at most {_counted(said['max_length'], 'item')}",
    "string_pattern_mismatch": lambda said: f"a text that matches {said['pattern']}",
    "enum": lambda said: f"one of: {_choices(said['expected'])}",
    "literal_error": lambda said: f"one of: {_choices(said['expected'])}",
}


def expected(problem: Mapping[str, Any], an_object: str) -> str | None:
    """What should have stood where pydantic found something else.

    Args:
        problem: one of ``ValidationError.errors()``.
        an_object: what names with values are called there.

    Returns:
        ``None`` where the model alone does not say it: :data:`REQUIRED`, :data:`UNKNOWN`, and a check of our own.
    """
    kind, said = problem["type"], problem.get("ctx", {})
    if kind in _OBJECTS:
        return an_object
    return _BOUNDS[kind](said) if kind in _BOUNDS else _WORDS.get(kind)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _choices(said: str) -> str:
    """``'a', 'b' or 'c'`` as ``a, b, c``."""
    return said.replace(" or ", ", ").replace("'", "")
