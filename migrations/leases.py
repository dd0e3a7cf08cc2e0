"""Leases: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """What one gateway has at a time, and which."""
    op.create_table(
        "leases",
        sa.Column("kind", sa.String(length=16), nullable=False, comment="gateway.store.leases.LeaseKind"),
        sa.Column("name", sa.String(length=256), nullable=False, comment="Of the thing, unique in its kind."),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="The gateway that has it."),
        sa.Column("until", sa.Float(), nullable=False, comment="From then on any gateway may take it."),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_leases")),
        comment="What one gateway has at a time. To save work: what must not be done twice has a key of its own.",
    )
    op.create_index(op.f("ix_leases_kind_until"), "leases", ["kind", "until"], unique=False)
