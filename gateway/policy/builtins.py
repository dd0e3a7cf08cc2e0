"""The check that a bundle passes before any engine gets it, the same for every engine, so that it means one thing.

Refused, with file, line and column: a call of anything that is no function of the bundle and no builtin that *both*
engines have; forbidden builtins; names that shadow builtins or the documents; ``with`` on anything but input and plain
data; format verbs and regular expressions, in rules and in data, that the engines read differently; ``not`` over
operands that may be undefined (OPA binds them first, so the body is undefined; regorus makes it true); recursion (an
error in OPA, undefined in regorus); and packages or data outside ``handrail``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.policy import constructs, literals, prefixes, schemas, syntax, vocabulary
from gateway.policy.bundle import ROOT, Bundle
from gateway.policy.faults import BundleError, Problem
from gateway.policy.recursion import cycles
from gateway.policy.syntax import Path, Place, Tree

ENTRY: Final = ("data", ROOT, "decisions")
_UNLIKE_CLASS: Final = re.compile(r"\\(?:\\|([dDwWsSbBQECuU<>]))")
_UNLIKE_SYNTAX: Final = re.compile(
    r"&&|--|~~"  # set operations on classes in one engine
    r"|[*+?}]\+"  # possessive repetition
    r"|\(\?[a-zA-Z]*[xuR]"  # flags of one engine
    r"|(?<!\\)(?<!\\[pPx])\{(?![0-9]{1,3}(?:,[0-9]{0,3})?\})"  # a brace that is no repetition
    r"|(?<!\\)\[\^?\]?[^\]]*(?<!\\)\[(?!:)"  # a class in a class
)
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]|\{([0-9]+)(?:,([0-9]*))?\}|.", re.DOTALL)
REPEATS_MAX: Final = 1000
"""Of repetitions within each other; OPA does not compile more."""
_UNLIKE_GLOB: Final = re.compile(r"\?|\[[!^]|\*\*\*|[^/.:]\*\*|\*\*[^.:]")
_VERB: Final = re.compile(r"%(.?)", re.DOTALL)


def check(bundle: Bundle, parsed: Any) -> list[Problem]:
    """Every reason why ``bundle`` cannot be used; empty where it can.

    Args:
        bundle: the bundle.
        parsed: its syntax trees, as regorus' ``get_ast_as_json`` gives them.
    """
    try:
        trees = syntax.trees(parsed)
        return list(dict.fromkeys(_Checker(trees, bundle.data).problems()))
    except BundleError as exc:
        return list(exc.problems)
    except (ValueError, RecursionError) as exc:
        return [Problem("", 0, 0, f"the syntax tree cannot be read: {exc}")]


class _Checker:
    def __init__(self, trees: list[Tree], data: Any) -> None:
        self._trees = trees
        self._data = data
        self._rules: dict[Path, set[int | None]] = {}
        self._names: dict[Path, set[str]] = {}
        packages = [tuple(str(name) for name in tree.package) for tree in trees]
        self._documents = [path for path, _, _ in literals.documents(data, packages)]
        for tree in trees:
            self._names.setdefault(tree.package, set()).update(tree.names)
            for rule in tree.rules:
                path = ("data", *tree.package, *syntax.path_of(syntax.head_reference(rule)))
                self._rules.setdefault(path, set()).add(_arity(rule))

    def problems(self) -> Iterator[Problem]:
        if None not in self._rules.get(ENTRY, {0}):
            yield Problem("", 0, 0, f"no rule data.{ROOT}.decisions")
        for tree in self._trees:
            for place, message, builtin in self._module(tree):
                yield Problem(tree.file, place.line, place.column, message, builtin)
        for file, place, message in prefixes.problems(self._trees):
            yield Problem(file, place.line, place.column, message)
        for file, place, names in cycles(self._trees):
            yield Problem(file, place.line, place.column, f"recursion: {' -> '.join(names)}")

    def _module(self, tree: Tree) -> Iterator[tuple[Place, str, str | None]]:
        top = Place(1, 1)
        if tree.package[0] != ROOT or None in tree.package:
            yield top, f"package {'.'.join(map(str, tree.package))} is outside {ROOT}", None
        for alias, target in tree.imports.items():
            if target[0] not in {"data", "input", "rego", "future"}:
                yield top, f"import of {'.'.join(map(str, target))}", None
            if alias in {"input", "data"}:
                yield top, f"import as {alias}, which is the document's name", None
            if alias in self._names[tree.package]:
                yield top, f"import {alias} has the name of a rule", None
            if alias in vocabulary.OWN_NAMES and target[0] in {"data", "input"}:
                yield top, f"import {alias} shadows a builtin", alias
        for rule in tree.rules:
            yield from self._rule(tree, rule)

    def _rule(self, tree: Tree, rule: Mapping[str, Any]) -> Iterator[tuple[Place, str, str | None]]:
        here = syntax.place(syntax.body_of(rule))
        path = syntax.path_of(syntax.head_reference(rule))
        if path[0] in vocabulary.OWN_NAMES:
            yield here, f"rule {path[0]} shadows a builtin", path[0]
        if _holds(self._data, (*tree.package, *path)):
            yield here, f"rule {'.'.join(map(str, path))} is also set by data.json", None
        for tag, body in syntax.nodes(rule):
            if tag not in syntax.TAGS:
                yield syntax.place(body), f"{tag} is an expression that this check does not know", None
            elif tag == "Call":
                yield from self._call(tree, body)
            elif tag == "NotExpr" and not self._negatable(tree, body["expr"]):
                yield (
                    syntax.place(body),
                    "under 'not', bind what may be undefined first (x := ...; not f(x)): the engines differ on it",
                    None,
                )
        for where, message in constructs.problems(
            rule,
            lambda node: self._defined(tree, node),
            lambda node: self._function(tree, syntax.path_of(node)) is None,
        ):
            yield where, message, None
        yield from _variables(tree, rule)
        for statement in syntax.statements(rule):
            for override in statement.get("with_mods", ()):
                yield from self._override(tree, override)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _call(self, tree: Tree, body: Mapping[str, Any]) -> Iterator[tuple[Place, str, str | None]]:
        here = syntax.place(body)
        written = syntax.path_of(body["fcn"])
        name = ".".join(part or "[...]" for part in written)
        if None in written:
            yield here, f"call of {name}, which is only known in evaluation", name
            return
        arity = len(body["params"])
        if written[0] in tree.imports:
            full = ".".join(map(str, (*tree.imports[str(written[0])], *written[1:])))
            yield here, f"{name} is called by an import, which one engine does not resolve: write {full}", name
            return
        function = self._function(tree, written)
        if function is not None:
            arities = self._rules.get(function)
            if not arities or None in arities:
                yield here, f"{name} is not a function of this bundle", name
            elif arity not in arities:
                yield here, f"{name} takes {min(a for a in arities if a is not None)} arguments, not {arity}", name
            return
        why = vocabulary.refusal(name)
        if why is not None:
            yield here, why, name
        elif arity != (wanted := vocabulary.IMPLEMENTED[name] + (name in vocabulary.WITH_OUTPUT)):
            yield here, f"{name} takes {wanted} arguments, not {arity}", name
        elif name in vocabulary.NEEDLE_ARGUMENT and not _literal(body["params"][vocabulary.NEEDLE_ARGUMENT[name]]):
            yield here, f"{name}: what is looked for must be a literal that is not empty", name
        elif name == "sprintf":
            yield from _format(here, body["params"])
        elif name in vocabulary.PATTERN_ARGUMENT:
            yield from self._patterns(here, name, body["params"][vocabulary.PATTERN_ARGUMENT[name]])

    def _function(self, tree: Tree, written: Path) -> Path | None:
        """The full path of a function of a bundle that ``written`` means, or ``None`` where it means a builtin."""
        first = str(written[0])
        if first in {"data", "input"}:
            return written
        if first in tree.imports:
            return (*tree.imports[first], *written[1:])
        local = ("data", *tree.package, *written)
        return local if local in self._rules or first in self._names[tree.package] else None

    # --- patterns ----------------------------------------------------------------------------------------------------

    def _patterns(self, here: Place, name: str, node: Mapping[str, Any]) -> Iterator[tuple[Place, str, str | None]]:
        """What is wrong with a pattern: a literal, or a reference to data, all of whose texts are patterns then."""
        text = _literal(node)
        if text is not None:
            for message in _fault(name, text):
                yield here, f"{name}: {message}", name
            return
        where = self._datum(node)
        if where is None:
            yield here, f"{name}: the pattern must be a literal or stand in data, so that it can be checked", name
            return
        for text in _texts(_at(self._data, where)):
            for message in _fault(name, text):
                yield here, f"{name}: data.{'.'.join(where)}: {message}", name

    def _datum(self, node: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The part of the data that a reference leads into for sure, without ``data``; ``None`` where it does not."""
        ((tag, _),) = node.items()
        path = syntax.path_of(node)
        # Written out: the name of an import could be that of a local variable as well.
        if tag not in {"RefDot", "RefBrack"} or path[0] != "data":
            return None
        known = path[1 : path.index(None)] if None in path else path[1:]
        inside = any(known[: len(document)] == document for document in self._documents)
        return tuple(map(str, known)) if inside else None

    # --- with --------------------------------------------------------------------------------------------------------

    def _override(self, tree: Tree, override: Mapping[str, Any]) -> Iterator[tuple[Place, str, str | None]]:
        ((_, node),) = override["refr"].items()
        here = syntax.place(node)
        written = syntax.path_of(override["refr"])
        name = ".".join(part or "[...]" for part in written)
        if written[0] == "input":
            return
        if written[0] in tree.imports:
            yield (
                here,
                f"'with' replaces {name} by an import, which one engine does not resolve: write it in full",
                name,
            )
            return
        target = self._function(tree, written)
        if target is None or target[0] not in {"data", "input"}:
            yield here, f"'with' replaces {name}: only input and plain data may be replaced", name
        elif target[0] == "data" and any(_overlap(target, path) for path in self._rules):
            yield here, f"'with' replaces {name}, which rules define: only input and plain data may be replaced", None
        elif any(len(path) < len(target) - 1 and target[1 : len(path) + 1] == path for path in self._documents):
            yield here, f"'with' replaces {name}, a part of a datum: only a datum as a whole may be replaced", None
        elif target[0] == "data" and any(_overlap(target[1:], path) for path in self._pattern_data()):
            yield here, f"'with' replaces {name}, which holds patterns that were checked", None

    def _pattern_data(self) -> Iterator[tuple[str, ...]]:
        """Where data stands that rules use as patterns."""
        for tree in self._trees:
            for tag, body in syntax.nodes(tree.rules):
                name = ".".join(part or "" for part in syntax.path_of(body["fcn"])) if tag == "Call" else ""
                at = vocabulary.PATTERN_ARGUMENT.get(name)
                if at is not None and at < len(body["params"]):
                    where = self._datum(body["params"][at])
                    if where is not None:
                        yield where

    # --- not ---------------------------------------------------------------------------------------------------------

    def _negatable(self, tree: Tree, expression: Mapping[str, Any]) -> bool:
        ((tag, body),) = expression.items()
        if tag == "Call":
            return all(self._defined(tree, argument) for argument in body["params"])
        if tag == "BoolExpr" and body["op"] == "Eq":
            return all(self._defined(tree, side) or self._plain(tree, side) for side in (body["lhs"], body["rhs"]))
        if tag in {"BoolExpr", "ArithExpr", "BinExpr"}:
            return self._defined(tree, body["lhs"]) and self._defined(tree, body["rhs"])
        if tag == "Membership":
            return all(self._defined(tree, body[part]) for part in ("key", "value", "collection") if body[part])
        return self._defined(tree, expression) or self._plain(tree, expression)

    def _plain(self, tree: Tree, expression: Mapping[str, Any]) -> bool:
        """A reference from a name, with nothing but constants and local variables in brackets."""
        ((tag, body),) = expression.items()
        while tag in {"RefDot", "RefBrack"}:
            if tag == "RefBrack" and not self._defined(tree, body["index"]):
                return False
            ((tag, body),) = body["refr"].items()
        return tag == "Var"

    def _defined(self, tree: Tree, expression: Mapping[str, Any]) -> bool:
        """Surely defined wherever it is reached: constants, local variables, comprehensions and collections of them."""
        ((tag, body),) = expression.items()
        if tag in syntax.CONSTANTS or tag in syntax.COMPREHENSIONS:
            return True
        if tag == "Var":
            name = body["value"]
            return name not in {"input", "data"} and name not in tree.imports and name not in self._names[tree.package]
        if tag in {"Array", "Set"}:
            return all(self._defined(tree, item) for item in body["items"])
        if tag == "Object":
            return all(self._defined(tree, part) for field in body["fields"] for part in field[1:])
        return False


