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


def value(item: Any) -> str:
    """A TOML value. JSON's strings, numbers, booleans and arrays are TOML's too."""
    if item is None:
        return '""'
    if isinstance(item, dict):
        inner = ", ".join(f"{value(str(key))} = {value(member)}" for key, member in item.items())
        return f"{{ {inner} }}" if inner else "{  }"
    if isinstance(item, tuple | list):
        return "[" + ", ".join(value(member) for member in item) + "]"
    if isinstance(item, Enum | Path):
        return json.dumps(str(item))
    return _NOT_PRINTED.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(item, ensure_ascii=False))


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
