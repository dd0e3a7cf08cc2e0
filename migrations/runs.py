"""Runs and their turns: a part of the first version."""

import sqlalchemy as sa
from alembic import op

_MAC = "HMAC-SHA-256 over the row, by a key outside the database."


def create() -> None:
    """Two tables."""
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("brain", sa.String(length=64), nullable=False),
        sa.Column("hands", sa.Text(), nullable=True, comment="JSON list; NULL for all that the principal may use."),
        sa.Column("commitment", sa.String(length=64), nullable=False, comment="Of what was asked."),
        sa.Column("steps_max", sa.Integer(), nullable=False),
        sa.Column("tokens_max", sa.BigInteger(), nullable=False),
        sa.Column("money_max", sa.BigInteger(), nullable=True, comment="In millionths of the currency's unit."),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="Empty where no brain had prices."),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("deadline_at", sa.Float(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False, comment="Of the entry that says that it began."),
        sa.Column("mac", sa.String(length=64), nullable=False, comment=_MAC),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
        comment="Runs as they were begun.",
    )
    op.create_index(op.f("ix_runs_tenant_log_index"), "runs", ["tenant", "log_index"], unique=False)
    op.create_table(
        "run_turns",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="0, 1, 2, ..., without a gap."),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="model, tools, end"),
        sa.Column("brain", sa.String(length=64), nullable=False, comment="That was asked last."),
        sa.Column(
            "attempt",
            sa.Integer(),
            nullable=False,
            comment="Of a model turn: how often this was put to models, from 1.",
        ),
        sa.Column("steps", sa.Integer(), nullable=False, comment="Of the run, with this turn."),
        sa.Column("tokens", sa.BigInteger(), nullable=False, comment="Of the run, as known before this turn."),
        sa.Column("spent", sa.BigInteger(), nullable=True, comment="Likewise, in millionths; NULL where nobody knows."),
        sa.Column("plan_id", sa.String(length=64), nullable=False, comment="Empty for the end."),
        sa.Column("gateway", sa.String(length=64), nullable=False, comment="That wrote it."),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False, comment="Of the end: done, failed, cancelled"),
        sa.Column("reason", sa.String(length=64), nullable=False, comment="Of the end: why, where it is not done."),
        sa.Column("note", sa.String(length=64), nullable=False, comment="Of the end: a closed word more."),
        sa.Column("mac", sa.String(length=64), nullable=False, comment=_MAC),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_run_turns")),
        comment="A turn of a run is one plan, or the end, whoever takes it: the database refuses a second row.",
    )
    op.create_index(op.f("ix_run_turns_plan_id"), "run_turns", ["plan_id"], unique=False)