def _arity(rule: Mapping[str, Any]) -> int | None:
    """Number of arguments, or ``None`` for a rule that is no function."""
    if not syntax.is_function(rule):
        return None
    body = syntax.body_of(rule)
    return len(body["args"]) if "Default" in rule else len(body["head"]["Func"]["args"])


def _holds(data: Any, path: Path) -> bool:
    """Whether the data document has something at ``path``, or a value above it that is no object."""
    for name in path:
        if not isinstance(data, dict) or name is None:
            return True
        if name not in data:
            return False
        data = data[name]
    return True


def _overlap(one: Path, other: Path) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=False))


def _literal(node: Mapping[str, Any]) -> str | None:
    ((tag, body),) = node.items()
    return str(body["value"]) if tag in {"String", "RawString"} else None


def _variables(tree: Tree, rule: Mapping[str, Any]) -> Iterator[tuple[Place, str, str | None]]:
    """What is wrong with the names of a rule's variables."""
    for name, where in syntax.local_names(tree, rule):
        if name in {"input", "data"}:
            yield where, f"{name} is the document, and cannot be the name of a variable as well", None
    for name, where in syntax.some_names(tree, rule):
        if name in tree.names or name in tree.imports:
            yield where, f"{name} is a rule or an import, and one engine takes it for that after 'some'", None


