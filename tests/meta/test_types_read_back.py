"""What code reads back from the log as state stands when its partition is dropped, or is named here with why not.

A module reads the log where it asks for entries by their type, or takes apart what was found by type. Every type that
it names, but for those of entries that it writes, has to outlive retention.
"""

import ast
import re

from gateway.entries import PAST, STANDING, EntryType
from tests.meta.tree import ROOT

READS = re.compile(
    r"entries\.c\.type|\bfacts_of\(|\breplay\(|\bnewest_time\(|\b(row|step|entry|found)\.type\b|\bentry\[\"type\"\]"
)
ROOMS = ("audit", "gateway", "keys", "hand_adapters")
NEED_NOT: dict[EntryType, str] = {
    EntryType.BACKUP_MADE: "a backup that is older than the retention is none to count on, and none is what is shown",
    EntryType.SESSION_CLOSED: "a login lasts 12 hours at most, and its end is under its row's MAC",
    EntryType.CONNECTION_REFRESHED: "an older row holds tokens that were replaced; what was taken back or lost stands",
    EntryType.SCHEMA_REJECTED: "a step that may still move is refused where a later stretch of the log was dropped",
    EntryType.CREDENTIAL_ISSUED: "the same; the step's dispatch is written with it",
    EntryType.STEP_RETRIED: "a dead letter of before a dropped stretch can only be discarded",
    EntryType.STEP_DISCARDED: "the same, and twice is as good as once",
    EntryType.RESULT_REDACTED: "the same; the step's outcome is written with it",
}
"""``PAST`` need not be named: it stands for as long as its context is in use."""


def written(tree: ast.AST) -> set[ast.AST]:
    """Everything inside of a call that makes an entry."""
    made = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "EntryDraft"
    ]
    return {inner for call in made for inner in ast.walk(call)}


def types_read() -> dict[EntryType, set[str]]:
    found: dict[EntryType, set[str]] = {}
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if READS.search(text) is None:
                continue
            tree = ast.parse(text)
            made = written(tree)
            for node in ast.walk(tree):
                named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                if named and node.value.id == "EntryType" and node not in made:  # type: ignore[attr-defined]
                    kind = EntryType[node.attr]  # type: ignore[attr-defined]
                    found.setdefault(kind, set()).add(str(file.relative_to(ROOT)))
    return found


def test_every_type_that_is_read_back_outlives_retention() -> None:
    read = types_read()
    assert {EntryType.KEY_REVOKED, EntryType.ENTRIES_HELD, EntryType.BACKUP_RESTORED} <= read.keys(), "it finds some"
    gone = {kind: files for kind, files in read.items() if kind not in STANDING | PAST | NEED_NOT.keys()}
    assert gone == {}


def test_what_need_not_stand_is_read_and_does_not() -> None:
    assert NEED_NOT.keys() <= types_read().keys()
    assert not NEED_NOT.keys() & (STANDING | PAST)


def test_the_sets_that_readers_import_stand() -> None:
    from audit import history, predating
    from gateway.entries import FORGETTING, FREEZING
    from gateway.store import bundles, proposals, trials

    asked = {*history.DIRECTORY, *predating.KEY_CHANGES, *FREEZING, *FORGETTING, *proposals.ENTRY_TYPES}
    assert asked | bundles._CHANGES | trials._TYPES <= STANDING
