"""What people let the gateway do at other services."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, PrimaryKeyConstraint, String, Table, Text

from gateway.store.tables.base import metadata

connection_grants: Final = Table(
    "connection_grants",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("subject", String(64), nullable=False, comment="Pseudonym of whose tokens these are."),
    Column("connection", String(64), nullable=False),
    Column("entry_index", BigInteger, nullable=False, comment="Of the entry that it was written with."),
    Column("sealed", Text, nullable=False, comment="AES-256-GCM under the data root, bound to its row."),
    Column("refreshing_until", Float, nullable=False, comment="Until when one gateway alone refreshes it."),
    PrimaryKeyConstraint("tenant", "subject", "connection"),
    comment="Tokens with which the gateway acts for a person at a service.",
)

spent_consents: Final = Table(
    "spent_consents",
    metadata,
    Column("consent_sha256", String(64), primary_key=True, comment="Of the state parameter."),
    Column("expires_at", Float, nullable=False),
    Index(None, "expires_at"),
    comment="Consents whose answer came: none is taken to its end twice.",
)
