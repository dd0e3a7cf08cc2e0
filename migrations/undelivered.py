"""The table of answers that nobody is known to have got: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Calls of the MCP ingress, until their answer was delivered."""
    call = ["tenant", "principal", "call_key"]
    op.create_table(
        "undelivered",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column(
            "call_key",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 of the call, or of its idempotency key.",
        ),
        sa.Column(
            "named",
            sa.Boolean(),
            nullable=False,
            comment="Whether it is an idempotency key's, and stays once delivered.",
        ),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="The gateway that the call came to."),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_undelivered")),
        comment="Calls of the MCP ingress whose answer nobody is known to have got; their plans say what they are.",
    )
    op.create_index("ix_undelivered_call", "undelivered", call, unique=False)
    op.create_index(
        "ix_undelivered_named",
        "undelivered",
        call,
        unique=True,
        sqlite_where=sa.text("named"),
        postgresql_where=sa.text("named"),
    )
    op.create_index("ix_undelivered_received_at", "undelivered", ["received_at"], unique=False)
