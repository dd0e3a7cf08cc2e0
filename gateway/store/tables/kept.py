"""What the gateway keeps for itself and for hands: pins, keys, secrets."""

from typing import Final

from sqlalchemy import Column, Float, Integer, PrimaryKeyConstraint, String, Table, Text

from gateway.store.tables.base import metadata

hand_pins: Final = Table(
    "hand_pins",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("hand", String(64), nullable=False),
    Column("manifest_digest", String(64), nullable=False),
    Column("manifest", Text, nullable=False, comment="The pinned document."),
    Column("pinned_by", String(128), nullable=False, comment="Pseudonym."),
    Column("pinned_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("tenant", "hand"),
    comment="Which manifest of a hand a tenant said yes to.",
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("kid", String(43), primary_key=True, comment="RFC 7638 thumbprint of the public key."),
    Column("document", Text, nullable=False, comment="JSON: record and private half, sealed under the data root."),
    comment="The gateway's own keys, where [keys] keeps them in the database.",
)

secrets: Final = Table(
    "secrets",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False, comment="1, 2, 3, ...; the log knows the newest."),
    Column("sealed", Text, nullable=False, comment="AES-256-GCM under the data root, bound to its row."),
    Column("set_by", String(128), nullable=False, comment="Pseudonym."),
    Column("set_at", Float, nullable=False),
    PrimaryKeyConstraint("tenant", "name"),
    comment="Secrets that the gateway puts into requests of hands.",
)
