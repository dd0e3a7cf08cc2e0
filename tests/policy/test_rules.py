"""The metadata of the shipped rules says what it must (that their own tests hold: ``test_rules_in_regorus``)."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.controls import shipped as shipped_controls
from gateway.entries import EntryType
from gateway.policy.bundle import load
from gateway.policy.inspection import inspect
from gateway.policy.locations import SEVERITIES
from tests.policy.support import DECIDING, SHIPPED

pytest.importorskip("regorus", reason="no regorus wheel for this platform")
POLICY_ENTRIES = (EntryType.POLICY_ALLOWED, EntryType.POLICY_DENIED, EntryType.APPROVAL_REQUESTED)


def metadata(path: Path) -> dict[str, Any]:
    """The metadata of a module's package."""
    block, _, _ = path.read_text().partition("\npackage ")
    return dict(yaml.safe_load("\n".join(line[2:] for line in block.splitlines() if line != "# METADATA")))


@pytest.mark.parametrize("path", DECIDING, ids=lambda path: path.parent.name)
def test_a_rule_is_described(path: Path) -> None:
    """One directory, one package, one id; severity and controls of entries that a policy decision makes."""
    said = metadata(path)
    assert path.stem == path.parent.name
    assert f"\npackage handrail.{path.stem}\n" in path.read_text()
    assert path.with_name(f"{path.stem}_test.rego").exists()
    assert said["title"]
    assert len(said["description"]) > 40
    assert said["custom"]["severity"] in SEVERITIES
    mapped = {control for entry_type in POLICY_ENTRIES for control in shipped_controls().ids[entry_type]}
    assert said["custom"]["controls"]
    assert set(said["custom"]["controls"]) <= mapped


def test_every_rule_is_asked() -> None:
    asked = (SHIPPED / "handrail" / "decisions.rego").read_text()
    assert DECIDING
    for path in DECIDING:
        assert f"data.handrail.{path.stem}.decisions" in asked


PAGE = runpy.run_path(str(SHIPPED.parent / ".ci" / "rules.py"))


def test_the_page_of_rules_knows_every_rule_and_says_each_code_in_words() -> None:
    assert {path.stem for path in PAGE["rules"]()} == {path.stem for path in DECIDING} == set(PAGE["DEFAULTS"])
    for path in DECIDING:
        given = PAGE["codes"](path)
        assert given
        assert all(words[:1].isupper() and words.endswith(".") for words in given.values()), given


async def test_the_page_of_rules_has_every_code_that_the_bundle_gives() -> None:
    """The list is closed: what the check finds in the syntax trees is what the page shows, no more and no less."""
    found = {code for code in (await inspect(load(SHIPPED))).reasons if code.split(".")[0] in set(PAGE["DEFAULTS"])}
    shown = {code for path in DECIDING for code in PAGE["codes"](path)}
    assert found - {"hosts.fine", "transfers.fine"} <= shown
    assert shown - found <= {"provenance.untrusted", "provenance.mentioned", "provenance.new"}
