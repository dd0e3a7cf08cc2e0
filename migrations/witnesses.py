"""What witnesses said of checkpoints: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Cosignatures."""
    op.create_table(
        "cosignatures",
        sa.Column(
            "tree_size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
            comment="Of the checkpoint that was cosigned.",
        ),
        sa.Column("witness", sa.String(length=255), nullable=False, comment="Name of the witness's key."),
        sa.Column("key_id", sa.String(length=8), nullable=False, comment="Hex."),
        sa.Column(
            "time",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Seconds since the epoch, as it says.",
        ),
        sa.Column("line", sa.Text(), nullable=False, comment="C2SP tlog-cosignature: the signature line."),
        sa.PrimaryKeyConstraint("tree_size", "witness", "key_id", "time", name=op.f("pk_cosignatures")),
        comment="What witnesses said of checkpoints.",
    )
    op.create_index(
        op.f("ix_cosignatures_witness_key_id_time"), "cosignatures", ["witness", "key_id", "time"], unique=False
    )
