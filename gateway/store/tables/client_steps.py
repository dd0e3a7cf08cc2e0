"""What is said once about steps that clients run. ``metadata`` is that of all tables, with this one among them."""

from typing import Final

from sqlalchemy import Column, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

__all__ = ["client_moves", "metadata"]

client_moves: Final = Table(
    "client_moves",
    metadata,
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("move", String(16), nullable=False, comment="reported, collected"),
    PrimaryKeyConstraint("plan_id", "step_id", "move"),
    sqlite_with_rowid=False,
    comment="A step that a client runs is collected once, and reported once: the database refuses a second row.",
)
