"""Tables of steps that are offered to remote hands. ``metadata`` is that of all tables, with these among them."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, PrimaryKeyConstraint, String, Table

from gateway.store.tables.base import metadata

__all__ = ["metadata", "offer_moves", "offers"]

offers: Final = Table(
    "offers",
    metadata,
    Column("step_jti", String(64), primary_key=True),
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("hand", String(64), nullable=False),
    Column("owner", String(64), nullable=False, comment="The gateway that takes the plan forward."),
    Column("status", String(16), nullable=False, comment="open, claimed, ended"),
    Column("offered_at", Float, nullable=False),
    Column("due_at", Float, nullable=False, comment="Until when it may be claimed, then until when a result may come."),
    Column("changed_at", Float, nullable=False),
    Column("log_index", BigInteger, nullable=False, comment="Of the entry with which it changed last."),
    Column("claimant", String(64), nullable=True, comment="Pseudonym."),
    Column("jkt", String(64), nullable=True, comment="RFC 7638 thumbprint of the key that the credential is bound to."),
    Column("credential_sha256", String(64), nullable=True, comment="Of the credential that was handed out."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "tenant", "hand", "status", "offered_at"),
    Index(None, "status", "due_at"),
    Index(None, "owner", "log_index"),
    Index(None, "plan_id"),
    comment="Steps that remote hands claim.",
)

offer_moves: Final = Table(
    "offer_moves",
    metadata,
    Column("step_jti", String(64), nullable=False),
    Column("move", String(8), nullable=False, comment="offer, lease, late"),
    PrimaryKeyConstraint("step_jti", "move"),
    sqlite_with_rowid=False,
    comment="An offered step is claimed or withdrawn once, and ends once: the database refuses a second row.",
)
