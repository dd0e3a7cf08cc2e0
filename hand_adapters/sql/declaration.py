"""What a hand's actions are: statements that the operator wrote, and at most three that take some of the agent's."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.manifest import Manifest, SideEffects
from gateway.settings import ActionSettings, HandDatabaseSettings, HandSettings, SettingsError
from hand_adapters import annotate
from hand_adapters.sql.problems import TEXTS, NotTaken, Problem
from hand_adapters.sql.reading import STATEMENT_MAX, Grammar, Statement

QUERY: Final = "query"
EXECUTE: Final = "execute"
TABLES: Final = "tables"
OWN: Final = frozenset({QUERY, EXECUTE, TABLES})
"""Actions that are there where they are declared, without a statement of their own."""

_SCALAR: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean", "null"]}
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean", "null"})
_FREE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "sql": {"type": "string", "maxLength": STATEMENT_MAX, "description": "One statement, with :NAME for values."},
        "parameters": {
            "type": "object",
            "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
            "description": "A value for each :NAME.",
        },
    },
    "required": ["sql"],
}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "rows": {"type": "array", "items": {"type": "array"}},
        "truncated": {"type": "boolean"},
        "changed": {"type": ["integer", "null"]},
    },
    "required": ["columns", "rows", "truncated", "changed"],
    "additionalProperties": False,
}
_CATALOGUE: Final = (
    "SELECT c.table_schema, c.table_name, c.column_name, c.data_type FROM information_schema.columns AS c"
)
_FILE_CATALOGUE: Final = (
    "SELECT 'main' AS table_schema, t.name AS table_name, t.sql AS definition FROM main.sqlite_master AS t "
    "WHERE t.type IN ('table', 'view') AND NOT t.name LIKE 'sqlite_%' ORDER BY t.name"
)
"""SQLite keeps the text by which a table was made, and no list of columns that plain SQL could read."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A hand's actions, checked once.

    Attributes:
        statements: action -> the statement that the operator wrote.
    """

    database: HandDatabaseSettings
    grammar: Grammar
    statements: Mapping[str, Statement]
    manifest: Manifest

    @classmethod
    def of(cls, hand_id: str, settings: HandSettings) -> "Declaration":
        """Check a declaration.

        Raises:
            SettingsError: it cannot be used; it says where and why.
        """
        database = settings.database
        if database is None:
            raise SettingsError(f"hands.{hand_id}.database: it is missing")
        if database.dialect != "sqlite" and not database.tls and not settings.private_network:
            raise SettingsError(f"hands.{hand_id}.database.tls: without it, private_network = true is needed")
        if database.dialect == "sqlite" and settings.secrets:
            raise SettingsError(f"hands.{hand_id}.secrets: a file has no password")
        if len(settings.secrets) > 1:
            raise SettingsError(f"hands.{hand_id}.secrets: a database has one password")
        if not settings.actions:
            raise SettingsError(f"hands.{hand_id}: a sql hand offers what it declares; it declares no action")
        grammar = Grammar(database.dialect, database.default_schemas, frozenset(database.functions))
        statements: dict[str, Statement] = {}
        for name, action in settings.actions.items():
            where = f"hands.{hand_id}.actions.{name}"
            if (name in OWN) == (action.statement is not None):
                raise SettingsError(f"{where}: {_own(name)}")
            if action.statement is not None:
                statements[name] = _statement(where, action, grammar, database)
            elif action.args_schema is not None or action.result_schema is not None:
                raise SettingsError(f"{where}: its schemas are the adapter's")
            if name == EXECUTE and not database.writes:
                raise SettingsError(f"{where}: [hands.{hand_id}.database] writes says what it may do")
            if name == EXECUTE and action.side_effects is SideEffects.NONE:
                raise SettingsError(f"{where}.side_effects: it changes rows")
        return cls(database, grammar, MappingProxyType(statements), _manifest(hand_id, settings, database, statements))

    def statement(self, action: str, args: Mapping[str, Any]) -> tuple[Statement, Mapping[str, Any]]:
        """The statement that a call runs, and the values of its parameters. Pure.

        Raises:
            NotTaken: it is not one that the action takes.
        """
        if action in self.statements:
            return self.statements[action], args
        if action == TABLES:
            return catalogue(self.grammar), {}
        found = self.grammar.read(str(args["sql"]))
        given: Mapping[str, Any] = args.get("parameters", {})
        if set(given) != set(found.parameters):
            raise NotTaken(Problem.PARAMETER)
        lists = any(isinstance(one, list | tuple) for one in given.values())
        if lists and self.database.dialect != "postgresql":
            raise NotTaken(Problem.PARAMETER)
        changes = {change.verb for change in found.facts.changes}
        if bool(changes) != (action == EXECUTE) or not changes <= set(self.database.writes):
            raise NotTaken(Problem.VERB)
        return found, given


def catalogue(grammar: Grammar) -> Statement:
    """The statement of the action ``tables``: tables of the hand's schemas and their columns, as the user sees them."""
    names = ", ".join(f"'{name}'" for name in grammar.schemas)
    if grammar.dialect == "sqlite":
        return Grammar("sqlite", ("main",), catalogue=True).read(_FILE_CATALOGUE)
    text = f"{_CATALOGUE} WHERE c.table_schema IN ({names}) ORDER BY 1, 2, c.ordinal_position"
    return Grammar(grammar.dialect, ("information_schema",)).read(text)


