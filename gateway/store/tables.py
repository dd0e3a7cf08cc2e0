"""Tables of everything but the log itself. Rows hold ids, states and commitments; personal values lie sealed in the
log's side table (``audit.tables.payloads``) and are found by commitment.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_GIVEN: Final = text("receipt_id IS NOT NULL")
_OPEN: Final = text("status = 'open'")

contexts: Final = Table(
    "contexts",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("context_id", String(128), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym."),
    Column("bound_at", Float, nullable=False),
    PrimaryKeyConstraint("tenant", "context_id"),
    sqlite_with_rowid=False,
    comment="A context belongs to the principal that first used it.",
)

replays: Final = Table(
    "replays",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("issuer", String(128), nullable=False),
    Column("jti", String(128), nullable=False),
    Column("expires_at", Integer, nullable=False),
    PrimaryKeyConstraint("tenant", "issuer", "jti"),
    sqlite_with_rowid=False,
    comment="Accepted plans by (iss, jti), kept until exp + skew.",
)

plans: Final = Table(
    "plans",
    metadata,
    Column("plan_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("context_id", String(128), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym."),
    Column("caller", String(64), nullable=False, comment="Pseudonym."),
    Column("issuer", String(128), nullable=False),
    Column("kid", String(64), nullable=False),
    Column("commitment", String(64), nullable=False, comment="Of the exact JWS."),
    Column("status", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("owner", String(64), nullable=False, comment="The gateway that takes it forward."),
    Column("log_index", BigInteger, nullable=True, comment="Of its 'plan received' entry."),
    Index(
        "ix_plans_running",
        "owner",
        sqlite_where=text("status = 'running'"),
        postgresql_where=text("status = 'running'"),
    ),
)

steps: Final = Table(
    "steps",
    metadata,
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("hand", String(64), nullable=False),
    Column("action", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("effect", String(8), nullable=True),
    Column("reasons", Text, nullable=False, default="[]", comment="JSON list of codes."),
    Column("policy_digest", String(64), nullable=True),
    Column("manifest_digest", String(64), nullable=True),
    Column("fields", Text, nullable=False, default="{}", comment="JSON: name -> commitment."),
    Column("error", Text, nullable=True, comment="JSON: code and safe facts."),
    Column("step_jti", String(64), nullable=True),
    Column("receipt_id", String(160), nullable=True),
    Column("receipt", Text, nullable=True, comment="receipt+jws"),
    Column("log_index", BigInteger, nullable=True, comment="Of the entry that the receipt names."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("plan_id", "step_id"),
    ForeignKeyConstraint(["plan_id"], ["plans.plan_id"]),
    Index(
        "ix_steps_receipt_id",
        "receipt_id",
        sqlite_where=_GIVEN,
        postgresql_where=_GIVEN,
    ),
)

fates: Final = Table(
    "fates",
    metadata,
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("step_jti", String(64), nullable=True, comment="Where it was let go."),
    PrimaryKeyConstraint("plan_id", "step_id"),
    sqlite_with_rowid=False,
    comment="A step is let go or ended once, whoever does it: the database itself refuses a second row.",
)

approvals: Final = Table(
    "approvals",
    metadata,
    Column("approval_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("plan_id", String(64), nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("context_id", String(128), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym of whom the plan acts for."),
    Column("caller", String(64), nullable=False, comment="Pseudonym of who sent it."),
    Column("hand", String(64), nullable=False),
    Column("action", String(128), nullable=False),
    Column("status", String(16), nullable=False, comment="open, granted, refused, expired, voided"),
    Column("policy_digest", String(64), nullable=False),
    Column("manifest_digest", String(64), nullable=False),
    Column("fields", Text, nullable=False, comment="JSON: name -> commitment (args, evaluation)."),
    Column("approver_role", String(32), nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("enrolled_key", Boolean, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("asked", Integer, nullable=False, comment="How often it was put to people."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over all but status, by an outside key."),
    Index(None, "tenant", "status", "requested_at"),
    Index(None, "tenant", "caller", "status"),
    Index(None, "plan_id", "step_id"),
)

approval_answers: Final = Table(
    "approval_answers",
    metadata,
    Column("approval_id", String(64), nullable=False),
    Column("asked", Integer, nullable=False, comment="Which asking it answers."),
    Column("approver", String(64), nullable=False, comment="Pseudonym."),
    Column("answer", String(16), nullable=False, comment="approve or refuse"),
    Column("attested_by", String(16), nullable=False, comment="approver or gateway"),
    Column("commitment", String(64), nullable=False, comment="Of the approval+jws."),
    Column("answered_at", Float, nullable=False),
    PrimaryKeyConstraint("approval_id", "asked", "approver"),
    ForeignKeyConstraint(["approval_id"], ["approvals.approval_id"]),
)

approval_ends: Final = Table(
    "approval_ends",
    metadata,
    Column("approval_id", String(64), nullable=False),
    Column("asked", Integer, nullable=False),
    PrimaryKeyConstraint("approval_id", "asked"),
    sqlite_with_rowid=False,
    comment="An asking ends once: answered, voided or asked anew. The database itself refuses a second row.",
)

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

outbox: Final = Table(
    "outbox",
    metadata,
    Column("message_id", String(36), primary_key=True, comment="The webhook-id of every attempt."),
    Column("webhook", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("notice", String(32), nullable=False),
    Column("approval_id", String(64), nullable=False),
    Column("owner", String(64), nullable=False, comment="The gateway that delivers it."),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("dead", Boolean, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "dead", "next_at"),
    comment="Messages for webhooks, written with what they tell of; a delivered one is gone.",
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
    Column("decided_attested_by", String(16), nullable=True, comment="activator or gateway"),
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
    Column("attested_by", String(16), nullable=False, comment="signer or gateway"),
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
