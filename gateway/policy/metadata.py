"""``# METADATA`` blocks: read as OPA reads them (its annotations), and refused wherever it refuses them. No engine, no
I/O.

A block begins with a comment ``METADATA`` in the first column and holds the comments of the lines below it. What they
say is YAML. It belongs to the first package, import or rule that begins below.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import yaml

from gateway.policy import syntax
from gateway.policy.bundle import Bundle
from gateway.policy.faults import Problem
from gateway.policy.syntax import Path, Tree

BUNDLE_MAX_CHARACTERS: Final = 131_072
"""Of all blocks of a bundle together: reading YAML takes seconds for a megabyte."""

_MARK: Final = "METADATA"
_SCOPES: Final = {"rule": "rule", "document": "rule", "package": "package", "subpackages": "package"}
"""Scope -> what it may stand over."""
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NO_TEXT: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "<<"})
"""Plain words that some reader of YAML takes for something else than text."""
_PLAIN: Final = r"[!-$&-9;-~]|%[0-9A-Fa-f]{2}"
_LINK: Final = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.-]*(?::[0-9]{{1,5}})?(?:[/?#](?:{_PLAIN}|:)*)?"
    rf"|(?:[A-Za-z]|/(?!/))(?:{_PLAIN})*"
)
"""An absolute URL to a plain host, or a relative reference: less than OPA takes."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block that can be read.

    Attributes:
        over: the line on which the thing that it belongs to begins.
        said: its members; scalars as they are written, ``None`` for an empty one.
    """

    line: int
    over: int
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Statement:
    line: int
    kind: str
    path: Path


class _Faulty(Exception):
    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def check(bundle: Bundle, parsed: Any) -> list[Problem]:
    """Every block that OPA would refuse, or that says something twice; empty where there is none.

    Args:
        bundle: the bundle.
        parsed: its syntax trees, as regorus' ``get_ast_as_json`` gives them.
    """
    found: list[Problem] = []
    packages: set[Path] = set()
    documents: set[Path] = set()
    try:
        trees = {tree.file: tree for tree in syntax.trees(parsed)}
        modules = [(module, _statements(trees[module.path])) for module in bundle.modules]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        return [Problem("", 0, 0, f"the syntax tree cannot be read: {exc}")]
    left = BUNDLE_MAX_CHARACTERS
    for module, statements in modules:
        for line, texts in _comments(module.source):
            left -= len(_MARK) + sum(map(len, texts))
            if left < 0:
                more = f"metadata: more than {BUNDLE_MAX_CHARACTERS:,} characters in all blocks of the bundle"
                return [*found, Problem(module.path, line, 1, more)]
            try:
                said = _read(texts, line)
                place = bisect_right(statements, line, key=attrgetter("line"))
                over = statements[place] if place < len(statements) else None
                _attach(said, over, packages, documents)
            except _Faulty as faulty:
                found.append(Problem(module.path, faulty.line or line, 1, f"metadata: {faulty.message}"))
    return found


def blocks(source: str, tree: Tree) -> Iterator[Block]:
    """The blocks of a module that passed the check."""
    statements = _statements(tree)
    for line, texts in _comments(source):
        over = next((item.line for item in statements if item.line > line), 0)
        yield Block(line, over, _read(texts, line))


def _statements(tree: Tree) -> list[_Statement]:
    """What a block can belong to, from the top."""
    found = [_Statement(tree.line, "package", tree.package)]
    found += (_Statement(line, "import", ()) for line in tree.import_lines)
    for rule in tree.rules:
        path = syntax.path_of(syntax.head_reference(rule))
        ground = path[: path.index(None)] if None in path else path
        found.append(_Statement(syntax.line_of(rule), "rule", (*tree.package, *ground)))
    return sorted(found, key=lambda item: item.line)


def _comments(source: str) -> Iterator[tuple[int, list[str]]]:
    """(line, the texts of the lines below it) of each block; a ``#`` in a raw string begins no comment."""
    block: tuple[int, list[str]] | None = None
    for number, text in _first_columns(source):
        if text.strip().startswith(_MARK):
            if block is not None:
                yield block
            block = (number, [])
        elif block is not None and number == block[0] + len(block[1]) + 1:
            block[1].append(text.removeprefix(" "))
        elif block is not None:
            yield block
            block = None
    if block is not None:
        yield block


def _first_columns(source: str) -> Iterator[tuple[int, str]]:
    """(line, text after ``#``) of each comment that begins in the first column."""
    raw = False
    for number, line in enumerate(source.split("\n"), 1):
        if not raw and line.startswith("#"):
            yield number, line[1:]
            continue
        place = 0
        while place < len(line):
            if raw:
                end = line.find("`", place)
                raw, place = end < 0, len(line) if end < 0 else end + 1
            elif line[place] == "#":
                break
            elif line[place] == '"':
                place = _after(line, place)
            else:
                raw, place = line[place] == "`", place + 1


def _after(line: str, place: int) -> int:
    """The place after a quoted string that begins at ``place``."""
    place += 1
    while place < len(line) and line[place] != '"':
        place += 2 if line[place] == "\\" else 1
    return place + 1


