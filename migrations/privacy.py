"""Tables of what can be erased, and of erasures and holds: a part of the first version."""

import sqlalchemy as sa
from alembic import op

_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create() -> None:
    """The side table with its keys; erasures and legal holds."""
    _side_table()
    _erasures()


def _side_table() -> None:
    op.create_table(
        "payloads",
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False, comment="Data key, or the first of several."),
        sa.Column(
            "owners",
            sa.SmallInteger(),
            nullable=False,
            comment="Data subjects whose keys are all needed to open it.",
        ),
        sa.Column(
            "sealed",
            sa.LargeBinary(),
            nullable=False,
            comment="nonce || AES-256-GCM(salt || value), AAD = commitment.",
        ),
        sa.Column("idx", _INDEX, nullable=False, comment="Of the first entry that commits to it."),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("commitment", name=op.f("pk_payloads")),
        comment="Erasable values behind the commitments of entries.",
    )
    op.create_index(op.f("ix_payloads_key_id"), "payloads", ["key_id"], unique=False)
    op.create_index(op.f("ix_payloads_created_at"), "payloads", ["created_at"], unique=False)
    op.create_table(
        "payload_keys",
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("commitment", "key_id", name=op.f("pk_payload_keys")),
        sqlite_with_rowid=False,
        comment="The data keys of values that concern several data subjects.",
    )
    op.create_index(op.f("ix_payload_keys_key_id"), "payload_keys", ["key_id"], unique=False)
    op.create_table(
        "data_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        _subject("bucket"),
        sa.Column("bucket", sa.String(length=32), nullable=False),
        sa.Column(
            "wrapped",
            sa.LargeBinary(),
            nullable=False,
            comment="nonce || AES-256-GCM(data key || subject), AAD = key_id.",
        ),
        sa.Column(
            "created_at",
            sa.Float(),
            nullable=False,
            comment="A key seals for a week, and opens until it is deleted.",
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_data_keys")),
        sqlite_with_rowid=False,
        comment="Data keys of data subjects, wrapped by bucket keys.",
    )
    op.create_index(op.f("ix_data_keys_subject_tenant"), "data_keys", ["subject", "tenant"], unique=False)
    op.create_index(op.f("ix_data_keys_bucket_key_id"), "data_keys", ["bucket", "key_id"], unique=False)
    op.create_table(
        "key_buckets",
        sa.Column("bucket", sa.String(length=32), nullable=False, comment="Epoch in which it was made, and slot."),
        sa.Column("epoch", sa.String(length=32), nullable=False, comment="By whose key it is wrapped now."),
        sa.Column(
            "wrapped",
            sa.LargeBinary(),
            nullable=False,
            comment="nonce || AES-256-GCM(bucket key), AAD = the rest.",
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_key_buckets")),
        sqlite_with_rowid=False,
        comment="Bucket keys, wrapped by an epoch key that is not in the database; audit.buckets.",
    )
    op.create_table(
        "key_epochs",
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_key_epochs")),
        sqlite_with_rowid=False,
        comment="Epochs that were begun since the first; whoever seals must have the key of the newest.",
    )


def _erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("requested_index", _INDEX, nullable=False, comment="Of the 'erasure requested' entry."),
        sa.Column("epoch", sa.String(length=32), nullable=True, comment="That was begun for it."),
        sa.Column("payloads", sa.Integer(), nullable=False, comment="Deleted so far."),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.Column("done_index", _INDEX, nullable=True, comment="Of the 'erasure done' entry."),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("pk_erasures")),
        comment="Erasures, under way and done. No row says of whom.",
    )
    op.create_index(op.f("ix_erasures_done_at"), "erasures", ["done_at"], unique=False)
    op.create_table(
        "erased_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("erasure_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_erased_keys")),
        sqlite_with_rowid=False,
        comment="Data keys that nobody may use any more; kept, so that one that is put back stays unused.",
    )
    op.create_index(op.f("ix_erased_keys_erasure_id"), "erased_keys", ["erasure_id"], unique=False)
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        _subject("epoch"),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column(
            "wrapped",
            sa.LargeBinary(),
            nullable=False,
            comment="nonce || AES-256-GCM(nothing || subject), AAD = hold_id.",
        ),
        sa.Column("code", sa.String(length=32), nullable=False, comment="Why: gateway.privacy.requests.HoldCode"),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False, comment="Pseudonym."),
        sa.Column("until", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_holds")),
        sqlite_with_rowid=False,
        comment="Legal holds: whose data must not be erased, and why.",
    )
    op.create_index(op.f("ix_holds_tenant"), "holds", ["tenant"], unique=False)
    op.create_index(op.f("ix_holds_epoch_hold_id"), "holds", ["epoch", "hold_id"], unique=False)


def _subject(key: str) -> sa.Column[str]:
    text = f"Keyed hash of the data subject, under the {key} key."
    return sa.Column("subject", sa.String(length=64), nullable=False, comment=text)
