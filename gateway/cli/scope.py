"""How people are told that what they see is a part."""

from collections.abc import Sequence


def within(hands: Sequence[str]) -> str:
    """That an answer about the log is of these hands."""
    named = ", ".join(map(str, hands)) or "none"
    return f"of your hands alone ({named}), and of keys, policies and the log itself; other entries are not counted"
