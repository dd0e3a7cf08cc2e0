"""Names of calls that clients collect: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """By which name a client calls a step that was released under another one."""
    op.create_table(
        "client_calls",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("caller", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column(
            "call_id",
            sa.String(length=64),
            nullable=False,
            comment="What the client calls it: the id of the block that asks.",
        ),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "caller", "call_id", name=op.f("pk_client_calls")),
        sqlite_with_rowid=False,
        comment="A call that was collected after people approved it: the database refuses a second row for a name.",
    )
