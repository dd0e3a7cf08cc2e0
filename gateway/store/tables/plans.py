"""What is under way: contexts, plans, steps, and what people are asked."""

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
    text,
)

from gateway.store.tables.base import metadata

_GIVEN: Final = text("receipt_id IS NOT NULL")
_RELEASED: Final = text("status = 'released'")

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
    Column("personal_data", Text, nullable=True, comment="JSON: kind -> how many, left in and taken out."),
    Column("truncated", Text, nullable=True, comment="JSON: how much of the result was left out."),
    Column("step_jti", String(64), nullable=True),
    Column("receipt_id", String(160), nullable=True),
    Column("receipt", Text, nullable=True, comment="receipt+jws"),
    Column("log_index", BigInteger, nullable=True, comment="Of the entry that the receipt names."),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    PrimaryKeyConstraint("plan_id", "step_id"),
    ForeignKeyConstraint(["plan_id"], ["plans.plan_id"]),
    Index(
        "ix_steps_released",
        "step_id",
        sqlite_where=_RELEASED,
        postgresql_where=_RELEASED,
    ),
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

outbox: Final = Table(
    "outbox",
    metadata,
    Column("message_id", String(36), primary_key=True, comment="The webhook-id of every attempt."),
    Column("webhook", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("notice", String(32), nullable=False),
    Column("approval_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("dead", Boolean, nullable=False),
    Column("mac", String(64), nullable=False, comment="HMAC-SHA-256 over the row, by a key outside the database."),
    Index(None, "dead", "next_at"),
    comment="Messages for webhooks, written with what they tell of; a delivered one is gone.",
)
