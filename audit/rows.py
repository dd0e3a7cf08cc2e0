"""The callers' own rows: guards that must be first of their kind, and writes grouped by statement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.driver import Driver, Statements
from audit.errors import AuditError
from audit.job import Job
from gateway.errors import HandrailError
from gateway.ports import Guard, Write
from gateway.reasons import Reason


def pass_guards(
    connection: Connection, driver: Driver, statements: Statements, live: Sequence[Job]
) -> tuple[list[Job], dict[Job, HandrailError]]:
    """Insert every guard; where one conflicts, each append's alone, in order.

    Returns:
        The appends whose guards are in, and why the others are refused. A refusal counts only once the transaction
        does: it may rest on rows of an append that a redo leaves out.
    """
    guards = _grouped((guard.insert, guard.parameters) for job in live for guard in job.item.guards)
    if not guards:
        return list(live), {}
    driver.execute("SAVEPOINT every_guard")
    if all(statements.insert_first(driver, statement, rows) == len(rows) for statement, rows in guards):
        # While it stands, SQLite copies every page that the transaction changes, to a file once there are some.
        driver.execute("RELEASE SAVEPOINT every_guard")
        return list(live), {}
    driver.execute("ROLLBACK TO SAVEPOINT every_guard")
    accepted: list[Job] = []
    refusals: dict[Job, HandrailError] = {}
    for job in live:
        refusal = _pass_alone(connection, driver, statements, job.item.guards)
        if refusal is None:
            accepted.append(job)
        else:
            refusals[job] = refusal
    driver.execute("RELEASE SAVEPOINT every_guard")
    return accepted, refusals


def write(driver: Driver, statements: Statements, writes: Iterable[Write]) -> None:
    """Execute the writes, rows of one statement together, in order of its first appearance."""
    for statement, rows in _grouped((one.statement, one.parameters) for one in writes):
        statements.run(driver, statement, rows)


def _grouped(pairs: Iterable[tuple[Any, Mapping[str, Any]]]) -> list[tuple[Any, list[Mapping[str, Any]]]]:
    """Rows of one statement object with the same parameter names together, in order of first appearance."""
    groups: dict[tuple[int, tuple[str, ...]], tuple[Any, list[Mapping[str, Any]]]] = {}
    for statement, parameters in pairs:
        key = (id(statement), tuple(parameters))
        if key in groups:
            groups[key][1].append(parameters)
        else:
            groups[key] = (statement, [parameters])
    return list(groups.values())


def _pass_alone(
    connection: Connection, driver: Driver, statements: Statements, guards: Sequence[Guard]
) -> HandrailError | None:
    """Every guard of one append, or why it is refused (and then nothing of its guards stays)."""
    several = len(guards) > 1
    if several:
        driver.execute("SAVEPOINT one_append")
    for guard in guards:
        if statements.insert_first(driver, guard.insert, [guard.parameters]) == 1:
            continue
        try:
            guard.on_conflict(connection)
        except SQLAlchemyError:
            raise
        except Exception as exc:  # noqa: BLE001 - a caller's callback: its fault must not touch the others
            if several:
                driver.execute("ROLLBACK TO SAVEPOINT one_append")
            return translated(exc, "on_conflict")
    return None


def translated(error: Exception, where: str) -> HandrailError:
    """A callback's exception as one of ours; a foreign one's words stay out, they may be personal."""
    return (
        error if isinstance(error, HandrailError) else AuditError(Reason.INTERNAL, f"{where}: {type(error).__name__}")
    )
