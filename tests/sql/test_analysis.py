"""What an adapter says of a call reaches the policy and its record as it is; what it cannot say is denied."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import registry
from hand_adapters.contract import Analyses
from hand_adapters.declared import DeclaredHand
from hand_adapters.http import HttpAdapter
from hand_adapters.mcp import McpAdapter
from hand_adapters.remote import RemoteAdapter
from hand_adapters.sql import SqlAdapter
from hand_adapters.sql.problems import TEXTS, Problem
from tests.hands.testing_only_plain_jail import PlainJail


def test_only_adapters_that_analyse_do() -> None:
    settings = HandSettings(adapter="sql", database={"dialect": "sqlite", "path": "/a"}, actions={"query": {}})
    assert isinstance(SqlAdapter("db", settings, PlainJail()), Analyses)  # type: ignore[arg-type]
    assert not any(issubclass(kind, Analyses) for kind in (HttpAdapter, McpAdapter, RemoteAdapter))


def test_a_gateway_without_the_extra_starts() -> None:
    """Importing the registry, and a hand of another database, needs no driver of MariaDB."""
    code = "import sys; sys.modules['pymysql'] = None; import hand_adapters.registry"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class Strange:
    """An adapter of a third party whose analysis is whatever the test says."""

    needs_jail = False
    notes = ()

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def analyse(self, action: str, args: dict[str, Any]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def known(adapter: Any) -> registry.Registry:
    found = registry.Registry({}, PlainJail(), SimpleNamespace())  # type: ignore[arg-type]
    found._hands["h"] = DeclaredHand("h", SimpleNamespace(), adapter, problem="")  # type: ignore[arg-type]
    found._usable["default", "h"] = Manifest("h", "strange", {})
    return found


@pytest.mark.parametrize(
    "answer",
    [None, [], "text", {"n": float("nan")}, {"b": b""}, {"deep": object()}, {"big": "x" * 200_000}, ValueError("why")],
    ids=lambda answer: str(answer)[:20],
)
def test_an_analysis_that_is_no_json_is_a_denial_and_no_crash(answer: Any) -> None:
    with pytest.raises(Refused) as refusal:
        known(Strange(answer)).analyse("default", "h", "a", {})
    assert refusal.value.reason is Reason.SCHEMA_ANALYSIS


def test_an_analysis_is_given_as_it_is_to_the_tenant_that_pinned_the_hand() -> None:
    hands = known(Strange({"kind": "mine"}))
    assert hands.analyse("default", "h", "a", {}) == {"kind": "mine"}
    assert hands.analyse("acme", "h", "a", {}) is None
    assert known(SimpleNamespace()).analyse("default", "h", "a", {}) is None


def adapter(**database: Any) -> SqlAdapter:
    place = {"dialect": "postgresql", "host": "db.example", "name": "shop", "user": "agent", **database}
    actions = {"query": {"side_effects": "none"}, "execute": {}, "tables": {"side_effects": "none"}}
    settings = HandSettings(adapter="sql", database={"writes": ("update",), **place}, actions=actions)
    return SqlAdapter("db", settings, PlainJail())  # type: ignore[arg-type]


def test_the_facts_of_a_statement_are_told() -> None:
    said = adapter().analyse(
        "execute", {"sql": "UPDATE orders SET state = 'x' WHERE id = :id", "parameters": {"id": 1}}
    )
    assert said == {
        "kind": "sql",
        "dialect": "postgresql",
        "statement": 'UPDATE "public"."orders" SET "state" = \'x\' WHERE "id" = $1',
        "verbs": ["update"],
        "reads": ["public.orders"],
        "columns": ["public.orders.id"],
        "changes": [
            {"verb": "update", "table": "public.orders", "where": True, "equals": ["id"], "columns": ["state"]}
        ],
        "functions": [],
        "joins": 0,
        "where": True,
    }


@pytest.mark.parametrize(
    ("action", "args", "problem"),
    [
        ("query", {"sql": "SELECT 1; SELECT 2"}, Problem.MANY),
        ("query", {"sql": "UPDATE orders SET state = 1 WHERE id = 1"}, Problem.VERB),
        ("execute", {"sql": "DELETE FROM orders WHERE id = 1"}, Problem.VERB),
        ("query", {"sql": "SELECT id FROM orders WHERE id = :id"}, Problem.PARAMETER),
        ("query", {"sql": "SELECT id FROM orders", "parameters": {"id": 1}}, Problem.PARAMETER),
        ("query", {"sql": "SELECT * FROM pg_catalog.pg_user"}, Problem.SCHEMA),
    ],
)
def test_a_refusal_names_its_problem_and_nothing_of_the_statement(
    action: str, args: dict[str, Any], problem: Problem
) -> None:
    with pytest.raises(Refused) as refusal:
        adapter().analyse(action, args)
    assert refusal.value.reason is Reason.SCHEMA_ANALYSIS
    assert refusal.value.facts == {"pointer": "/sql", "problem": str(problem), "why": TEXTS[problem]}


@pytest.mark.parametrize(
    ("text", "where", "equals"),
    [
        ("DELETE FROM t", False, []),
        ("DELETE FROM t WHERE 1 = 1", False, []),
        ("DELETE FROM t WHERE true OR 'a' = 'a'", False, []),
        ("DELETE FROM t WHERE id = id", True, []),
        ("DELETE FROM t WHERE id = 1 OR name = 'x'", True, []),
        ("DELETE FROM t WHERE (id = 1 AND (name = 'x'))", True, ["id", "name"]),
        ("DELETE FROM t WHERE NOT id = 1", True, []),
        ("DELETE FROM t WHERE 7 = id AND age > 3", True, ["id"]),
        ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u)", False, []),
    ],
)
def test_a_condition_is_one_only_where_it_names_a_column(text: str, where: bool, equals: list[str]) -> None:
    (change,) = adapter(writes=("delete",)).analyse("execute", {"sql": text})["changes"]
    assert (change["where"], change["equals"]) == (where, equals)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("SELECT u FROM users u", "public.users.*"),
        ("SELECT users FROM users", "public.users.*"),
        ("SELECT (u).email FROM users u", "public.users.*"),
        ("SELECT count(u) FROM users u", "public.users.*"),
        ("SELECT * FROM users", "public.users.*"),
        ("SELECT id FROM users NATURAL JOIN teams", "public.users.*"),
        ("SELECT 1 AS a FROM users JOIN teams USING (email)", "public.users.email"),
        ("SELECT id FROM teams ORDER BY (SELECT email FROM users)", "public.users.email"),
        ("SELECT t.id FROM teams t WHERE EXISTS (SELECT 1 FROM users WHERE email = 'x')", "public.users.email"),
        ("SELECT q.a FROM (SELECT email AS a FROM users) AS q", "public.users.email"),
        ("WITH q (a) AS (SELECT email FROM users) SELECT a FROM q", "public.users.email"),
        ("SELECT max(id) OVER (ORDER BY email) AS a FROM users", "public.users.email"),
        ("SELECT id FROM teams UNION SELECT id FROM users WHERE email IS NULL", "public.users.email"),
        ("SELECT EMAIL FROM Users", "public.users.email"),
    ],
)
def test_a_column_does_not_hide(text: str, column: str) -> None:
    assert column in adapter().analyse("query", {"sql": text})["columns"]


def test_case_hides_no_column_of_a_database_that_does_not_tell_it() -> None:
    file = HandSettings(adapter="sql", database={"dialect": "sqlite", "path": "/a"}, actions={"query": {}})
    said = SqlAdapter("db", file, PlainJail()).analyse("query", {"sql": "SELECT EMAIL FROM USERS"})  # type: ignore[arg-type]
    assert (said["reads"], said["columns"]) == (["main.users"], ["main.users.email"])
    maria = adapter(dialect="mariadb").analyse("query", {"sql": "SELECT EMAIL FROM USERS"})
    assert maria["columns"] == ["shop.USERS.email"]
    with pytest.raises(Refused):
        adapter(dialect="mariadb").analyse("query", {"sql": "SELECT `to\u212aen` FROM users"})
