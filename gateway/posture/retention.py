"""Retention: whether what is over is dropped, and whether what is held is still there."""

from typing import Final

from sqlalchemy import Connection, func, select

from audit.assurance.evidence import DAY_SECONDS
from audit.holds import EntriesHold, in_force
from audit.retained import PARTITION
from audit.retention import State, months_before, survey
from audit.tables import dropped_partitions, entries
from gateway.posture.model import Check, Severity, Verdict, bad, good
from gateway.posture.scene import Scene

OVERDUE_DAYS: Final = 31
"""How long something may lie there that is over; as the expectation ``retention-applied`` has it."""
_RANGE: Final = {"first", "last"}


def _retention(scene: Scene) -> Verdict:
    months = scene.settings.log.retention_months
    with scene.connect() as connection:
        gone = [hold for hold in in_force(connection) if _is_broken(connection, hold)]
        cut = months_before(scene.now - OVERDUE_DAYS * DAY_SECONDS, months)
        due = sum(one.state is State.DUE for one in survey(connection, cut))
    if gone:
        shown = ", ".join(f"{hold.hold_id} ({hold.case})" for hold in gone)
        return bad(f"entries were dropped under a hold in force: {shown}", "Restore them from the archive or a backup.")
    if due:
        found = f"{due * PARTITION:,} entries are over for more than {OVERDUE_DAYS} days and still there"
        return bad(found, "handrail retention apply")
    return good(f"entries are kept for {months} months; nothing is overdue, and nothing is gone that is held")


def _is_broken(connection: Connection, hold: EntriesHold) -> bool:
    """Whether an entry is gone that was dropped after the hold was set.

    Of holds that name their entries by place, or all of them: what another one is about cannot be told once it is gone.
    """
    if hold.held.facts().keys() - _RANGE:
        return False
    later = select(dropped_partitions.c.partition).where(dropped_partitions.c.idx > hold.index)
    for partition in connection.execute(later).scalars().all():
        first = max(partition * PARTITION, hold.held.first or 0)
        end = (partition + 1) * PARTITION
        if hold.held.last is not None:
            end = min(end, hold.held.last + 1)
        there = select(func.count()).select_from(entries).where(entries.c.idx >= first, entries.c.idx < end)
        if connection.execute(there).scalar_one() < end - first:
            return True
    return False


CHECKS: Final = (Check("retention-set", Severity.MEDIUM, _retention),)
