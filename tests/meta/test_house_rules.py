"""The rules that a reviewer would have to remember: sizes, leftovers, addresses, validation by assert."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.tree import CODE, ROOT, python_files, syntax, text, tracked

LINES_MAX = 400
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = (
    "/root/",
    f"{ROOT}/",
    f"{ROOT.parent}/shared",
    *(str(sibling) for sibling in ROOT.parent.iterdir() if sibling.name.startswith(".")),
)
"""A home of somebody's own, this checkout, and what lies hidden beside it: asked of the machine, not written down."""
REGISTRY_HOSTS = re.compile(
    r"\b(?:proxy|registry|files|static|index|deb)\.[a-z-]+\.(?:org|io|net|com)\b|\bpypi\.[a-z]|https?://crates\."
)
ADVISORY_LOCK = re.compile(r"^(?:\w*_)?LOCK: Final = (0x[0-9A-F]+|[0-9_]+)$", re.MULTILINE)
THIS = "tests/meta/test_house_rules.py"
GENERATED = re.compile(r"(^|/)(go\.sum|.*\.lock)$")


def _lines_of_code(path: Path) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_no_module_holds_more_than_four_hundred_lines_of_code() -> None:
    lines = {str(path.relative_to(ROOT)): _lines_of_code(path) for path in python_files(*CODE, "bench", ".ci")}
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{path}:{number}"
        for path in tracked()
        if path != THIS and not GENERATED.search(path)
        for number, line in enumerate(text(ROOT / path).splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    assert not found


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path}: {needle}"
        for path in tracked()
        for needle in MACHINE_PATHS
        if path != THIS and needle in text(ROOT / path)
    ]
    assert not found


def test_no_file_names_a_package_registry() -> None:
    found = [path for path in tracked() if path != THIS and REGISTRY_HOSTS.search(text(ROOT / path))]
    assert not found


@pytest.mark.parametrize("kind", [ast.Assert, ast.Global])
def test_shipped_code_has_no(kind: type[ast.AST]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*CODE)
        for node in ast.walk(syntax(path))
        if isinstance(node, kind)
    ]
    assert not found


SLEEPING = {
    "tests/until.py": "the one way to wait",
    "tests/web/test_hostile_sockets.py": "a client that drips its body on purpose",
    "tests/limits/place.py": "a tool that takes its time on purpose",
    "tests/jail/battery/preamble.py": "a program that waits inside a jail",
}


def _sleeps(tree: ast.AST) -> Iterator[int]:
    """Calls of a sleep that lasts, and loops that do nothing but give way until something holds."""
    for node in ast.walk(tree):
        idle = isinstance(node, ast.While) and len(node.body) == 1 and "sleep(" in ast.unparse(node.body[0])
        if idle or (isinstance(node, ast.Call) and re.fullmatch(r"(\w+\.)?sleep\((?!0\)).*\)", ast.unparse(node))):
            yield node.lineno


def test_tests_do_not_sleep_to_wait() -> None:
    found = {str(path.relative_to(ROOT)): list(_sleeps(syntax(path))) for path in python_files("tests")}
    assert {path: lines for path, lines in found.items() if lines and path not in SLEEPING} == {}
    assert all(found[path] for path in SLEEPING), "an exception that nobody needs"


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.ImportFrom):
            yield from (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_advisory_lock_has_a_number_of_its_own() -> None:
    """PostgreSQL has one space of them for a database; two uses of one number would wait for each other."""
    found = [
        (int(number, 0), str(path.relative_to(ROOT)))
        for path in python_files(*CODE)
        for number in ADVISORY_LOCK.findall(text(path))
    ]
    assert len({number for number, _ in found}) == len(found) >= 5, sorted(found)


def test_nothing_is_imported_from_a_module_of_tests() -> None:
    """What two of them need stands in a module beside them; a fixture, in ``conftest.py``."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("tests", "bench", ".ci", *CODE)
        for name in _imported(path)
        if name.startswith("tests.")
        and any(part.startswith("test_") for part in name.split("."))
        and (ROOT / f"{name.replace('.', '/')}.py").exists()
    }
    assert not found
