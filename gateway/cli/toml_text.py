"""TOML that people read: values in one line, comments folded."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from gateway.safe import safe

_WIDTH: Final = 116
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_NOT_PRINTED: Final = re.compile("[^\x20-\x7e\xa1-\xac\xae-\u024f\u0370-\u03ff\u0400-\u052f]")
"""What is spelled out: a person reads the file, and nothing in it may hide or turn what stands beside it."""
_HALF: Final = re.compile("[\ud800-\udfff]")


def value(item: Any) -> str:
    """A TOML value. JSON's strings, numbers, booleans and arrays are TOML's too."""
    if item is None:
        return '""'
    if isinstance(item, dict):
        inner = ", ".join(f"{_string(str(name))} = {value(member)}" for name, member in item.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(item, tuple | list):
        return "[" + ", ".join(value(member) for member in item) + "]"
    return _string(str(item)) if isinstance(item, str | Enum | Path) else json.dumps(item)


def _string(text: str) -> str:
    """A basic string. JSON's escapes are TOML's, except where they make one
    character of two; half of such a pair is no text."""
    plain = json.dumps(_HALF.sub("\ufffd", text), ensure_ascii=False)
    return _NOT_PRINTED.sub(lambda found: f"\\U{ord(found[0]):08x}", plain)


def key(name: str) -> str:
    """A key, quoted where it has to be."""
    return name if _BARE.fullmatch(name) else value(name)


def comment(text: str) -> Iterator[str]:
    """A comment, as many lines as it takes."""
    line = "#"
    for word in safe(" ".join(text.split())).split(" "):
        if len(line) + len(word) + 1 > _WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    yield line
