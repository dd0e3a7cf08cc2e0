"""Sessions of agents that run at Anthropic, and their tool uses."""

from typing import Final

from sqlalchemy import Boolean, Column, Float, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

managed_sessions: Final = Table(
    "managed_sessions",
    metadata,
    Column("connector", String(80), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(64), nullable=False, comment="Pseudonym of whose its tool calls are."),
    Column("agent_id", String(128), nullable=False),
    Column("context_id", String(128), nullable=False),
    Column("state", String(16), nullable=False, comment="gateway.ports.managed_agents.State"),
    Column("adopted_at", Float, nullable=False),
    Column("since", String(32), nullable=False, comment="The service's moment up to which nothing was ours."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("connector", "session_id"),
    comment="Sessions at Anthropic that are followed.",
)

managed_uses: Final = Table(
    "managed_uses",
    metadata,
    Column("connector", String(80), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("event_id", String(64), nullable=False, comment="Of the tool use; the step of its plan has its name."),
    Column("plan_id", String(64), nullable=False, comment="Empty where none was made of it."),
    Column("signed_at", Float, nullable=False),
    Column("state", String(16), nullable=False, comment="gateway.ports.managed_agents.UseState"),
    Column("verdict", String(16), nullable=False, comment="What it was answered with; empty before."),
    Column("reported", Boolean, nullable=False, comment="Whether what came of it is on record."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("connector", "session_id", "event_id"),
    comment="Tool uses of those sessions: each is judged once, and answered once.",
)
