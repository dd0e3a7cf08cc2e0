"""Dead letters, and how they were settled: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Dead letters, and what is decided once about each."""
    op.create_table(
        "dead_letters",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("hand", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False, comment="ambiguous, failed"),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False, comment="Of the entry that ended the step."),
        sa.PrimaryKeyConstraint("plan_id", "step_id", name=op.f("pk_dead_letters")),
        comment="Steps that ended in doubt, or did not reach their hand. To list them; their plans say what they are.",
    )
    op.create_index(op.f("ix_dead_letters_tenant_log_index"), "dead_letters", ["tenant", "log_index"], unique=False)
    op.create_table(
        "dead_letter_ends",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False, comment="retried, discarded"),
        sa.Column("settled_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("settled_at", sa.Float(), nullable=False),
        sa.Column("retry_plan", sa.String(length=64), nullable=True, comment="The plan that tries it again."),
        sa.PrimaryKeyConstraint("plan_id", "step_id", name=op.f("pk_dead_letter_ends")),
        sqlite_with_rowid=False,
        comment="A dead letter is settled once: the database refuses a second row.",
    )
