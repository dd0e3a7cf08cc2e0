"""Recursion among the rules of a bundle: an error in OPA, quietly undefined in regorus, so refused before either."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.policy import syntax
from gateway.policy.syntax import Path, Place, Tree


def cycles(trees: list[Tree]) -> Iterator[tuple[str, Place, list[str]]]:
    """One (file, place, rule names) for each circle found."""
    names: dict[Path, set[str]] = {}
    for tree in trees:
        names.setdefault(tree.package, set()).update(tree.names)
    where: dict[Path, tuple[str, Place]] = {}
    uses: dict[Path, set[Path]] = {}
    for tree in trees:
        for rule in tree.rules:
            path = _static((*tree.package, *syntax.path_of(syntax.head_reference(rule))))
            where.setdefault(path, (tree.file, syntax.place(syntax.body_of(rule))))
            uses.setdefault(path, set()).update(_references(tree, rule, names[tree.package]))
    edges = {path: [rule for rule in uses if any(_touches(used, rule) for used in uses[path])] for path in uses}
    finished: set[Path] = set()
    for start in edges:
        circle = _circle(start, edges, finished)
        if circle:
            file, place = where[circle[0]]
            yield file, place, [".".join(map(str, path)) for path in circle]


def _circle(start: Path, edges: dict[Path, list[Path]], finished: set[Path]) -> list[Path] | None:
    """Depth first without Python's own stack; the first circle found from ``start``."""
    trail: list[tuple[Path, Iterator[Path]]] = []
    if start not in finished:
        trail.append((start, iter(edges[start])))
    while trail:
        path, rest = trail[-1]
        following = next(rest, None)
        if following is None:
            finished.add(path)
            trail.pop()
            continue
        visited = [step for step, _ in trail]
        if following in visited:
            finished.update(visited)
            return [*visited[visited.index(following) :], following]
        if following not in finished:
            trail.append((following, iter(edges[following])))
    return None


def _references(tree: Tree, rule: Mapping[str, Any], own: set[str]) -> Iterator[Path]:
    """Everything under ``data`` that a rule reads or calls, without the leading ``data``."""
    head = syntax.head_reference(rule)
    for node in syntax.references(rule):
        if node is head:
            continue
        path = syntax.path_of(node)
        if path[0] == "data" and len(path) > 1:
            yield path[1:]
        elif path[0] in tree.imports and tree.imports[path[0]][0] == "data":
            yield (*tree.imports[path[0]][1:], *path[1:])
        elif path[0] in own:
            yield (*tree.package, *path)


def _static(path: Path) -> Path:
    """The part of a rule's path that is known before evaluation."""
    return path[: path.index(None)] if None in path else path


def _touches(used: Path, rule: Path) -> bool:
    return all(a is None or a == b for a, b in zip(used, rule, strict=False))