def _format(here: Place, params: list[Mapping[str, Any]]) -> Iterator[tuple[Place, str, str | None]]:
    text = _literal(params[0])
    if text is None:
        yield here, "sprintf: the format must be a literal, so that its verbs can be checked", "sprintf"
        return
    verbs = [verb for verb in _VERB.findall(text) if verb != "%"]
    for verb in verbs:
        if verb != "v":
            yield here, f"sprintf: %{verb} is missing or different in an engine; use %v", "sprintf"
    if "Array" in params[1] and len(params[1]["Array"]["items"]) != len(verbs):
        yield here, f"sprintf: {len(verbs)} verbs for {len(params[1]['Array']['items'])} values", "sprintf"


def _fault(name: str, text: str) -> Iterator[str]:
    """What is wrong with a pattern of the builtin ``name``."""
    if name != "glob.match":
        yield from _pattern(text)
    elif _UNLIKE_GLOB.search(text):
        yield "the engines read '?', '[!', '[^', and a '**' that is not a whole part or is before '/', differently"


def _pattern(text: str) -> Iterator[str]:
    """What is wrong with a regular expression."""
    for escape in _UNLIKE_CLASS.findall(text):
        if escape:
            yield f"\\{escape} matches other characters in one engine; write the class out, [0-9]"
    if _UNLIKE_SYNTAX.search(text):
        yield "the pattern uses syntax that the engines read differently"
    elif not schemas.compiles(text):
        yield "the pattern is not a regular expression that can be matched in linear time"
    elif _repeats(text) > REPEATS_MAX:
        yield f"the pattern repeats more than {REPEATS_MAX} times"


def _repeats(text: str) -> int:
    """How often the innermost part of a regular expression is written out for its ``{n,m}``."""
    levels = [1]
    last = 1
    for token in _TOKEN.finditer(text):
        if token[0] == "(":
            levels.append(1)
        elif token[0] == ")" and len(levels) > 1:
            last = levels.pop()
            levels[-1] = max(levels[-1], last)
        elif token[1]:
            last *= int(token[2] or token[1]) or 1
            levels[-1] = max(levels[-1], last)
        else:
            last = 1
    return max(levels)


def _at(data: Any, path: Iterable[str]) -> Any:
    """The part of the data at ``path``; ``None`` where there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _texts(value: Any) -> Iterator[str]:
    """Every text among the values of a document."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
