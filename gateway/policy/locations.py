"""Where in a bundle each reason code is given, and under which title: for ``why`` and for people who read decisions."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.policy import syntax
from gateway.policy.bundle import Bundle
from gateway.policy.syntax import Tree
from gateway.reasons import POLICY_CODE

_MEMBER: Final = re.compile(r"^#\s+title:\s*(.+?)\s*$")

Location = Mapping[str, Any]
"""``{file, line, rule, title}``; ``title`` is ``""`` where the rule has no ``# METADATA``."""


def index(bundle: Bundle, parsed: Any) -> dict[str, Location]:
    """Reason code -> the first place that gives it: a literal ``"code"`` member, else any literal of the code's shape.

    Args:
        bundle: a bundle that passed the check.
        parsed: its syntax trees.
    """
    sources = {module.path: module.source.splitlines() for module in bundle.modules}
    trees = syntax.trees(parsed)
    found: dict[str, Location] = {}
    for gather in (_members, _literals):
        for tree in trees:
            lines = sources.get(tree.file, [])
            for rule in tree.rules:
                start = syntax.place(syntax.body_of(rule)).line
                for code, line in gather(rule):
                    if POLICY_CODE.fullmatch(code) and code not in found:
                        found[code] = {
                            "file": tree.file,
                            "line": line,
                            "rule": _name(tree, rule),
                            "title": _title(lines, start) or _package_title(lines),
                        }
    return found


def _members(rule: Any) -> Iterator[tuple[str, int]]:
    for tag, body in syntax.nodes(rule):
        if tag == "Object":
            for _, key, value in body["fields"]:
                if key.get("String", {}).get("value") == "code" and "String" in value:
                    yield value["String"]["value"], syntax.place(value["String"]).line


def _literals(rule: Any) -> Iterator[tuple[str, int]]:
    for tag, body in syntax.nodes(rule):
        if tag == "String":
            yield body["value"], syntax.place(body).line


def _name(tree: Tree, rule: Mapping[str, Any]) -> str:
    path = syntax.path_of(syntax.head_reference(rule))
    return ".".join(["data", *map(str, tree.package), *(part for part in path if part is not None)])


def _title(lines: list[str], start: int) -> str:
    """The title in the comment block that ends on the line above ``start`` (1-based)."""
    title = ""
    for line in reversed(lines[: start - 1]):
        if not line.startswith("#"):
            break
        if line.strip() == "# METADATA":
            return title
        matched = _MEMBER.match(line)
        title = matched[1] if matched else title
    return ""


def _package_title(lines: list[str]) -> str:
    for number, line in enumerate(lines, 1):
        if line.startswith("package "):
            return _title(lines, number)
    return ""
