"""A bundle's data written as Rego rules, for an engine whose data documents others could change.

A rule's value cannot be written through OPA's data API: OPA refuses a document where a rule stands. The value goes
through ``object.get``, whose result has no static type; as a bare literal it would make OPA's type checker refuse
references to members that only some documents have.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from gateway.canonical import canonical
from gateway.policy.bundle import ROOT, Bundle
from gateway.policy.faults import BundleError, Problem

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED: Final = frozenset(
    [
        "as",
        "contains",
        "data",
        "default",
        "else",
        "every",
        "false",
        "if",
        "import",
        "in",
        "input",
        "not",
        "null",
        "package",
        "some",
        "true",
        "with",
    ]
)
_PACKAGE: Final = re.compile(r"\s*package[ \t]+([^\s#;]+)[ \t]*(?:[#;]|$)", re.MULTILINE)
_PART: Final = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_]*)|\["([^"\\]*)"\]')

Path = tuple[str, ...]
Rule = tuple[str, str]
"""Package and head, as Rego writes them."""


@lru_cache(maxsize=2)
def modules(bundle: Bundle) -> Mapping[str, str]:
    """Package, as Rego writes it -> source of the module that defines the bundle's data in it.

    Raises:
        BundleError: a datum has a place that no rule can have, or a module's package cannot be read.
    """
    packages = set()
    for module in bundle.modules:
        path = _package(module.source)
        if path is None:
            raise BundleError([Problem(module.path, 1, 1, "the package cannot be read")])
        packages.add(path)
    found: dict[str, list[str]] = {}
    for _, (package, head), value in documents(bundle.data, packages):
        text = canonical({"v": value}).decode()
        found.setdefault(package, []).append(f'{head} := object.get({text}, "v", null)\n')
    return {package: "\n".join([f"package {package}\n", *rules]) for package, rules in found.items()}


def documents(data: Any, packages: Iterable[Path]) -> Iterator[tuple[Path, Rule, Any]]:
    """(path, its rule, value) of a bundle's data: whole but where a package, or a name no rule can have, cuts it.

    Args:
        data: the data document of all files.
        packages: of the bundle's modules, as names.

    Raises:
        BundleError: a datum stands where no rule can.
    """
    above = {path[:length] for path in packages for length in range(1, len(path) + 1)}
    pending: list[tuple[Path, Any]] = [((ROOT,), data.get(ROOT, {}))]
    while pending:
        path, value = pending.pop()
        place = _place(path)
        if path not in above and place is not None:
            yield path, place, value
        elif isinstance(value, dict) and (value or path in above):
            pending += [((*path, key), value[key]) for key in sorted(value, reverse=True)]
        else:
            why = "is a package as well" if path in above else "has a name that no rule can have"
            raise BundleError([Problem("", 0, 0, f"data.{'.'.join(path)} {why}, so OPA cannot hold it")])


def _place(path: Path) -> Rule | None:
    """The place of the rule for a datum: of the highest package, so that no other module sees a new name."""
    for at in range(1, len(path)):
        if _NAME.fullmatch(path[at]) and path[at] not in _RESERVED:
            package, rest = ("".join(f"[{_text(part)}]" for part in parts) for parts in (path[1:at], path[at + 1 :]))
            return path[0] + package, path[at] + rest
    return None


def _text(part: str) -> str:
    return canonical(part).decode()


def _package(source: str) -> Path | None:
    """The package of a module that was parsed already, so its first statement is the package's."""
    found = _PACKAGE.match("\n".join(line for line in source.splitlines() if not line.lstrip().startswith("#")))
    if found is None or _PART.sub("", found[1]):
        return None
    return tuple(name or quoted for name, quoted in _PART.findall(found[1]))
