"""Secrets that hands name, where they are kept in the database: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Sealed values."""
    op.create_table(
        "secrets",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, 3, ...; the log knows the newest."),
        sa.Column("sealed", sa.Text(), nullable=False, comment="AES-256-GCM under the data root, bound to its row."),
        sa.Column("set_by", sa.String(length=128), nullable=False, comment="Pseudonym."),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_secrets")),
        comment="Secrets that the gateway puts into requests of hands.",
    )
