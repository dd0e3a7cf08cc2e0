"""Reading regorus' syntax trees: names, references, calls and where they stand. No engine, no I/O.

A node is ``{Tag: {...}}``. Only the tags listed here are known; a tree with another one is refused, so that a new kind
of expression in a new engine cannot carry a call past the check.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

REFERENCES: Final = frozenset({"Var", "RefDot", "RefBrack"})
COMPREHENSIONS: Final = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
CONSTANTS: Final = frozenset({"String", "RawString", "Number", "Bool", "Null"})
COLLECTIONS: Final = frozenset({"Array", "Set", "Object"})
OPERATIONS: Final = frozenset(
    {"Call", "UnaryExpr", "ArithExpr", "BinExpr", "BoolExpr", "AssignExpr", "Membership", "OrExpr"}
)
EXPRESSIONS: Final = REFERENCES | COMPREHENSIONS | CONSTANTS | COLLECTIONS | OPERATIONS
LITERALS: Final = frozenset({"Expr", "NotExpr", "SomeIn", "SomeVars", "Every"})
HEADS: Final = frozenset({"Compr", "Set", "Func", "Spec", "Default"})
TAGS: Final = EXPRESSIONS | LITERALS | HEADS

Node = Mapping[str, Any]
"""``{Tag: {...}}``, or the members of one."""
Path = tuple[str | None, ...]
"""A reference as names; ``None`` stands for an index that is only known in evaluation."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in its file, 1-based."""

    line: int
    column: int


@dataclass(slots=True)
class Tree:
    """One module's syntax tree with what its head says."""

    file: str
    package: Path
    imports: dict[str, Path]
    """Alias -> what it stands for."""
    rules: list[Mapping[str, Any]]
    names: set[str] = field(default_factory=set)
    """First names of the module's rules."""
    contents: bytes = b""
    """Its source; spans count in these bytes."""
    line: int = 0
    """Of its package."""
    import_lines: list[int] = field(default_factory=list)


def trees(parsed: Any) -> list[Tree]:
    """The modules of ``get_ast_as_json``.

    Raises:
        ValueError: the tree is not of the known shape.
    """
    try:
        return [_tree(module["source"], module["ast"]) for module in parsed]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as exc:
        raise ValueError(f"unknown shape of syntax tree: {type(exc).__name__}") from None


def _tree(source: Mapping[str, str], ast: Mapping[str, Any]) -> Tree:
    contents = source["contents"].encode()
    imports: dict[str, Path] = {}
    for item in ast["imports"]:
        path = path_of(item["refr"])
        alias = item.get("as")
        # An alias has no node of its own, only a span in bytes.
        name = contents[alias["start"] : alias["end"]].decode() if alias else str(path[-1])
        imports[name] = path
    tree = Tree(source["file"], path_of(ast["package"]["refr"]), imports, list(ast["rules"]), contents=contents)
    tree.line = int(ast["package"]["span"]["line"])
    tree.import_lines = [int(item["span"]["line"]) for item in ast["imports"]]
    for rule in tree.rules:
        tree.names.add(str(path_of(head_reference(rule))[0]))
    return tree


def head_reference(rule: Mapping[str, Any]) -> Any:
    """The reference that a rule defines."""
    if "Default" in rule:
        return rule["Default"]["refr"]
    (head,) = rule["Spec"]["head"].values()
    return head["refr"]


def is_function(rule: Mapping[str, Any]) -> bool:
    """Whether a rule takes arguments."""
    return bool(rule["Default"]["args"]) if "Default" in rule else "Func" in rule["Spec"]["head"]


def body_of(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of a rule, whichever kind."""
    (body,) = rule.values()
    return body  # type: ignore[no-any-return]


def line_of(rule: Mapping[str, Any]) -> int:
    """The line on which a rule begins."""
    return int(body_of(rule)["span"]["line"])


def path_of(node: Mapping[str, Any]) -> Path:
    """A reference as names: ``data["a"].b[x]`` is ``("data", "a", "b", None)``; ``(None, ...)`` without a name."""
    tail: list[str | None] = []
    while True:
        ((tag, body),) = node.items()
        if tag == "RefDot":
            tail.append(body["field"][1])
            node = body["refr"]
        elif tag == "RefBrack":
            ((kind, index),) = body["index"].items()
            tail.append(index["value"] if kind in {"String", "RawString"} else None)
            node = body["refr"]
        elif tag == "Var":
            return (body["value"], *reversed(tail))
        else:
            return (None, *reversed(tail))


def place(body: Mapping[str, Any]) -> Place:
    """Where a node stands. A reference's own span is its last part, so its first name is looked up."""
    node = body
    for member in ("fcn", "refr"):
        while member in node:
            ((_, node),) = node[member].items()
    span = node.get("span") or body["span"]
    return Place(int(span["line"]), int(span["col"]))


def nodes(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every (tag, body) below ``value``, in document order."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if len(item) == 1:
                ((tag, body),) = item.items()
                if isinstance(body, dict) and tag[:1].isupper():
                    yield tag, body
            pending.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            pending.extend(reversed(item))


def references(value: Any) -> Iterator[Node]:
    """Each reference below ``value`` as a whole, not the shorter ones that it begins with; those in brackets too."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
            continue
        if not isinstance(item, dict):
            continue
        tag = next(iter(item), "")
        if len(item) == 1 and tag in REFERENCES:
            yield item
            while tag in {"RefDot", "RefBrack"}:
                if tag == "RefBrack":
                    pending.append(item[tag]["index"])
                item = item[tag]["refr"]
                tag = next(iter(item))
            if tag == "Var":
                continue
        pending.extend(item.values())


def local_names(tree: Tree, rule: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """(name, place) of everything that a rule binds: arguments, ``some``, ``every`` and what stands before ``:=``."""
    for tag, body in nodes(rule):
        patterns: list[Any] = []
        if tag == "Func":
            patterns = body["args"]
        elif tag == "SomeIn":
            patterns = [body["key"], body["value"]]
        elif tag == "AssignExpr" and body["op"] == "ColEq":
            patterns = [body["lhs"]]
        for kind, variable in nodes(patterns):
            if kind == "Var":
                yield variable["value"], place(variable)
        spans = body["vars"] if tag == "SomeVars" else [body["key"], body["value"]] if tag == "Every" else []
        for span in filter(None, spans):
            yield tree.contents[span["start"] : span["end"]].decode(), Place(int(span["line"]), int(span["col"]))


def some_names(tree: Tree, rule: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """(name, place) of everything that a rule declares with ``some``."""
    for tag, body in nodes(rule):
        if tag == "SomeIn":
            for kind, variable in nodes([body["key"], body["value"]]):
                if kind == "Var":
                    yield variable["value"], place(variable)
        elif tag == "SomeVars":
            for span in body["vars"]:
                yield tree.contents[span["start"] : span["end"]].decode(), Place(int(span["line"]), int(span["col"]))


def statements(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every statement (``{literal, with_mods}``) below ``value``."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "literal" in item:
                yield item
            pending.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            pending.extend(reversed(item))
