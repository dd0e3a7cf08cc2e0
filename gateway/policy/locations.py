"""Where in a bundle each reason code is given, under which title and how severe: for ``why`` and for people who read
decisions."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.policy import metadata, syntax
from gateway.policy.bundle import Bundle
from gateway.policy.syntax import Tree
from gateway.reasons import POLICY_CODE

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
    trees = syntax.trees(parsed)
    sources = {module.path: module.source for module in bundle.modules}
    metadata_of = {tree.file: _said(sources[tree.file], tree) for tree in trees}
    found: dict[str, dict[str, Any]] = {}
    for gather in (_members, _literals):
        known = frozenset(found)
        for tree in trees:
            blocks = metadata_of[tree.file]
            for rule in tree.rules:
                said = {**blocks.get(tree.line, {}), **blocks.get(syntax.line_of(rule), {})}
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


def _said(source: str, tree: Tree) -> Mapping[int, Mapping[str, str]]:
    """Line of a package or rule -> what the blocks above it say: the last title and the worst severity. One that is not
    of ``SEVERITIES`` counts as none, and does not leave room for the package's.
    """
    found: dict[int, dict[str, str]] = {}
    for block in metadata.blocks(source, tree):
        said = found.setdefault(block.over, {})
        if block.said.get("title"):
            said["title"] = block.said["title"].strip()
        custom = block.said.get("custom") or {}
        if "severity" in custom:
            severity = custom["severity"] if custom["severity"] in SEVERITIES else ""
            said["severity"] = min(severity, said.get("severity", severity), key=_rank)
    return found