# --- what a block says -----------------------------------------------------------------------------------------------


def _read(texts: list[str], line: int) -> dict[str, Any]:
    if not any(text.strip() for text in texts):
        raise _Faulty("nothing stands in this block")
    for number, text in enumerate(texts, 1):
        if "\t" in text[: len(text) - len(text.lstrip())]:
            raise _Faulty("not YAML: a tab cannot indent", line + number)
    try:
        node = _document("\n".join(texts) + "\n")
        said = {} if _is_null(node) else _members(node)
        for name, value in said.items():
            _member(name, value)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = line + 1 + (0 if mark is None else min(mark.line, len(texts) - 1))
        problem = getattr(exc, "problem", None) or "a character that it does not allow"
        raise _Faulty(f"not YAML: {problem}", where) from None
    except RecursionError:
        raise _Faulty("nested too deeply") from None
    except _Faulty as faulty:
        raise _Faulty(faulty.message, line + faulty.line) from None
    return {name: _plain(value) for name, value in said.items()}


def _document(text: str) -> Any:
    """The one document as nodes. What readers of YAML take differently, or nobody needs here, is refused."""
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Faulty("anchors and aliases are not for metadata", line)
        if getattr(event, "tag", None):
            raise _Faulty("tags are not for metadata", line)
        if isinstance(event, yaml.DocumentStartEvent | yaml.DocumentEndEvent) and event.explicit:
            raise _Faulty("'---', '...' and directives are not for metadata", line)
    return yaml.compose(text, Loader=yaml.BaseLoader)


def _members(node: Any) -> dict[str, Any]:
    """The members of a mapping as nodes; every mapping below it is looked at too."""
    if not isinstance(node, yaml.MappingNode):
        raise _Faulty("'name: value' is expected here", node.start_mark.line + 1)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not _is_text(key):
            raise _Faulty("a name is text", key.start_mark.line + 1)
        if key.value in found:
            raise _Faulty(f"{key.value} stands here twice", key.start_mark.line + 1)
        found[key.value] = value
        _descend(value)
    return found


def _descend(node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        _members(node)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _descend(item)


def _member(name: str, node: Any) -> None:
    """Whether a member has the type that OPA asks of it; members that it does not know are nobody's."""
    if name in {"schemas", "compile"}:
        raise _Faulty(f"{name} is not for the policies of a gateway", node.start_mark.line + 1)
    if _is_null(node):
        return
    good = True
    match name:
        case "scope" | "title" | "description":
            good = isinstance(node, yaml.ScalarNode)
        case "entrypoint":
            good = isinstance(node, yaml.ScalarNode) and node.style is None and node.value in {"true", "false"}
        case "custom" | "labels":
            good = isinstance(node, yaml.MappingNode)
        case "organizations":
            good = _all(node, lambda item: isinstance(item, yaml.ScalarNode))
        case "authors":
            good = _all(node, _is_author)
        case "related_resources":
            good = _all(node, _is_resource)
    if not good:
        raise _Faulty(f"{name} has another shape than OPA takes", node.start_mark.line + 1)


def _all(node: Any, good: Any) -> bool:
    return isinstance(node, yaml.SequenceNode) and all(good(item) for item in node.value)


def _is_author(node: Any) -> bool:
    if isinstance(node, yaml.MappingNode):
        said = _members(node)
        return any(_is_text(said[name]) and said[name].value.strip() for name in ("name", "email") if name in said)
    return _is_text(node) and bool(node.value.strip())


def _is_resource(node: Any) -> bool:
    if isinstance(node, yaml.MappingNode):
        node = _members(node).get("ref")
    return node is not None and _is_text(node) and node.value != "" and bool(_LINK.fullmatch(node.value))


def _is_null(node: Any) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL)


def _is_text(node: Any) -> bool:
    """Whether every reader of YAML takes it for text: quoted, or a word that is no number, time, truth or nothing."""
    if not isinstance(node, yaml.ScalarNode):
        return False
    return node.style is not None or (
        node.value[:1] not in {"", *"0123456789+-.~="} and node.value.lower() not in _NO_TEXT
    )


def _plain(node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return None if _is_null(node) else node.value


def _attach(said: Mapping[str, Any], over: _Statement | None, packages: set[Path], documents: set[Path]) -> None:
    """Whether a block stands over what its scope names, and is the first of its kind there."""
    if over is None:
        raise _Faulty("no package and no rule follows")
    entrypoint = said.get("entrypoint") == "true"
    scope = said.get("scope") or ("document" if entrypoint and over.kind == "rule" else over.kind)
    if _SCOPES.get(scope) != over.kind:
        raise _Faulty(f"scope {scope} cannot stand over this {over.kind}")
    if entrypoint and scope not in {"document", "package"}:
        raise _Faulty(f"entrypoint cannot have the scope {scope}")
    if scope == "package":
        if over.path in packages:
            raise _Faulty("another block says something about this package")
        packages.add(over.path)
    elif scope != "rule":
        if any(path[: len(over.path)] == over.path for path in documents):
            raise _Faulty(f"another block of the scope {scope} says something about this")
        documents.add(over.path)
