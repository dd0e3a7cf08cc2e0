"""A bundle whose data is off the schema beside it is refused, and a schema fetches nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.policy import bundle
from gateway.policy.faults import BundleError
from tests.policy.support import DENY_ALL, SHIPPED, write

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LIMIT = {
    "$schema": DIALECT,
    "type": "object",
    "additionalProperties": False,
    "required": ["limit"],
    "properties": {"limit": {"type": "integer", "minimum": 0}},
}


def problems(directory: Path, schema: Any, data: str | None = '{"limit": 1}') -> list[str]:
    write(directory, {"a.rego": DENY_ALL, "handrail/x/data.schema.json": json.dumps(schema)})
    if data is not None:
        write(directory, {"handrail/x/data.json": data})
    try:
        bundle.load(directory)
    except BundleError as exc:
        return [str(problem) for problem in exc.problems]
    return []


def test_data_that_matches_passes_and_the_schema_counts_in_the_digest(tmp_path: Path) -> None:
    assert problems(tmp_path, LIMIT) == []
    before = bundle.load(tmp_path)
    assert "handrail/x/data.schema.json" in dict(before.files)
    assert before.data == {"handrail": {"x": {"limit": 1}}}
    assert problems(tmp_path, {**LIMIT, "title": "Limit"}) == []
    assert bundle.load(tmp_path).digest != before.digest


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ('{"limits": 1}', "handrail/x/data.json: off its schema at the top:"),
        ('{"limit": "1"}', "handrail/x/data.json: off its schema at /limit:"),
        ('{"limit": -1}', "handrail/x/data.json: off its schema at /limit:"),
        ("{}", "handrail/x/data.json: off its schema at the top:"),
        (None, "handrail/x/data.schema.json: describes handrail/x/data.json, which is missing"),
    ],
)
def test_data_off_its_schema_is_refused(tmp_path: Path, data: str | None, problem: str) -> None:
    assert any(one.startswith(problem) for one in problems(tmp_path, LIMIT, data))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({**LIMIT, "properties": {"limit": {"$ref": "http://127.0.0.1:9/x"}}}, "$ref leads out of the schema"),
        ({**LIMIT, "properties": {"limit": {"$ref": "other.json"}}}, "$ref leads out of the schema"),
        ({**LIMIT, "properties": {"limit": {"$ref": "#/$defs/none"}}}, "not a usable JSON Schema"),
        ({**LIMIT, "type": "objekt"}, "not a usable JSON Schema"),
        ({**LIMIT, "$schema": "http://json-schema.org/draft-07/schema#"}, "needs"),
        ({key: value for key, value in LIMIT.items() if key != "$schema"}, "needs"),
        (True, "needs"),
        ([], "needs"),
    ],
)
def test_a_schema_that_cannot_be_trusted_is_refused(tmp_path: Path, schema: Any, problem: str) -> None:
    found = problems(tmp_path, schema)
    assert len(found) == 1
    assert problem in found[0]


def test_a_large_datum_is_not_repeated_in_full(tmp_path: Path) -> None:
    found = problems(tmp_path, LIMIT, json.dumps({"limit": "x" * 100_000}))
    assert found
    assert all(len(one) < 500 for one in found)


def test_every_datum_that_is_shipped_has_a_closed_schema() -> None:
    data = sorted(SHIPPED.rglob("data.json"))
    assert data
    for file in data:
        schema = json.loads(file.with_name("data.schema.json").read_text())
        assert schema["additionalProperties"] is False, file
        assert set(schema["required"]) == set(schema["properties"]), file
