"""What docs/sql.md shows is what there is."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema_rs

from gateway.settings import HandSettings
from hand_adapters.sql import SqlAdapter
from hand_adapters.sql.problems import Problem
from hand_adapters.sql.session import Failure
from tests.hands.testing_only_plain_jail import PlainJail

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_declaration_can_be_used_and_its_analysis_is_the_one_that_is_shown() -> None:
    settings = HandSettings(**tomllib.loads(blocks("toml")[0])["hands"]["crm"])
    SqlAdapter.validate("crm", settings)
    adapter = SqlAdapter("crm", settings, PlainJail())  # type: ignore[arg-type]
    shown, rules = map(json.loads, blocks("json"))
    assert adapter.analyse("set_state", {"id": 1, "state": "sent"}) == shown
    schema = json.loads((ROOT / "policies" / "handrail" / "statements" / "data.schema.json").read_text())
    assert jsonschema_rs.validator_for(schema).is_valid(rules)


def test_every_problem_and_every_failure_is_named() -> None:
    assert {f"`{problem}`" for problem in Problem} <= set(re.findall(r"`[a-z_.]+`", PAGE))
    assert {f"`{failure}`" for failure in Failure} <= set(re.findall(r"`[a-z_.]+`", PAGE))
