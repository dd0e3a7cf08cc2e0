"""Tables of dead letters. ``metadata`` is that of all tables, with these among them."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

__all__ = ["dead_letter_ends", "dead_letters", "metadata"]

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("context_id", String(128), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym."),
    Column("hand", String(64), nullable=False),
    Column("action", String(128), nullable=False),
    Column("status", String(16), nullable=False, comment="ambiguous, failed"),
    Column("reason", String(64), nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("log_index", BigInteger, nullable=False, comment="Of the entry that ended the step."),
    PrimaryKeyConstraint("plan_id", "step_id"),
    Index(None, "tenant", "log_index"),
    comment="Steps that ended in doubt, or did not reach their hand. To list them; their plans say what they are.",
)

dead_letter_ends: Final = Table(
    "dead_letter_ends",
    metadata,
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("verdict", String(16), nullable=False, comment="retried, discarded"),
    Column("settled_by", String(64), nullable=False, comment="Pseudonym."),
    Column("settled_at", Float, nullable=False),
    Column("retry_plan", String(64), nullable=True, comment="The plan that tries it again."),
    PrimaryKeyConstraint("plan_id", "step_id"),
    sqlite_with_rowid=False,
    comment="A dead letter is settled once: the database refuses a second row.",
)
