"""A hand of each kind of database keeps its promises (``handrail hands check``)."""

from typing import Any

from hand_adapters.conformance import Options, Promise, Status, check_adapter
from hand_adapters.sql import SqlAdapter
from tests.sql.conftest import Database

ID = {"type": "object", "properties": {"id": {"type": "integer", "minimum": 1, "maximum": 4}}, "required": ["id"]}
RENAME = {
    "type": "object",
    "properties": {"id": ID["properties"]["id"], "name": {"type": "string", "maxLength": 40, "pattern": "^[a-z]+$"}},
    "required": ["id", "name"],
}
ACTIONS: dict[str, Any] = {
    "user": {
        "statement": "SELECT id, name, email FROM users WHERE id = :id",
        "args_schema": ID,
        "side_effects": "none",
        "idempotent": True,
    },
    "rename": {
        "statement": "UPDATE users SET name = :name WHERE id = :id",
        "args_schema": RENAME,
        "side_effects": "reversible",
        "idempotent": True,
    },
    "query": {"side_effects": "none"},
}


async def test_a_database(database: Database) -> None:
    settings = {
        "adapter": "sql",
        "private_network": True,
        "database": {"dialect": database.dialect, "writes": ["update"], **database.place},
        "actions": ACTIONS,
        "secrets": {"database": {"place": "password"}} if database.password else {},
    }
    options = Options(
        examples=6,
        seed=5,
        allow_effects=frozenset({"rename"}),
        inputs={"query": [{"sql": "SELECT id, name, email FROM users ORDER BY id", "parameters": {}}]},
        secrets={"database": database.password} if database.password else {},
    )
    report = await check_adapter(SqlAdapter, settings, options=options)
    assert not report.broken, report.text()
    assert report.complete, report.left_out
    kept = {one.promise for one in report.verdicts if one.status is Status.KEPT}
    assert kept >= {Promise.ANALYSIS, Promise.IDEMPOTENT, Promise.SIDE_EFFECTS, Promise.CONCURRENCY, Promise.RESTART}
    assert Promise.SECRETS in kept
