"""The gateway's own keys, where they are kept in the database: a part of the first version."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Sealed keys."""
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=43), nullable=False, comment="RFC 7638 thumbprint of the public key."),
        sa.Column(
            "document", sa.Text(), nullable=False, comment="JSON: record and private half, sealed under the data root."
        ),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        comment="The gateway's own keys, where [keys] keeps them in the database.",
    )
