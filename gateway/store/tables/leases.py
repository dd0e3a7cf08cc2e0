"""Leases. ``metadata`` is that of all tables, with this among them."""

from typing import Final

from sqlalchemy import Column, Float, Index, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

__all__ = ["leases", "metadata"]

leases: Final = Table(
    "leases",
    metadata,
    Column("kind", String(16), nullable=False, comment="gateway.store.leases.LeaseKind"),
    Column("name", String(256), nullable=False, comment="Of the thing, unique in its kind."),
    Column("owner", String(64), nullable=False, comment="The gateway that has it."),
    Column("until", Float, nullable=False, comment="From then on any gateway may take it."),
    PrimaryKeyConstraint("kind", "name"),
    Index(None, "kind", "until"),
    comment="What one gateway has at a time. To save work: what must not be done twice has a key of its own.",
)
