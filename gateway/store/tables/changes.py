"""What several people decide, and the policies that they decided on."""

from typing import Final

from sqlalchemy import (
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
    text,
)

from gateway.store.tables.base import metadata

_OPEN: Final = text("status = 'open'")

proposals: Final = Table(
    "proposals",
    metadata,
    Column("proposal_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("kind", String(32), nullable=False, comment="gateway.two_person.Kind"),
    Column("subject", String(128), nullable=False),
    Column("document", Text, nullable=False, comment="RFC 8785 canonical JSON; nothing personal."),
    Column("status", String(16), nullable=False, comment="open, activated, withdrawn, expired, ended"),
    Column("proposed_by", String(64), nullable=False, comment="Pseudonym."),
    Column("proposed_attested_by", String(16), nullable=False, comment="proposer or gateway"),
    Column("proposed_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("fields", Text, nullable=False, comment="JSON: name -> commitment (propose, activate)."),
    Column("decided_by", String(64), nullable=True, comment="Pseudonym of who activated or withdrew it."),
    Column("decided_attested_by", String(16), nullable=True, comment="activator, webauthn or gateway"),
    Column("decided_at", Float, nullable=True),
    Column("in_force_until", Float, nullable=True, comment="Of a standing kind, once it is activated."),
    Column("ended_by", String(64), nullable=True, comment="Pseudonym."),
    Column("ended_at", Float, nullable=True),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "tenant", "status"),
    Index(None, "kind", "status"),
    Index("uq_proposals_open", "tenant", "kind", "subject", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    comment="Changes that take two people.",
)

proposal_signatures: Final = Table(
    "proposal_signatures",
    metadata,
    Column("proposal_id", String(64), nullable=False),
    Column("number", Integer, nullable=False, comment="1, 2, 3, ...: of two at once one comes second and looks again."),
    Column("signer", String(64), nullable=False, comment="Pseudonym."),
    Column("attested_by", String(16), nullable=False, comment="signer, webauthn or gateway"),
    Column("kid", String(64), nullable=True, comment="RFC 7638 thumbprint of the key that signed."),
    Column("audience", String(255), nullable=False, comment="The log's name that it was signed for."),
    Column("signed_at", Float, nullable=False),
    Column("commitment", String(64), nullable=False, comment="Of the signed act."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("proposal_id", "number"),
    UniqueConstraint("proposal_id", "signer"),
    ForeignKeyConstraint(["proposal_id"], ["proposals.proposal_id"]),
    comment="Who agreed to a change that takes several people; a person counts once.",
)

proposal_acts: Final = Table(
    "proposal_acts",
    metadata,
    Column("proposal_id", String(64), nullable=False),
    Column("step", String(16), nullable=False, comment="decided, stopped or ended"),
    PrimaryKeyConstraint("proposal_id", "step"),
    ForeignKeyConstraint(["proposal_id"], ["proposals.proposal_id"]),
    sqlite_with_rowid=False,
    comment="A proposal is decided once and ended once, whoever does it: the database refuses a second row.",
)

policy_bundles: Final = Table(
    "policy_bundles",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("git_commit", String(64), nullable=False, comment="That it was built from."),
    Column("signed", Text, nullable=False, comment="The bundle+jws, encrypted: it names its signer."),
    Column("jwk", Text, nullable=False, comment="Public key that it was verified with when it came."),
    Column("added_by", String(64), nullable=False, comment="Pseudonym."),
    Column("added_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    comment="Signed policy bundles by digest.",
)

policy_activations: Final = Table(
    "policy_activations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1, 2, 3, ...; the newest decides."),
    Column("digest", String(64), nullable=False),
    Column("way", String(16), nullable=False, comment="activate or rollback"),
    Column("proposal_id", String(64), nullable=True),
    Column("activated_by", String(64), nullable=False, comment="Pseudonym."),
    Column("activated_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    comment="Which policy bundle decides, one change after the other.",
)

policy_shadows: Final = Table(
    "policy_shadows",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1, 2, 3, ...; the newest counts."),
    Column("digest", String(64), nullable=False),
    Column("started_by", String(64), nullable=False, comment="Pseudonym."),
    Column("started_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    comment="Which policy bundle is shadowed, one after the other.",
)

policy_comparisons: Final = Table(
    "policy_comparisons",
    metadata,
    Column("subject", String(64), nullable=False, comment="A shadow, or a canary's proposal."),
    Column("gateway", String(64), nullable=False, comment="That counted."),
    Column("document", Text, nullable=False, comment="JSON: counts, names and step ids; no value of a call."),
    Column("counted_at", Float, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("subject", "gateway"),
    comment="What a candidate bundle said beside the active one.",
)
