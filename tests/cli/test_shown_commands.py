"""Command lines that documents, hints and examples show: the commands are there and take these words."""

import ast
import re
from collections.abc import Iterator

import pytest
from typer.exceptions import TyperException

from tests.cli.commands import EVERY, check, find
from tests.meta.tree import ROOT, python_files, syntax, text, tracked

PAGES = [path for path in tracked() if path.endswith(".md")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
CALL = re.compile(
    r"(?:^|[\s(])handrail ((?=[a-z]+(?:\s|$))(?:[^\s\"'`|;&<>)]|\"[^\"\n]*\"|'[^'\n]*'| )+)", re.MULTILINE
)
QUOTED = re.compile(r"'handrail ([a-z][^']*)'|``handrail ([a-z][^`]*)``|: handrail ([a-z][^.\n(]*)")


def in_blocks(page: str) -> Iterator[str]:
    """What a reader is to type: every call in a block of a shell."""
    for language, block in FENCED.findall(page):
        if language in {"", "sh", "bash", "console"}:
            yield from CALL.findall(block.replace("\\\n", " "))


def in_line(page: str) -> Iterator[str]:
    """What is named in passing, often without all of its words."""
    for span in INLINE.findall(FENCED.sub("", page)):
        if match := re.match(r"handrail ([a-z].*)", " ".join(span.split())):
            yield match[1]


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_shows_take_these_words(page: str) -> None:
    for line in in_blocks(text(ROOT / page)):
        check(line.split(" #")[0], whole=True)
    for line in in_line(text(ROOT / page)):
        for call in each(line):
            check(call, whole=False)


def each(line: str) -> list[str]:
    """``a show|pull`` is ``a show`` and ``a pull``."""
    choice = re.search(r"\w+(?:\|\w+)+", line)
    return [line] if choice is None else [line.replace(choice[0], word) for word in choice[0].split("|")]


def said(tree: ast.AST) -> Iterator[str]:
    """Every text of a module, with a word in place of what is put in at run time."""
    if isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "WORD" for part in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    else:
        for child in ast.iter_child_nodes(tree):
            yield from said(child)


MODULES = [str(path.relative_to(ROOT)) for path in python_files("gateway", "client") if "handrail " in text(path)]


@pytest.mark.parametrize("module", MODULES)
def test_commands_that_a_hint_names_take_these_words(module: str) -> None:
    for line in said(syntax(ROOT / module)):
        for match in QUOTED.finditer(line):
            for call in each(next(filter(None, match.groups()))):
                check(call, whole=False)


@pytest.mark.parametrize("name", EVERY)
def test_an_example_is_a_whole_call(name: str) -> None:
    found, _, _ = find(name.split())
    check(CALL.findall(found.epilog)[0], whole=True)


@pytest.mark.parametrize(
    "line",
    ["polcy check x", "policy observe status", "policy", "plan show", "plan show a b", "plan sign p.json --kee k",
     "plan receipts a --out", "approvals approve --yes"],
)  # fmt: skip
def test_what_cannot_be_typed_is_found(line: str) -> None:
    with pytest.raises((LookupError, ValueError, TyperException)):
        check(line, whole=True)
