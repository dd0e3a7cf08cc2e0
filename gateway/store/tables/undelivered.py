"""Tables of answers that nobody is known to have got. ``metadata`` is that of all tables, with these among them."""

from typing import Final

from sqlalchemy import Boolean, Column, Float, Index, String, Table, text

from gateway.store.tables.base import metadata

__all__ = ["metadata", "undelivered"]

undelivered: Final = Table(
    "undelivered",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym."),
    Column("call_key", String(64), nullable=False, comment="HMAC-SHA-256 of the call, or of its idempotency key."),
    Column("named", Boolean, nullable=False, comment="Whether it is an idempotency key's, and stays once delivered."),
    Column("owner", String(64), nullable=False, comment="The gateway that the call came to."),
    Column("received_at", Float, nullable=False),
    Index("ix_undelivered_call", "tenant", "principal", "call_key"),
    Index(
        "ix_undelivered_named",
        "tenant",
        "principal",
        "call_key",
        unique=True,
        sqlite_where=text("named"),
        postgresql_where=text("named"),
    ),
    Index("ix_undelivered_received_at", "received_at"),
    comment="Calls of the MCP ingress whose answer nobody is known to have got; their plans say what they are.",
)
