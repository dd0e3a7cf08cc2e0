"""Tables of what people let the gateway do at other services: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Sealed tokens of people, and consents that were taken to their end."""
    op.create_table(
        "connection_grants",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False, comment="Pseudonym of whose tokens these are."),
        sa.Column("connection", sa.String(length=64), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False, comment="Of the entry that it was written with."),
        sa.Column("sealed", sa.Text(), nullable=False, comment="AES-256-GCM under the data root, bound to its row."),
        sa.Column("refreshing_until", sa.Float(), nullable=False, comment="Until when one gateway alone refreshes it."),
        sa.PrimaryKeyConstraint("tenant", "subject", "connection", name=op.f("pk_connection_grants")),
        comment="Tokens with which the gateway acts for a person at a service.",
    )
    op.create_table(
        "spent_consents",
        sa.Column("consent_sha256", sa.String(length=64), nullable=False, comment="Of the state parameter."),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("consent_sha256", name=op.f("pk_spent_consents")),
        comment="Consents whose answer came: none is taken to its end twice.",
    )
    op.create_index(op.f("ix_spent_consents_expires_at"), "spent_consents", ["expires_at"], unique=False)
