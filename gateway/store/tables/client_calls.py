"""By which name a client calls a step that was released under another one. ``metadata`` is that of all tables, with
this one among them."""

from typing import Final

from sqlalchemy import Column, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

__all__ = ["client_calls", "metadata"]

client_calls: Final = Table(
    "client_calls",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("caller", String(64), nullable=False, comment="Pseudonym."),
    Column("call_id", String(64), nullable=False, comment="What the client calls it: the id of the block that asks."),
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    PrimaryKeyConstraint("tenant", "caller", "call_id"),
    sqlite_with_rowid=False,
    comment="A call that was collected after people approved it: the database refuses a second row for a name.",
)
