"""Tables of what people do at the pages, and of how they are told: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Sessions, security keys, links to identities elsewhere, and the outbox of messages."""
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.String(length=36), nullable=False, comment="The webhook-id of every attempt."),
        sa.Column("webhook", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("notice", sa.String(length=32), nullable=False),
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dead", sa.Boolean(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_outbox")),
        comment="Messages for webhooks, written with what they tell of; a delivered one is gone.",
    )
    op.create_index(op.f("ix_outbox_dead_next_at"), "outbox", ["dead", "next_at"], unique=False)
    op.create_table(
        "security_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False, comment="RFC 7638 thumbprint of the public key."),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column("credential_id", sa.String(length=700), nullable=False, comment="base64url"),
        sa.Column("jwk", sa.Text(), nullable=False, comment="Public key: EC P-256 or OKP Ed25519."),
        sa.Column("rp_id", sa.String(length=255), nullable=False, comment="The site it was enrolled at."),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.String(length=64), nullable=False, comment="That it was enrolled with."),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _mac(),
        sa.PrimaryKeyConstraint("tenant", "kid", name=op.f("pk_security_keys")),
        sa.UniqueConstraint("ticket", name=op.f("uq_security_keys_ticket")),
        sa.UniqueConstraint("tenant", "credential_id", name=op.f("uq_security_keys_tenant_credential_id")),
        comment="Authenticators with which people sign approvals.",
    )
    op.create_index(op.f("ix_security_keys_tenant_pseudonym"), "security_keys", ["tenant", "pseudonym"], unique=False)
    op.create_table(
        "identity_links",
        sa.Column(
            "name_mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 of tenant, source and subject.",
        ),
        sa.Column("link_id", sa.String(length=32), nullable=False, comment="Random; by which entries name it."),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column(
            "kind",
            sa.String(length=16),
            nullable=False,
            comment="token; claims where these say its roles; certificate",
        ),
        sa.Column("name_key", sa.String(length=32), nullable=False, comment="Data key that wraps source and subject."),
        sa.Column("expires_at", sa.Float(), nullable=True, comment="When a certificate that was shown is over."),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _mac(),
        sa.PrimaryKeyConstraint("name_mac", name=op.f("pk_identity_links")),
        sa.UniqueConstraint("link_id", name=op.f("uq_identity_links_link_id")),
        comment="Who somebody elsewhere is here. A subject is never given to another principal.",
    )
    op.create_index(op.f("ix_identity_links_tenant_pseudonym"), "identity_links", ["tenant", "pseudonym"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("session_sha256", sa.String(length=64), nullable=False, comment="Of the person's cookie."),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=True, comment="Of the API key that opened it; or link_id."),
        sa.Column(
            "link_id",
            sa.String(length=32),
            nullable=True,
            comment="Of the link by which somebody logged in at an issuer.",
        ),
        sa.Column(
            "roles", sa.Text(), nullable=True, comment="JSON list: those that the login gave. Null: the principal's."
        ),
        sa.Column(
            "hands", sa.Text(), nullable=True, comment="JSON list: those that the login gave. Null: the principal's."
        ),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("opened_index", sa.BigInteger(), nullable=False, comment="Of the entry in the log."),
        sa.Column("expires_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("session_sha256", name=op.f("pk_sessions")),
        comment="People who are logged in to the pages.",
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)


def _mac() -> sa.Column[str]:
    text = "HMAC-SHA-256 over the row, by a key outside the database."
    return sa.Column("mac", sa.String(length=64), nullable=False, comment=text)
