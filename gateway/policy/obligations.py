"""Obligations that stand in a bundle as they are: what a gateway will not be able to keep can be told before it decides
by them. Kinds may have a name, in the same rule or as a rule of the same module. What a rule puts together while it
runs is seen then, and denies.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.manifest import EVERY_KIND
from gateway.pointers import pointer
from gateway.policy import syntax
from gateway.policy.bundle import Bundle
from gateway.policy.decisions import Misshapen, Unenforceable, read_obligation
from gateway.policy.faults import Problem

_OBLIGATIONS: Final = "obligations"
_PERSONAL, _REQUEST = "redact_personal", "redact_request"
_KINDS: Final = frozenset({_PERSONAL, _REQUEST})
"""Those that name kinds; seen also where they do not stand in a decision yet."""
_UNSEEN: Final = object()


@dataclass(frozen=True, slots=True)
class Stated:
    """One obligation and its value.

    Attributes:
        line: 1-based, or 0 in data. ``column`` likewise.
    """

    name: str
    value: Any
    file: str
    line: int = 0
    column: int = 0


def stated(bundle: Bundle, parsed: Any) -> list[Stated]:
    """Every obligation that stands in a decision in the rules with a value of its own, and the kinds that rules or data
    name elsewhere.

    Args:
        bundle: a bundle that passed the check.
        parsed: its syntax trees.
    """
    found = [one for tree in syntax.trees(parsed) for one in _in_module(tree)]
    once = {(one.name, one.file, one.line, one.column): one for one in found}
    return [*once.values(), *_in_data(bundle.data, ())]


def problems(found: Collection[Stated], kinds: Collection[str], secret: str) -> Iterator[Problem]:
    """Those that a gateway cannot keep.

    Args:
        kinds: of personal data that it finds.
        secret: how keys and tokens are named beside these.
    """
    known = {_PERSONAL: {EVERY_KIND, *kinds}, _REQUEST: {EVERY_KIND, secret, *kinds}}
    for one in found:
        try:
            value = read_obligation(one.name, one.value)
        except (Unenforceable, Misshapen) as exc:
            said = str(exc) or f"{one.name}: no value that it can have."
            yield Problem(one.file, one.line, one.column, said)
            continue
        unknown = sorted({*value} - known[one.name]) if one.name in _KINDS else []
        if unknown:
            names = ", ".join(sorted(known[one.name]))
            said = f"{one.name}: no kind is called {', '.join(unknown)}; there are {names}"
            yield Problem(one.file, one.line, one.column, said)


def _in_module(tree: syntax.Tree) -> Iterator[Stated]:
    given: dict[syntax.Path, list[syntax.Node]] = {}
    for rule in tree.rules:
        given.setdefault(syntax.path_of(syntax.head_reference(rule)), []).append(rule)
    told: set[tuple[str, str]] = set()  # obligation and rule that gives its kinds: each is looked at once
    for rule in tree.rules:
        yield from _in_rule(tree, rule, given, told)


def _in_rule(
    tree: syntax.Tree, rule: syntax.Node, given: Mapping[syntax.Path, list[syntax.Node]], told: set[tuple[str, str]]
) -> Iterator[Stated]:
    bound: Counter[str] | None = None
    here: set[tuple[str, str]] = set()
    decided: set[int] = set()  # the objects that are the obligations of a decision
    for tag, body in syntax.nodes(rule):
        if tag != "Object":
            continue
        named = [(key, key.get("String", {}).get("value"), node) for _, key, node in body["fields"]]
        a_decision = any(name == "effect" for _, name, _ in named)
        for key, name, node in named:
            if a_decision and name == _OBLIGATIONS and "Object" in node:
                decided.add(id(node["Object"]))
            elif isinstance(name, str) and (id(body) in decided or name in _KINDS):
                meant: Iterable[tuple[syntax.Node, Any]] = [(key, _static(node))]
                if name in _KINDS and "Var" in node:
                    bound = Counter(one for one, _ in syntax.local_names(tree, rule)) if bound is None else bound
                    variable = (name, node["Var"]["value"])
                    seen = here if bound[variable[1]] else told
                    meant = () if variable in seen else _meant(rule, variable[1], bound, given)
                    seen.add(variable)
                for literal, value in meant:
                    if value is not _UNSEEN:
                        at = syntax.place(syntax.body_of(literal))
                        yield Stated(name, value, tree.file, at.line, at.column)


def _meant(
    rule: syntax.Node, name: str, bound: Counter[str], given: Mapping[syntax.Path, list[syntax.Node]]
) -> Iterator[tuple[syntax.Node, Any]]:
    """What a name in a rule stands for: (node, value) of each literal that it is given."""
    if not bound[name]:
        for other in given.get((name,), ()):
            yield from _given(other)
    elif bound[name] == 1:  # else nobody knows which of several is meant
        for tag, body in syntax.nodes(rule):
            if tag == "AssignExpr" and body["op"] == "ColEq" and body["lhs"].get("Var", {}).get("value") == name:
                yield body["rhs"], _static(body["rhs"])


def _given(rule: syntax.Node) -> Iterator[tuple[syntax.Node, Any]]:
    """What a rule can be, as far as that stands in it; the members of a partial set one by one."""
    if "Default" in rule:
        yield rule["Default"]["value"], _static(rule["Default"]["value"])
        return
    ((kind, head),) = rule["Spec"]["head"].items()
    if kind == "Set":
        value = _static(head["key"])
        yield head["key"], _UNSEEN if value is _UNSEEN else [value]
    elif kind == "Compr":
        for part in (head, *rule["Spec"]["bodies"]):
            if part["assign"] is not None:
                yield part["assign"]["value"], _static(part["assign"]["value"])


def _static(node: syntax.Node) -> Any:
    """The value of a literal."""
    ((tag, body),) = node.items()
    if tag in {"Array", "Set"}:
        items = [_static(item) for item in body["items"]]
        return _UNSEEN if _UNSEEN in items else items
    if tag == "Null":
        return None
    return body["value"] if tag in syntax.CONSTANTS else _UNSEEN


def _in_data(value: Any, path: tuple[str | int, ...]) -> Iterator[Stated]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name in _KINDS:
                yield Stated(name, member, f"data{pointer((*path, name))}")
            else:
                yield from _in_data(member, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _in_data(item, (*path, number))