def _own(name: str) -> str:
    if name in OWN:
        return "its statement is not the operator's; choose another name for one that is"
    return f"statement is missing; only {', '.join(sorted(OWN))} have none"


def _statement(where: str, action: ActionSettings, grammar: Grammar, database: HandDatabaseSettings) -> Statement:
    try:
        found = grammar.read(action.statement or "")
    except NotTaken as refusal:
        raise SettingsError(f"{where}.statement: {TEXTS[refusal.problem]} ({refusal.problem})") from None
    changes = {change.verb for change in found.facts.changes}
    if not changes <= set(database.writes):
        raise SettingsError(f"{where}.statement: database.writes does not name {', '.join(sorted(changes))}")
    if changes and action.side_effects is SideEffects.NONE:
        raise SettingsError(f"{where}.side_effects: the statement changes rows")
    schema = action.args_schema or {"type": "object", "properties": {}}
    properties = schema.get("properties", {})
    if set(properties) != set(found.parameters) or set(schema.get("required", ())) != set(found.parameters):
        raise SettingsError(f"{where}.args_schema: its properties, all required, are the parameters of the statement")
    for name, one in properties.items():
        items = one.get("items", {}) if isinstance(one, Mapping) and one.get("type") == "array" else one
        kinds = items.get("type") if isinstance(items, Mapping) else None
        named = set(kinds) if isinstance(kinds, list) else {kinds}
        if not named <= _SCALARS or (items is not one and database.dialect != "postgresql"):
            raise SettingsError(f"{where}.args_schema: {name} is a scalar, or for postgresql an array of them")
    return found


def _manifest(
    hand_id: str, settings: HandSettings, database: HandDatabaseSettings, statements: Mapping[str, Statement]
) -> Manifest:
    """What the hand offers; where it is and how far it may go is part of it, and so of the pin."""
    place = {
        "database": database.origin or str(database.path),
        "name": database.name,
        "user": database.user,
        "tls": database.tls,
        "schemas": list(database.default_schemas),
        "writes": sorted(database.writes),
        "functions": sorted(database.functions),
        "rows_max": database.rows_max,
        "changed_rows_max": database.changed_rows_max,
    }

    def claims(name: str, _word: ActionSettings) -> Mapping[str, Any]:
        return {**place, **({"statement": statements[name].text} if name in statements else {})}

    def schemas(name: str, word: ActionSettings) -> tuple[Any, Any]:
        empty: dict[str, Any] = {"type": "object", "properties": {}}
        return _FREE if name in {QUERY, EXECUTE} else word.args_schema or empty, word.result_schema or _RESULT

    return annotate.declared(hand_id, settings, claims, schemas)
