"""The rules that a reviewer would have to remember: sizes, leftovers, addresses, validation by assert."""

import ast
import re

import pytest

from tests.meta.tree import CODE, ROOT, python_files, syntax, text, tracked

LINES_MAX = 400
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = ("/work/", "/root/", ".library")
REGISTRY_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|proxy\.golang\.org|registry\.npmjs|crates\.io|deb\.debian\.org"
)
THIS = "tests/meta/test_house_rules.py"
GENERATED = re.compile(r"(^|/)(go\.sum|.*\.lock)$")


def test_no_module_holds_more_than_four_hundred_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): len(text(path).splitlines())
        for path in python_files(*CODE, "tests", "bench", ".ci")
        if len(text(path).splitlines()) > LINES_MAX and "testing" not in path.name
    }
    shipped = {name: lines for name, lines in long.items() if not name.startswith("tests/")}
    assert not shipped


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
    found = [f"{path}: {needle}" for path in tracked() for needle in MACHINE_PATHS if path != THIS and needle in text(ROOT / path)]
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


def test_no_exception_is_swallowed_whole() -> None:
    """``except X: pass`` hides; ``contextlib.suppress`` says that it is meant."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files(*CODE)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ExceptHandler) and [type(line) for line in node.body] == [ast.Pass]
    ]
    assert not found


def test_tests_neither_sleep_to_wait_nor_skip_by_themselves() -> None:
    """A sleep of zero only yields; the one place that may skip for a missing service is tests/services.py."""
    found = []
    for path in python_files("tests"):
        for node in ast.walk(syntax(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = node.func.attr
            slept = name == "sleep" and not (
                node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            )
            skipped = name == "skip" and path.name != "services.py"
            timed = slept and ast.unparse(node.func) == "time.sleep"
            if timed or skipped:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
