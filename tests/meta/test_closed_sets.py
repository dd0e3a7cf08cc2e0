"""Every member of a closed set is documented, used and tested, and every setting is on its page."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from audit import controls
from gateway.cli.hints import CONFLICT_HINTS
from gateway.entries import LABELS, UNWRITTEN, EntryType
from gateway.reasons import CONFLICTS, POLICY_CODE, TEXTS, Conflict, Reason
from gateway.settings import HandSettings
from hand_adapters.kinds import BUILT_IN
from tests.meta.tree import CODE, ROOT, python_files, syntax, text

REASONS = ROOT / "gateway" / "reasons"
SOURCES = [path for path in python_files("gateway", "hand_adapters", "audit", "keys") if path.parent != REASONS]
TESTS = [path for path in python_files("tests", "client") if path.parent.name != "meta"]


def _mentioned(paths: list[Path], *spellings: str) -> bool:
    return any(spelling in text(path) for path in paths for spelling in spellings)


@pytest.mark.parametrize("adapter", sorted(BUILT_IN.names))
def test_every_adapter_stands_where_adapters_are_listed(adapter: str) -> None:
    hands, concepts = (text(ROOT / "docs" / page) for page in ("hands.md", "concepts.md"))
    assert f'(`adapter = "{adapter}"`)' in hands, "a section"
    [taken] = re.findall(r"\(([^()]+)\) cannot be taken over", hands)
    [kinds] = re.findall(r"speaks to one kind of\s+\[hand\]\(hands.md\) \(([^()]+)\)", concepts)
    described = re.split(r"[ ,:.]+", HandSettings.model_fields["adapter"].description or "")
    assert all(f"`{adapter}`" in listed for listed in (taken, kinds))
    assert adapter in described


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_sentence_and_the_shape_of_a_code(reason: Reason) -> None:
    assert TEXTS[reason].endswith(".")
    assert POLICY_CODE.fullmatch(reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"`{reason}`" in text(ROOT / "docs" / "api.md")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given_somewhere(reason: Reason) -> None:
    """The table of statuses and the lists of the routes name them, and give none."""
    web = ROOT / "gateway" / "web"
    givers = [path for path in SOURCES if not any(path.is_relative_to(web / name) for name in ("errors.py", "routes"))]
    told = text(web / "errors.py").count(f"Reason.{reason.name}") > 1
    assert told or _mentioned(givers, f"Reason.{reason.name}", f'"{reason}"')


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_tested(reason: Reason) -> None:
    assert _mentioned(TESTS, f"Reason.{reason.name}", f'"{reason}"', f"'{reason}'")


@pytest.mark.parametrize("cause", Conflict)
def test_every_conflict_says_why_and_what_to_do(cause: Conflict) -> None:
    assert f"| `{cause}` | {CONFLICTS[cause]} |" in text(ROOT / "docs" / "api.md")
    assert CONFLICTS[cause].endswith(".")
    assert len(CONFLICT_HINTS[cause]) < 120
    assert _mentioned(SOURCES, f"because(Conflict.{cause.name})")


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_conflict_is_given_without_its_cause(path: Path) -> None:
    for call in (node for node in ast.walk(syntax(path)) if isinstance(node, ast.Call)):
        if call.args and ast.unparse(call.args[0]) == "Reason.REQUEST_CONFLICT":
            said = [keyword.value for keyword in call.keywords if keyword.arg is None]
            assert [ast.unparse(one).partition("(")[0] for one in said] == ["because"], ast.unparse(call)


def test_every_entry_type_maps_to_controls_or_says_why_not() -> None:
    loaded = controls.load()
    assert set(loaded.ids) == set(EntryType)
    unexplained = [
        entry_type
        for entry_type, ids in loaded.ids.items()
        if not ids and not any(entry_type in why for why in loaded.why_none.values())
    ]
    assert not unexplained


@pytest.mark.parametrize("entry_type", EntryType)
def test_every_entry_type_is_documented_with_a_code_of_six(entry_type: EntryType) -> None:
    assert len(entry_type.value) == 6
    assert entry_type.value.isupper()
    assert f"`{entry_type.value}`" in text(ROOT / "docs" / "entries.md")
    assert LABELS[entry_type]


NAMES = {
    (node.value.id, node.attr)
    for path in python_files(*CODE)
    if path.name != "entries.py" or path.parent.name != "gateway"
    for node in ast.walk(syntax(path))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
}
"""``EntryType.X`` as shipped code names it."""


@pytest.mark.parametrize("entry_type", sorted(set(EntryType) - UNWRITTEN))
def test_an_entry_type_that_auditors_are_told_to_expect_is_written_somewhere(entry_type: EntryType) -> None:
    assert ("EntryType", entry_type.name) in NAMES


@pytest.mark.parametrize("entry_type", sorted(UNWRITTEN))
def test_an_entry_type_that_is_said_not_to_be_written_is_not(entry_type: EntryType) -> None:
    assert ("EntryType", entry_type.name) not in NAMES
    assert f"| `{entry_type}` | {LABELS[entry_type]} (*not written yet*) |" in text(ROOT / "docs" / "entries.md")


@pytest.mark.parametrize(
    ("script", "member", "page"),
    [
        (".ci/configuration.py", "document", "docs/configuration.md"),
        (".ci/decisions.py", "document", "docs/adr/README.md"),
        (".ci/entries.py", "document", "docs/entries.md"),
        (".ci/rules.py", "document", "docs/rules.md"),
        (".ci/seccomp.py", "text", "deploy/seccomp.json"),
    ],
)
def test_generated_file_is_what_the_code_says_now(script: str, member: str, page: str) -> None:
    generated = runpy.run_path(str(ROOT / script))[member]()
    assert text(ROOT / page) == generated, "run make docs"
