"""Tables of what retention dropped from the log: a part of the first version."""

import sqlalchemy as sa
from alembic import op

_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create() -> None:
    """Dropped partitions, and the hashes that are kept of them."""
    op.create_table(
        "dropped_partitions",
        sa.Column(
            "partition", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the partition, from 0."
        ),
        sa.Column("idx", _INDEX, nullable=False, comment="Of the 'retention applied' entry that says so."),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_dropped_partitions")),
        comment="Partitions of the log whose entries may be deleted; audit.retention.",
    )
    op.create_table(
        "retained_hashes",
        sa.Column("tile", _INDEX, autoincrement=False, nullable=False, comment="256 leaves, from 256 * tile."),
        sa.Column("leaves", sa.LargeBinary(), nullable=False, comment="Their hashes, 32 bytes each."),
        sa.Column(
            "above", sa.LargeBinary(), nullable=False, comment="Of the subtrees of more leaves that the tile closes."
        ),
        sa.PrimaryKeyConstraint("tile", name=op.f("pk_retained_hashes")),
        comment="What proves the rest of the tree where entries were dropped.",
    )
