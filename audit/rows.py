"""The callers' own rows: guards that must be first of their kind, and writes grouped by statement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Executable, Insert, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import AuditError
from audit.job import Job
from gateway.errors import HandrailError
from gateway.ports import Guard
from gateway.reasons import Reason

_TOLERANT: Final[WeakKeyDictionary[Insert, dict[str, Insert]]] = WeakKeyDictionary()

Groups = list[tuple[Executable, list[Mapping[str, Any]]]]
"""Statements, each with its rows, in the order in which they are executed."""


def pass_guards(connection: Connection, live: Sequence[Job]) -> tuple[list[Job], dict[Job, HandrailError]]:
    """Insert every guard; where one conflicts, each append's alone, in order.

    Returns:
        The appends whose guards are in, and why the others are refused. A refusal counts only once the transaction
        does: it may rest on rows of an append that a redo leaves out.
    """
    guards = grouped(
        (_tolerant(connection, guard.insert), guard.parameters) for job in live for guard in job.item.guards
    )
    if not guards:
        return list(live), {}
    connection.exec_driver_sql("SAVEPOINT every_guard")
    if all(connection.execute(statement, rows).rowcount == len(rows) for statement, rows in guards):
        return list(live), {}
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT every_guard")
    accepted: list[Job] = []
    refusals: dict[Job, HandrailError] = {}
    for job in live:
        refusal = _pass_alone(connection, job.item.guards)
        if refusal is None:
            accepted.append(job)
        else:
            refusals[job] = refusal
    return accepted, refusals


def grouped(pairs: Iterable[tuple[Executable, Mapping[str, Any]]]) -> Groups:
    """Rows of one statement object with the same parameter names together, in order of first appearance."""
    groups: dict[tuple[int, frozenset[str]], tuple[Executable, list[Mapping[str, Any]]]] = {}
    for statement, parameters in pairs:
        key = (id(statement), frozenset(parameters))
        if key in groups:
            groups[key][1].append(parameters)
        else:
            groups[key] = (statement, [parameters])
    return list(groups.values())


def _pass_alone(connection: Connection, guards: Sequence[Guard]) -> HandrailError | None:
    """Every guard of one append, or why it is refused (and then nothing of its guards stays)."""
    several = len(guards) > 1
    if several:
        connection.exec_driver_sql("SAVEPOINT one_append")
    for guard in guards:
        if connection.execute(_tolerant(connection, guard.insert), guard.parameters).rowcount == 1:
            continue
        try:
            guard.on_conflict(connection)
        except SQLAlchemyError:
            raise
        except Exception as exc:  # noqa: BLE001 - a caller's callback: its fault must not touch the others
            if several:
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_append")
            return translated(exc, "on_conflict")
    return None


def _tolerant(connection: Connection, statement: Insert) -> Insert:
    """``statement`` with ON CONFLICT DO NOTHING: a conflict is then a count and not an error, which on PostgreSQL
    would spoil the transaction. Only key conflicts are; a row that breaks another constraint is still an error.
    """
    name = connection.dialect.name
    known = _TOLERANT.setdefault(statement, {})
    if name not in known:
        plain = insert(statement.table).compile(dialect=connection.dialect)
        if str(statement.compile(dialect=connection.dialect)) != str(plain):
            raise AuditError(Reason.INTERNAL, "a guard must be a plain insert")
        make = postgresql.insert if name == "postgresql" else sqlite.insert
        known[name] = make(statement.table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return known[name]


def translated(error: Exception, where: str) -> HandrailError:
    """A callback's exception as one of ours; a foreign one's words stay out, they may be personal."""
    return (
        error if isinstance(error, HandrailError) else AuditError(Reason.INTERNAL, f"{where}: {type(error).__name__}")
    )
