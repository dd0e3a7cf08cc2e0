"""Who may call and sign: principals with what proves them, and issuers of plans."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.tables.base import metadata

principals: Final = Table(
    "principals",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("name_key", String(32), nullable=False, unique=True, comment="Data key that wraps the id."),
    Column("pseudonym", String(64), primary_key=True),
    Column("roles", Text, nullable=False, comment="JSON list."),
    Column("hands", Text, nullable=True, comment="JSON list, or NULL for all."),
    Column("approval_jwk", Text, nullable=True, comment="Public Ed25519 JWK."),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "tenant"),
    comment="Who may call. No column tells who that is: audit.names does.",
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("pseudonym", String(64), nullable=False),
    Column("secret_sha256", String(64), nullable=False, comment="Of 32 random bytes, so a fast hash is enough."),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    ForeignKeyConstraint(["pseudonym"], ["principals.pseudonym"]),
)

security_keys: Final = Table(
    "security_keys",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("kid", String(64), nullable=False, comment="RFC 7638 thumbprint of the public key."),
    Column("pseudonym", String(64), nullable=False),
    Column("credential_id", String(700), nullable=False, comment="base64url"),
    Column("jwk", Text, nullable=False, comment="Public key: EC P-256 or OKP Ed25519."),
    Column("rp_id", String(255), nullable=False, comment="The site it was enrolled at."),
    Column("sign_count", BigInteger, nullable=False),
    Column("ticket", String(64), nullable=False, unique=True, comment="That it was enrolled with."),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("tenant", "kid"),
    UniqueConstraint("tenant", "credential_id"),
    Index(None, "tenant", "pseudonym"),
    comment="Authenticators with which people sign approvals.",
)

identity_links: Final = Table(
    "identity_links",
    metadata,
    Column("name_mac", String(64), primary_key=True, comment="HMAC-SHA-256 of tenant, source and subject."),
    Column("link_id", String(32), nullable=False, unique=True, comment="Random; by which entries name it."),
    Column("tenant", String(64), nullable=False),
    Column("pseudonym", String(64), nullable=False),
    Column("kind", String(16), nullable=False, comment="token; claims where these say its roles; certificate"),
    Column("name_key", String(32), nullable=False, comment="Data key that wraps source and subject."),
    Column("expires_at", Float, nullable=True, comment="When a certificate that was shown is over."),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "tenant", "pseudonym"),
    comment="Who somebody elsewhere is here. A subject is never given to another principal.",
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("session_sha256", String(64), primary_key=True, comment="Of the person's cookie."),
    Column("tenant", String(64), nullable=False),
    Column("pseudonym", String(64), nullable=False),
    Column("key_id", String(32), nullable=True, comment="Of the API key that opened it; or link_id."),
    Column("link_id", String(32), nullable=True, comment="Of the link by which somebody logged in at an issuer."),
    Column("roles", Text, nullable=True, comment="JSON list: those that the login gave. Null: the principal's."),
    Column("hands", Text, nullable=True, comment="JSON list: those that the login gave. Null: the principal's."),
    Column("opened_at", Float, nullable=False),
    Column("opened_index", BigInteger, nullable=False, comment="Of the entry in the log."),
    Column("expires_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "expires_at"),
    comment="People who are logged in to the pages.",
)

issuers: Final = Table(
    "issuers",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("issuer_id", String(128), nullable=False),
    Column("pseudonym", String(64), nullable=False, unique=True, comment="By which entries name it."),
    Column("speaks_for", Text, nullable=False, default="[]", comment="JSON list of pseudonyms."),
    Column("attests_request", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("tenant", "issuer_id"),
)

issuer_keys: Final = Table(
    "issuer_keys",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("issuer_id", String(128), nullable=False),
    Column("kid", String(64), nullable=False),
    Column("jwk", Text, nullable=False),
    Column("not_before", Integer, nullable=False),
    Column("not_after", Integer, nullable=True),
    Column("revoked_at", Integer, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("tenant", "issuer_id", "kid"),
    ForeignKeyConstraint(["tenant", "issuer_id"], ["issuers.tenant", "issuers.issuer_id"]),
)
