"""Rules whose names have parts, such as ``found[id] contains kind``, read in ways that the engines answer differently.

Read as ``found``, where no such rule says anything, the whole is ``{}`` in OPA and undefined in regorus: ``not found``
and ``count(found) == 0`` differ. ``some ... in`` it does not, and neither does ``found[id]``.

Where ``found.here contains kind`` stands beside it, regorus takes the one that names ``here`` for all there is.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from gateway.policy import syntax
from gateway.policy.syntax import Node, Path, Place, Tree


def problems(trees: list[Tree]) -> Iterator[tuple[str, Place, str]]:
    """(file, place, message) of each reading that the engines may answer differently."""
    parts = {prefix for tree in trees for rule in tree.rules for prefix in _prefixes(tree, rule)}
    names: dict[Path, set[str]] = {}
    for tree in trees:
        names.setdefault(tree.package, set()).update(tree.names)
    for tree in trees:
        for rule in tree.rules:
            head = syntax.head_reference(rule)
            iterated = {id(node["collection"]) for tag, node in syntax.nodes(rule) if tag == "SomeIn"}
            for node in syntax.references(rule):
                path = _full(tree, names[tree.package], syntax.path_of(node))
                if path in parts and node is not head and id(node) not in iterated:
                    ((_, body),) = node.items()
                    name = ".".join(map(str, syntax.path_of(node)))
                    yield tree.file, syntax.place(body), f"{name} is read as a whole, but its parts may be undefined"
    yield from _overlaps(trees)


def _overlaps(trees: list[Tree]) -> Iterator[tuple[str, Place, str]]:
    heads: dict[Path, tuple[str, Place]] = {}
    for tree in trees:
        for rule in tree.rules:
            path = (*tree.package, *syntax.path_of(syntax.head_reference(rule)))
            heads.setdefault(path, (tree.file, syntax.place(syntax.body_of(rule))))
    for one, other in combinations(heads, 2):
        pairs = list(zip(one, other, strict=False))
        if all(None in pair or pair[0] == pair[1] for pair in pairs) and any(pair.count(None) == 1 for pair in pairs):
            names = [".".join(part or "[...]" for part in path) for path in (one, other)]
            file, place = heads[one]
            yield file, place, f"{names[0]} may also be given as {names[1]}, and one engine takes one for all there is"


def _prefixes(tree: Tree, rule: Node) -> Iterator[Path]:
    """Full names of which a rule defines only a part."""
    if "Default" in rule:
        return
    path = syntax.path_of(syntax.head_reference(rule))
    ((kind, _),) = rule["Spec"]["head"].items()
    if kind == "Compr" and path.index(None) == len(path) - 1 if None in path else len(path) == 1:
        return  # both engines give an empty object where no key is said
    for length in range(1, len(path)):
        if None not in path[:length]:
            yield (*tree.package, *path[:length])


def _full(tree: Tree, own: set[str], path: Path) -> Path | None:
    """A reference without ``data``; ``None`` where it is none to data, or not known as a whole."""
    if None in path:
        return None
    first: Any = path[0]
    if first == "data":
        return path[1:]
    if first in tree.imports:
        target = tree.imports[first]
        return (*target[1:], *path[1:]) if target[0] == "data" else None
    return (*tree.package, *path) if first in own else None
