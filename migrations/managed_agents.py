"""Sessions of agents that run at Anthropic: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Sessions that are followed, and their tool uses."""
    op.create_table(
        "managed_sessions",
        sa.Column("connector", sa.String(length=80), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False, comment="Pseudonym of whose its tool calls are."),
        sa.Column("agent_id", sa.String(length=128), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="gateway.ports.managed_agents.State"),
        sa.Column("adopted_at", sa.Float(), nullable=False),
        sa.Column(
            "since",
            sa.String(length=32),
            nullable=False,
            comment="The service's moment up to which nothing was ours.",
        ),
        sa.Column(
            "mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 over the row, by a key outside the database.",
        ),
        sa.PrimaryKeyConstraint("connector", "session_id", name=op.f("pk_managed_sessions")),
        comment="Sessions at Anthropic that are followed.",
    )
    op.create_table(
        "managed_uses",
        sa.Column("connector", sa.String(length=80), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column(
            "event_id",
            sa.String(length=64),
            nullable=False,
            comment="Of the tool use; the step of its plan has its name.",
        ),
        sa.Column("plan_id", sa.String(length=64), nullable=False, comment="Empty where none was made of it."),
        sa.Column("signed_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="gateway.ports.managed_agents.UseState"),
        sa.Column("verdict", sa.String(length=16), nullable=False, comment="What it was answered with; empty before."),
        sa.Column("reported", sa.Boolean(), nullable=False, comment="Whether what came of it is on record."),
        sa.Column(
            "mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 over the row, by a key outside the database.",
        ),
        sa.PrimaryKeyConstraint("connector", "session_id", "event_id", name=op.f("pk_managed_uses")),
        comment="Tool uses of those sessions: each is judged once, and answered once.",
    )
