"""Tables of the log's inverted index: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Blocks with postings, and the postings."""
    op.create_table(
        "posting_blocks",
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False, comment="Number of the block, from 0."),
        sa.Column("first_time", sa.String(length=24), nullable=False, comment="The earliest time of its entries."),
        sa.Column("last_time", sa.String(length=24), nullable=False, comment="The latest time of its entries."),
        sa.PrimaryKeyConstraint("block", name=op.f("pk_posting_blocks")),
        comment="Blocks of entries whose postings are made; audit.postings.",
    )
    op.create_table(
        "postings",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("term", sa.String(length=256), nullable=False, comment="name:value, or * for every entry."),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offsets", sa.LargeBinary(), nullable=False, comment="Which entries of the block carry the term."),
        sa.PrimaryKeyConstraint("tenant", "term", "block", name=op.f("pk_postings")),
        sqlite_with_rowid=False,
        comment="The inverted index of the log's entries.",
    )
    op.create_index(op.f("ix_postings_block"), "postings", ["block"])
