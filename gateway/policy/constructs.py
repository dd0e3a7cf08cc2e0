"""Constructs on which regorus goes a way of its own, found in a rule's syntax tree. Each was seen to answer differently
from OPA on ordinary values, or to fail only when it is reached; ``tests/policy/test_agreement.py`` holds the cases.

- ``p[key] if ...`` without a value keeps one key of many.
- A head that is undefined in one round of a loop throws away what the rounds before gave.
- An object pattern that binds takes objects with more members too.
- A comprehension in a head or in another's term is never prepared, so it fails when it is reached.
- ``key, value in set`` is undefined; ``-x`` fails; a default of a member in brackets is not seen; a function without
  arguments is none in OPA.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any, Final

from gateway.policy import syntax
from gateway.policy.syntax import Node, Place

Holds = Callable[[Node], bool]

_QUERIES: Final = syntax.COMPREHENSIONS | {"Every"}
"""Nodes with a query of their own: what repeats in it does not repeat the rule."""


def problems(rule: Node, defined: Holds, builtin: Holds) -> Iterator[tuple[Place, str]]:
    """(place, message) of everything in ``rule`` that the engines take differently.

    Args:
        defined: whether an expression of this rule's module is surely defined wherever it is reached.
        builtin: whether what is called is a builtin.
    """
    if "Default" in rule:
        if "RefBrack" in dict(syntax.nodes(rule["Default"]["refr"])):
            yield syntax.place(rule["Default"]), "a default of a member in brackets: write it with a dot"
    else:
        yield from _head(rule["Spec"], defined, builtin)
    for tag, body in syntax.nodes(rule):
        if tag == "UnaryExpr" and "Number" not in body["expr"]:
            yield syntax.place(body), "a minus before anything but a number: write 0 - x"
        elif tag == "Membership" and body["key"]:
            yield syntax.place(body), "key and value before 'in' differ on sets: write collection[key] == value"
        elif tag in syntax.COMPREHENSIONS:
            for part in ("term", "key", "value"):
                yield from _queries(body.get(part), "a comprehension in the term of another")
    for pattern in _patterns(rule):
        for tag, body in syntax.nodes(pattern):
            if tag == "Object" and any(kind == "Var" for field in body["fields"] for kind, _ in syntax.nodes(field[2])):
                yield syntax.place(body), "an object pattern differs on objects with more members: name the members"


def _head(spec: Node, defined: Holds, builtin: Holds) -> Iterator[tuple[Place, str]]:
    ((kind, head),) = spec["head"].items()
    assign = (head.get("assign") or {}).get("value")
    here = syntax.place(spec)
    if kind == "Func":
        if not head["args"]:
            yield here, "a function without arguments: leave the parentheses out"
        outputs = [assign]
    else:
        indices = list(_indices(head["refr"]))
        outputs = [*indices, head.get("key"), assign]
        last = head["refr"].get("RefBrack")
        if kind == "Compr" and assign is None and last and not last["index"].keys() & syntax.CONSTANTS:
            yield here, "a key without a value, of which one engine keeps one: write p[key] := true or p contains key"
        given = _Given(defined, builtin, _steps(spec))
        if _repeats(spec, outputs) and not all(given(part) for part in outputs if part):
            yield here, "what the head says may be undefined, and would undo other rounds: bind it in the body"
        for part in (*indices, head.get("key")):
            yield from _queries(part, "a comprehension in a head")
    if spec["bodies"]:
        yield from _queries(assign, "a comprehension in a head with a body")
    for body in spec["bodies"]:
        yield from _queries((body["assign"] or {}).get("value"), "a comprehension after else")


def _queries(part: Any, where: str) -> Iterator[tuple[Place, str]]:
    for tag, body in syntax.nodes(part):
        if tag in syntax.COMPREHENSIONS:
            yield syntax.place(body), f"{where} fails in one engine: bind it in the body"


def _indices(reference: Node) -> Iterator[Node]:
    """What stands in the brackets of a head."""
    ((tag, body),) = reference.items()
    while tag in {"RefDot", "RefBrack"}:
        if tag == "RefBrack":
            yield body["index"]
        ((tag, body),) = body["refr"].items()


def _repeats(spec: Node, outputs: list[Any]) -> bool:
    """Whether one definition may give several answers: something is iterated in a body, or in what the head says."""
    bound = {
        node["lhs"]["Var"]["value"]
        for tag, node in syntax.nodes(spec["bodies"])
        if tag == "AssignExpr" and node["op"] == "ColEq" and "Var" in node["lhs"]
    }
    return _iterates([*outputs, *(body["query"] for body in spec["bodies"])], bound)


def _iterates(value: Any, bound: Container[str]) -> bool:
    """Whether anything is looped over: ``some``, ``walk``, or brackets around what may be a free variable."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            if item.keys() & {"SomeIn", "SomeVars"}:
                return True
            if "RefBrack" in item:
                ((tag, index),) = item["RefBrack"]["index"].items()
                if tag in syntax.COLLECTIONS or (tag == "Var" and index["value"] not in bound):
                    return True
            if "Call" in item and syntax.path_of(item["Call"]["fcn"]) == ("walk",):
                return True
            pending.extend(member for tag, member in item.items() if tag not in _QUERIES)
    return False


def _steps(spec: Node) -> frozenset[str]:
    """Names bound by ``some name in input.steps``: a step's id is there, or the input would not have been encoded."""
    return frozenset(
        body["value"]["Var"]["value"]
        for statement in spec["bodies"]
        for tag, body in syntax.nodes(statement["query"])
        if tag == "SomeIn" and "Var" in body["value"] and syntax.path_of(body["collection"]) == ("input", "steps")
    )


class _Given:
    """Whether a head's expression is defined in every round; what fails instead of being undefined is."""

    def __init__(self, defined: Holds, builtin: Holds, steps: frozenset[str]) -> None:
        self._defined = defined
        self._builtin = builtin
        self._steps = steps

    def __call__(self, expression: Node) -> bool:
        ((tag, body),) = expression.items()
        if tag == "RefDot" and body["field"][1] == "id":
            return body["refr"].get("Var", {}).get("value") in self._steps
        if tag == "Call":
            return self._builtin(body["fcn"]) and all(map(self, body["params"]))
        if tag in {"BoolExpr", "ArithExpr", "BinExpr"}:
            return self(body["lhs"]) and self(body["rhs"])
        if tag == "Membership":
            return self(body["value"]) and self(body["collection"])
        if tag in {"Array", "Set"}:
            return all(map(self, body["items"]))
        if tag == "Object":
            return all(self(part) for field in body["fields"] for part in field[1:])
        return self._defined(expression)


def _patterns(rule: Node) -> Iterator[Any]:
    """Everything that a value is taken apart by."""
    for tag, body in syntax.nodes(rule):
        if tag == "Func":
            yield from body["args"]
        elif tag == "SomeIn":
            yield from (part for part in (body["key"], body["value"]) if part)
        elif tag == "AssignExpr":
            yield body["lhs"]
            if body["op"] != "ColEq":
                yield body["rhs"]
        elif tag == "Call" and syntax.path_of(body["fcn"]) == ("walk",):
            yield from body["params"][1:]
