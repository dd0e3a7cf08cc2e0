"""JSON pointers (RFC 6901), as text and as the names that they go through."""

from collections.abc import Iterable


def escape(name: str) -> str:
    """A member's name as a reference token (section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """The name behind a reference token (section 4)."""
    return token.replace("~1", "/").replace("~0", "~")


def pointer(path: Iterable[str | int]) -> str:
    """The pointer through these names and positions; the empty one is the whole document."""
    return "".join(f"/{escape(part) if isinstance(part, str) else part}" for part in path)


def tokens(text: str) -> list[str]:
    """The names that a pointer goes through, unescaped."""
    return [unescape(token) for token in text.split("/")[1:]]
