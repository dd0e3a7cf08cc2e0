"""What holds changes of trust: one open proposal for each target, and the signatures under it. A part of the first
version.
"""

import sqlalchemy as sa
from alembic import op

_OPEN = sa.text("status = 'open'")


def create() -> None:
    """The index that holds open proposals apart, and the table of signatures."""
    op.create_index(
        "uq_proposals_open",
        "proposals",
        ["tenant", "kind", "subject"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_table(
        "proposal_signatures",
        sa.Column("proposal_id", sa.String(length=64), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="1, 2, 3, ...: of two at once one comes second and looks again.",
        ),
        sa.Column("signer", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("attested_by", sa.String(length=16), nullable=False, comment="signer, webauthn or gateway"),
        sa.Column("kid", sa.String(length=64), nullable=True, comment="RFC 7638 thumbprint of the key that signed."),
        sa.Column("audience", sa.String(length=255), nullable=False, comment="The log's name that it was signed for."),
        sa.Column("signed_at", sa.Float(), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False, comment="Of the signed act."),
        sa.Column(
            "mac",
            sa.String(length=64),
            nullable=False,
            comment="HMAC-SHA-256 over the row, by a key outside the database.",
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.proposal_id"], name=op.f("fk_proposal_signatures_proposal_id_proposals")
        ),
        sa.PrimaryKeyConstraint("proposal_id", "number", name=op.f("pk_proposal_signatures")),
        sa.UniqueConstraint("proposal_id", "signer", name=op.f("uq_proposal_signatures_proposal_id_signer")),
        comment="Who agreed to a change that takes several people; a person counts once.",
    )
