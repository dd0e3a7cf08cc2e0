"""What is said once about steps that clients run: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """That a released step was collected, and that it was reported."""
    op.create_table(
        "client_moves",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("move", sa.String(length=16), nullable=False, comment="reported, collected"),
        sa.PrimaryKeyConstraint("plan_id", "step_id", "move", name=op.f("pk_client_moves")),
        sqlite_with_rowid=False,
        comment="A step that a client runs is collected once, and reported once: the database refuses a second row.",
    )
