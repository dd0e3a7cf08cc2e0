"""Every test of the shipped rules in the embedded engine's interpreter too: ``opa test`` runs them in OPA."""

import json
import re

import pytest
from regorus import Engine

from gateway.policy.bundle import load
from tests.policy.support import SHIPPED
from tests.regorus_engine import engine_of

TESTS = sorted(SHIPPED.rglob("*_test.rego"))
_PACKAGE = re.compile(r"^package ([\w.]+)", re.MULTILINE)
_CASE = re.compile(r"^(test_\w+)", re.MULTILINE)


def cases() -> list[str]:
    """``data.PACKAGE.test_NAME`` of every test rule."""
    found: dict[str, None] = {}
    for path in TESTS:
        text = path.read_text(encoding="utf-8")
        package = _PACKAGE.search(text)
        assert package is not None, path
        found |= {f"data.{package[1]}.{name}": None for name in _CASE.findall(text)}
    return list(found)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Bundle, its data, and all tests."""
    return engine_of(load(SHIPPED), **{str(path): path.read_text(encoding="utf-8") for path in TESTS})


def test_there_are_tests_for_every_rule() -> None:
    assert len(cases()) >= 100
    rules = {path.name for path in SHIPPED.glob("handrail/*") if path.is_dir()}
    assert rules
    assert {path.parent.name for path in TESTS} >= rules


@pytest.mark.parametrize("case", cases())
def test_a_case_that_holds_in_opa_holds_in_regorus(engine: Engine, case: str) -> None:
    engine.set_input_json("{}")
    answer = json.loads(engine.eval_query_as_json(case))
    assert [expression["value"] for result in answer["result"] for expression in result["expressions"]] == [True]
