"""Where in a bundle each reason code is given, under which title and how severe: for ``why`` and for people who read
decisions."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.policy import syntax
from gateway.policy.bundle import Bundle
from gateway.policy.syntax import Tree
from gateway.reasons import POLICY_CODE

_MEMBER: Final = re.compile(r"^#\s+(title|severity):\s*(.+?)\s*$")
SEVERITIES: Final = ("critical", "high", "medium", "low")

Location = Mapping[str, Any]
"""``{file, line, rule, title, severity}``: the last two of the rule's ``# METADATA``, else of its package's, else
``""``. A severity is one of ``SEVERITIES``; of a code that several rules give it is the worst, and not to be known is
the worst of all."""


def index(bundle: Bundle, parsed: Any) -> Mapping[str, Location]:
    """Reason code -> the first place that gives it: a literal ``"code"`` member, else any literal of the code's shape.

    Args:
        bundle: a bundle that passed the check.
        parsed: its syntax trees.
    """
    sources = {module.path: module.source.splitlines() for module in bundle.modules}
    trees = syntax.trees(parsed)
    found: dict[str, dict[str, Any]] = {}
    for gather in (_members, _literals):
        known = frozenset(found)
        for tree in trees:
            lines = sources.get(tree.file, [])
            for rule in tree.rules:
                start = syntax.place(syntax.body_of(rule)).line
                said = {**_of_package(lines), **_metadata(lines, start)}
                for code, line in gather(rule):
                    if not POLICY_CODE.fullmatch(code) or code in known:
                        continue
                    severity = said.get("severity", "")
                    if code not in found:
                        title = said.get("title", "")
                        found[code] = {"file": tree.file, "line": line, "rule": _name(tree, rule), "title": title}
                        found[code]["severity"] = severity
                    elif _rank(severity) < _rank(found[code]["severity"]):
                        found[code]["severity"] = severity
    return found


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity else -1


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


def _metadata(lines: list[str], start: int) -> dict[str, str]:
    """Title and severity in the comment block that ends on the line above ``start`` (1-based)."""
    said: dict[str, str] = {}
    for line in reversed(lines[: start - 1]):
        if not line.startswith("#"):
            break
        if line.strip() == "# METADATA":
            return said
        matched = _MEMBER.match(line)
        if matched and (matched[1] == "title" or matched[2] in SEVERITIES):
            said[matched[1]] = matched[2]
    return {}


def _of_package(lines: list[str]) -> dict[str, str]:
    for number, line in enumerate(lines, 1):
        if line.startswith("package "):
            return _metadata(lines, number)
    return {}
