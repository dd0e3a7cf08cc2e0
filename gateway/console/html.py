"""HTML from Python values. Text is escaped by being text: there is no way to put markup into a page but these elements,
so nothing in a call can be more than a letter on the screen.
"""

import html
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from gateway.safe import safe

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_VOID: Final = frozenset({"meta", "link", "input", "br"})


class Markup:
    """Finished HTML. Made by :func:`element` alone."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


Content: TypeAlias = "Markup | str | Iterable[Content] | None"
"""What an element may hold; ``None`` is nothing."""
Attribute = str | int | bool | None
"""``True`` is an attribute without a value; ``False`` and ``None`` are none."""


def element(
    name: str, /, *content: Content, attributes: Mapping[str, Attribute] | None = None, **more: Attribute
) -> Markup:
    """One element. Text in it, and in its attributes, is made visible (``safe``) and escaped.

    Args:
        attributes: those whose names Python does not take.
        more: further ones; an underscore at the end is dropped and others become hyphens (``class_``, ``aria_label``).
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in more.items()}
    opened = "".join(_attribute(key, value) for key, value in {**(attributes or {}), **named}.items())
    if _NAME.fullmatch(name) is None:
        raise ValueError(name)
    if name in _VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{''.join(_rendered(content))}</{name}>")


def document(title: str, head: Iterable[Markup], body: Content) -> bytes:
    """A whole page in English."""
    inside = (element("meta", charset="utf-8"), element("title", title), *head)
    page = element("html", element("head", *inside), element("body", body), lang="en")
    return f"<!doctype html>\n{page.text}\n".encode()


def _attribute(name: str, value: Attribute) -> str:
    if _NAME.fullmatch(name) is None or name.startswith("on") or name == "style":
        raise ValueError(name)
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{html.escape(safe(value))}"'


def _rendered(content: Content) -> Iterable[str]:
    if content is None:
        return
    if isinstance(content, Markup):
        yield content.text
    elif isinstance(content, str):
        yield html.escape(safe(content, lines=True), quote=False)
    else:
        for item in content:
            yield from _rendered(item)
