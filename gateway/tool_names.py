"""An action of a hand under one name, as models and clients call tools. They know neither hands nor actions."""

import hashlib
import re
from typing import Final

NAME_MAX_CHARACTERS: Final = 49
"""Clients take 64 characters and write a prefix of their own before a name: Claude Code ``mcp__SERVER__``, which leaves
so many where the server is called ``handrail``."""
SEPARATOR: Final = "__"
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]")


def tool_name(hand: str, action: str, *, alone: bool = False) -> str:
    """``<hand>__<action>``, at most :data:`NAME_MAX_CHARACTERS` of ``[A-Za-z0-9_-]``; where the hand is ``alone``, the
    action's own name.

    A pair that does not fit, or that another pair could be read as, gets a name that ends in a hash of the pair; so
    no two pairs share a name, whoever sees them. The way back is a lookup, never a split.
    """
    plain = action if alone else f"{hand}{SEPARATOR}{action}"
    readable = alone or (SEPARATOR not in hand and not hand.endswith("_"))
    if readable and len(plain) <= NAME_MAX_CHARACTERS and _FOREIGN.search(plain) is None:
        return plain
    tail = hashlib.sha256(f"{hand}\x00{action}".encode()).hexdigest()[:16]
    return f"{_FOREIGN.sub('_', plain)[: NAME_MAX_CHARACTERS - 17]}_{tail}"


def parts(name: str) -> tuple[str, str]:
    """Hand and action of a name that a person wrote as ``<hand>__<action>``; the action is empty where it is no such
    name. Of a name that :func:`tool_name` made, the hand is looked up instead."""
    hand, _, action = name.partition(SEPARATOR)
    return hand, action
