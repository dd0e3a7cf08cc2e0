"""Everything of the first release: the log, its side table, and the stores beside it."""

import sqlalchemy as sa
from alembic import op

from migrations import defences, trust
from migrations.parts import PARTS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _mac() -> sa.Column[str]:
    text = "HMAC-SHA-256 over the row, by a key outside the database."
    return sa.Column("mac", sa.String(length=64), nullable=False, comment=text)


def upgrade() -> None:
    """Tables, indexes, and the triggers that keep the log append-only."""
    op.create_table(
        "checkpoints",
        sa.Column("tree_size", _INDEX, autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False, comment="C2SP tlog-checkpoint."),
        sa.PrimaryKeyConstraint("tree_size", name=op.f("pk_checkpoints")),
        comment="Signed checkpoints.",
    )
    op.create_table(
        "entries",
        sa.Column("idx", _INDEX, autoincrement=False, nullable=False, comment="Position in the log, from 0."),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=6), nullable=False, comment="gateway.entries.EntryType"),
        sa.Column("time", sa.String(length=24), nullable=False, comment="RFC 3339, UTC, milliseconds."),
        sa.Column("context_id", sa.String(length=128), nullable=True),
        sa.Column("plan_id", sa.String(length=64), nullable=True),
        sa.Column("step_id", sa.String(length=64), nullable=True),
        sa.Column("principal", sa.String(length=64), nullable=True, comment="Pseudonym."),
        sa.Column("hand", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=128), nullable=True),
        sa.Column("effect", sa.String(length=8), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=True, comment="JSON list of codes, where there are any."),
        sa.Column("policy_digest", sa.String(length=64), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="RFC 8785 canonical JSON: what the leaf hashes."),
        sa.Column(
            "hashes",
            sa.LargeBinary(),
            nullable=False,
            comment="Of the leaf, then of each complete subtree that it closes, from level 1 upwards; 32 bytes each.",
        ),
        sa.Column("fields", sa.Text(), nullable=True, comment="JSON: field name -> commitment."),
        sa.PrimaryKeyConstraint("idx", name=op.f("pk_entries")),
        comment="The log. The body is the entry; every other column repeats it for queries or proofs.",
    )
    op.create_index(op.f("ix_entries_plan_id_idx"), "entries", ["plan_id", "idx"], unique=False)
    op.create_index(op.f("ix_entries_tenant_context_id_idx"), "entries", ["tenant", "context_id", "idx"], unique=False)
    op.create_index(op.f("ix_entries_tenant_principal_idx"), "entries", ["tenant", "principal", "idx"], unique=False)
    op.create_index(op.f("ix_entries_tenant_type_idx"), "entries", ["tenant", "type", "idx"], unique=False)
    op.create_index(op.f("ix_entries_time"), "entries", ["time"], unique=False)
    op.create_table(
        "head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Always 1."),
        sa.Column("tree_size", _INDEX, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("origin", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
        comment="One row, moved by compare-and-swap.",
    )
    op.create_table(
        "approvals",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym of whom the plan acts for."),
        sa.Column("caller", sa.String(length=64), nullable=False, comment="Pseudonym of who sent it."),
        sa.Column("hand", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False, comment="open, granted, refused, expired, voided"),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False, comment="JSON: name -> commitment (args, evaluation)."),
        sa.Column("approver_role", sa.String(length=32), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("enrolled_key", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False, comment="How often it was put to people."),
        sa.Column(
            "mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 over all but status, by an outside key.",
        ),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_approvals")),
    )
    op.create_index(op.f("ix_approvals_plan_id_step_id"), "approvals", ["plan_id", "step_id"], unique=False)
    op.create_index(
        op.f("ix_approvals_tenant_caller_status"), "approvals", ["tenant", "caller", "status"], unique=False
    )
    op.create_index(
        op.f("ix_approvals_tenant_status_requested_at"), "approvals", ["tenant", "status", "requested_at"], unique=False
    )
    op.create_table(
        "approval_ends",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("approval_id", "asked", name=op.f("pk_approval_ends")),
        sqlite_with_rowid=False,
        comment="An asking ends once: answered, voided or asked anew. The database itself refuses a second row.",
    )
    op.create_table(
        "contexts",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("bound_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "context_id", name=op.f("pk_contexts")),
        sqlite_with_rowid=False,
        comment="A context belongs to the principal that first used it.",
    )
    op.create_table(
        "fates",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("step_jti", sa.String(length=64), nullable=True, comment="Where it was let go."),
        sa.PrimaryKeyConstraint("plan_id", "step_id", name=op.f("pk_fates")),
        sqlite_with_rowid=False,
        comment="A step is let go or ended once, whoever does it: the database itself refuses a second row.",
    )
    op.create_table(
        "hand_pins",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("hand", sa.String(length=64), nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False, comment="The pinned document."),
        sa.Column("pinned_by", sa.String(length=128), nullable=False, comment="Pseudonym."),
        sa.Column("pinned_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("tenant", "hand", name=op.f("pk_hand_pins")),
        comment="Which manifest of a hand a tenant said yes to.",
    )
    op.create_table(
        "policy_bundles",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("git_commit", sa.String(length=64), nullable=False, comment="That it was built from."),
        sa.Column(
            "signed",
            sa.Text(),
            nullable=False,
            comment="The bundle+jws, encrypted: it names its signer.",
        ),
        sa.Column("jwk", sa.Text(), nullable=False, comment="Public key that it was verified with when it came."),
        sa.Column("added_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("added_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_policy_bundles")),
        comment="Signed policy bundles by digest.",
    )
    op.create_table(
        "policy_activations",
        sa.Column(
            "number", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, 3, ...; the newest decides."
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False, comment="activate or rollback"),
        sa.Column("proposal_id", sa.String(length=64), nullable=True),
        sa.Column("activated_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("activated_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_policy_activations")),
        comment="Which policy bundle decides, one change after the other.",
    )
    op.create_table(
        "policy_shadows",
        sa.Column(
            "number", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, 3, ...; the newest counts."
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("started_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_policy_shadows")),
        comment="Which policy bundle is shadowed, one after the other.",
    )
    op.create_table(
        "policy_comparisons",
        sa.Column("subject", sa.String(length=64), nullable=False, comment="A shadow, or a canary's proposal."),
        sa.Column("gateway", sa.String(length=64), nullable=False, comment="That counted."),
        sa.Column(
            "document", sa.Text(), nullable=False, comment="JSON: counts, names and step ids; no value of a call."
        ),
        sa.Column("counted_at", sa.Float(), nullable=False),
        _mac(),
        sa.PrimaryKeyConstraint("subject", "gateway", name=op.f("pk_policy_comparisons")),
        comment="What a candidate bundle said beside the active one.",
    )
    op.create_table(
        "proposals",
        sa.Column("proposal_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False, comment="gateway.two_person.Kind"),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("document", sa.Text(), nullable=False, comment="RFC 8785 canonical JSON; nothing personal."),
        sa.Column("status", sa.String(length=16), nullable=False, comment="open, activated, withdrawn, expired, ended"),
        sa.Column("proposed_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("proposed_attested_by", sa.String(length=16), nullable=False, comment="proposer or gateway"),
        sa.Column("proposed_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False, comment="JSON: name -> commitment (propose, activate)."),
        sa.Column(
            "decided_by", sa.String(length=64), nullable=True, comment="Pseudonym of who activated or withdrew it."
        ),
        sa.Column("decided_attested_by", sa.String(length=16), nullable=True, comment="activator, webauthn or gateway"),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("in_force_until", sa.Float(), nullable=True, comment="Of a standing kind, once it is activated."),
        sa.Column("ended_by", sa.String(length=64), nullable=True, comment="Pseudonym."),
        sa.Column("ended_at", sa.Float(), nullable=True),
        _mac(),
        sa.PrimaryKeyConstraint("proposal_id", name=op.f("pk_proposals")),
        comment="Changes that take two people.",
    )
    op.create_index(op.f("ix_proposals_kind_status"), "proposals", ["kind", "status"], unique=False)
    op.create_index(op.f("ix_proposals_tenant_status"), "proposals", ["tenant", "status"], unique=False)
    trust.create()
    op.create_table(
        "proposal_acts",
        sa.Column("proposal_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False, comment="decided, stopped or ended"),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.proposal_id"], name=op.f("fk_proposal_acts_proposal_id_proposals")
        ),
        sa.PrimaryKeyConstraint("proposal_id", "step", name=op.f("pk_proposal_acts")),
        sqlite_with_rowid=False,
        comment="A proposal is decided once and ended once, whoever does it: the database refuses a second row.",
    )
    op.create_table(
        "issuers",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("issuer_id", sa.String(length=128), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False, comment="By which entries name it."),
        sa.Column("speaks_for", sa.Text(), nullable=False, comment="JSON list of pseudonyms."),
        sa.Column("attests_request", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _mac(),
        sa.PrimaryKeyConstraint("tenant", "issuer_id", name=op.f("pk_issuers")),
        sa.UniqueConstraint("pseudonym", name=op.f("uq_issuers_pseudonym")),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("caller", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("issuer", sa.String(length=128), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False, comment="Of the exact JWS."),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False, comment="The gateway that takes it forward."),
        sa.Column("log_index", sa.BigInteger(), nullable=True, comment="Of its 'plan received' entry."),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plans")),
    )
    running = sa.text("status = 'running'")
    op.create_index("ix_plans_running", "plans", ["owner"], sqlite_where=running, postgresql_where=running)
    op.create_table(
        "principals",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name_key", sa.String(length=32), nullable=False, comment="Data key that wraps the id."),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False, comment="JSON list."),
        sa.Column("hands", sa.Text(), nullable=True, comment="JSON list, or NULL for all."),
        sa.Column("approval_jwk", sa.Text(), nullable=True, comment="Public Ed25519 JWK."),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _mac(),
        sa.PrimaryKeyConstraint("pseudonym", name=op.f("pk_principals")),
        sa.UniqueConstraint("name_key", name=op.f("uq_principals_name_key")),
        comment="Who may call. No column tells who that is: audit.names does.",
    )
    op.create_index(op.f("ix_principals_tenant"), "principals", ["tenant"], unique=False)
    op.create_table(
        "replays",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=128), nullable=False),
        sa.Column("jti", sa.String(length=128), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "issuer", "jti", name=op.f("pk_replays")),
        sqlite_with_rowid=False,
        comment="Accepted plans by (iss, jti), kept until exp + skew.",
    )
    for part in PARTS:
        part.create()
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=64), nullable=False),
        sa.Column(
            "secret_sha256",
            sa.String(length=64),
            nullable=False,
            comment="Of 32 random bytes, so a fast hash is enough.",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _mac(),
        sa.ForeignKeyConstraint(
            ["pseudonym"],
            ["principals.pseudonym"],
            name=op.f("fk_api_keys_pseudonym_principals"),
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "approval_answers",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False, comment="Which asking it answers."),
        sa.Column("approver", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("answer", sa.String(length=16), nullable=False, comment="approve or refuse"),
        sa.Column("attested_by", sa.String(length=16), nullable=False, comment="approver or gateway"),
        sa.Column("commitment", sa.String(length=64), nullable=False, comment="Of the approval+jws."),
        sa.Column("answered_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.approval_id"], name=op.f("fk_approval_answers_approval_id")
        ),
        sa.PrimaryKeyConstraint("approval_id", "asked", "approver", name=op.f("pk_approval_answers")),
    )
    op.create_table(
        "issuer_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("issuer_id", sa.String(length=128), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("not_before", sa.Integer(), nullable=False),
        sa.Column("not_after", sa.Integer(), nullable=True),
        sa.Column("revoked_at", sa.Integer(), nullable=True),
        _mac(),
        sa.ForeignKeyConstraint(
            ["tenant", "issuer_id"],
            ["issuers.tenant", "issuers.issuer_id"],
            name=op.f("fk_issuer_keys_tenant_issuer_id"),
        ),
        sa.PrimaryKeyConstraint("tenant", "issuer_id", "kid", name=op.f("pk_issuer_keys")),
    )
    op.create_table(
        "steps",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("hand", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("effect", sa.String(length=8), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list of codes."),
        sa.Column("policy_digest", sa.String(length=64), nullable=True),
        sa.Column("manifest_digest", sa.String(length=64), nullable=True),
        sa.Column("fields", sa.Text(), nullable=False, comment="JSON: name -> commitment."),
        sa.Column("error", sa.Text(), nullable=True, comment="JSON: code and safe facts."),
        sa.Column("personal_data", sa.Text(), nullable=True, comment="JSON: kind -> how many, left in and taken out."),
        sa.Column("truncated", sa.Text(), nullable=True, comment="JSON: how much of the result was left out."),
        sa.Column("step_jti", sa.String(length=64), nullable=True),
        sa.Column("receipt_id", sa.String(length=160), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True, comment="receipt+jws"),
        sa.Column("log_index", sa.BigInteger(), nullable=True, comment="Of the entry that the receipt names."),
        _mac(),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.plan_id"], name=op.f("fk_steps_plan_id")),
        sa.PrimaryKeyConstraint("plan_id", "step_id", name=op.f("pk_steps")),
    )
    named = sa.text("receipt_id IS NOT NULL")
    op.create_index("ix_steps_receipt_id", "steps", ["receipt_id"], sqlite_where=named, postgresql_where=named)
    released = sa.text("status = 'released'")
    op.create_index("ix_steps_released", "steps", ["step_id"], sqlite_where=released, postgresql_where=released)

    dialect = op.get_bind().dialect.name
    for statement in defences.postgresql() if dialect == "postgresql" else defences.sqlite():
        op.get_bind().exec_driver_sql(statement)
