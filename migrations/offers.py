"""Steps that remote hands claim: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Offers, and what is decided once about each."""
    op.create_table(
        "offers",
        sa.Column("step_jti", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("hand", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="The gateway that takes the plan forward."),
        sa.Column("status", sa.String(length=16), nullable=False, comment="open, claimed, ended"),
        sa.Column("offered_at", sa.Float(), nullable=False),
        sa.Column(
            "due_at",
            sa.Float(),
            nullable=False,
            comment="Until when it may be claimed, then until when a result may come.",
        ),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False, comment="Of the entry with which it changed last."),
        sa.Column("claimant", sa.String(length=64), nullable=True, comment="Pseudonym."),
        sa.Column(
            "jkt",
            sa.String(length=64),
            nullable=True,
            comment="RFC 7638 thumbprint of the key that the credential is bound to.",
        ),
        sa.Column(
            "credential_sha256", sa.String(length=64), nullable=True, comment="Of the credential that was handed out."
        ),
        sa.Column(
            "mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 over the row, by a key outside the database.",
        ),
        sa.PrimaryKeyConstraint("step_jti", name=op.f("pk_offers")),
        comment="Steps that remote hands claim.",
    )
    for columns in (
        ("tenant", "hand", "status", "offered_at"),
        ("status", "due_at"),
        ("owner", "log_index"),
        ("plan_id",),
    ):
        op.create_index(op.f(f"ix_offers_{'_'.join(columns)}"), "offers", list(columns), unique=False)
    op.create_table(
        "offer_moves",
        sa.Column("step_jti", sa.String(length=64), nullable=False),
        sa.Column("move", sa.String(length=8), nullable=False, comment="offer, lease, late"),
        sa.PrimaryKeyConstraint("step_jti", "move", name=op.f("pk_offer_moves")),
        sqlite_with_rowid=False,
        comment="An offered step is claimed or withdrawn once, and ends once: the database refuses a second row.",
    )
