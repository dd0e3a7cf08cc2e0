"""Tables of the log. ``entries``, ``checkpoints`` and ``cosignatures`` only grow (triggers hold it); ``payloads`` and
``data_keys`` are the erasable side table. Nothing here cascades.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_INDEX: Final = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere; on SQLite it must be spelt INTEGER to be the row id itself."""

entries: Final = Table(
    "entries",
    metadata,
    Column("idx", _INDEX, primary_key=True, autoincrement=False, comment="Position in the log, from 0."),
    Column("tenant", String(64), nullable=False),
    Column("type", String(6), nullable=False, comment="gateway.entries.EntryType"),
    Column("time", String(24), nullable=False, comment="RFC 3339, UTC, milliseconds."),
    Column("context_id", String(128), nullable=True),
    Column("plan_id", String(64), nullable=True),
    Column("step_id", String(64), nullable=True),
    Column("principal", String(64), nullable=True, comment="Pseudonym."),
    Column("hand", String(64), nullable=True),
    Column("action", String(128), nullable=True),
    Column("effect", String(8), nullable=True),
    Column("reasons", Text, nullable=True, comment="JSON list of codes, where there are any."),
    Column("policy_digest", String(64), nullable=True),
    Column("body", LargeBinary, nullable=False, comment="RFC 8785 canonical JSON: what the leaf hashes."),
    Column(
        "hashes",
        LargeBinary,
        nullable=False,
        comment="Of the leaf, then of each complete subtree that it closes, from level 1 upwards; 32 bytes each.",
    ),
    Column("fields", Text, nullable=True, comment="JSON: field name -> commitment."),
    Index(None, "tenant", "context_id", "idx"),
    Index(None, "tenant", "type", "idx"),
    Index(None, "tenant", "principal", "idx"),
    Index(None, "plan_id", "idx"),
    Index(None, "time"),
    comment="The log. The body is the entry; every other column repeats it for queries or proofs.",
)

head: Final = Table(
    "head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="Always 1."),
    Column("tree_size", _INDEX, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("origin", String(128), nullable=False),
    comment="One row, moved by compare-and-swap.",
)

checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("tree_size", _INDEX, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False, comment="C2SP tlog-checkpoint."),
    comment="Signed checkpoints.",
)

cosignatures: Final = Table(
    "cosignatures",
    metadata,
    Column("tree_size", _INDEX, primary_key=True, autoincrement=False, comment="Of the checkpoint that was cosigned."),
    Column("witness", String(255), primary_key=True, comment="Name of the witness's key."),
    Column("key_id", String(8), primary_key=True, comment="Hex."),
    Column("time", BigInteger, primary_key=True, autoincrement=False, comment="Seconds since the epoch, as it says."),
    Column("line", Text, nullable=False, comment="C2SP tlog-cosignature: the signature line."),
    Index(None, "witness", "key_id", "time"),
    comment="What witnesses said of checkpoints.",
)

posting_blocks: Final = Table(
    "posting_blocks",
    metadata,
    Column("block", Integer, primary_key=True, autoincrement=False, comment="Number of the block, from 0."),
    Column("first_time", String(24), nullable=False, comment="The earliest time of its entries."),
    Column("last_time", String(24), nullable=False, comment="The latest time of its entries."),
    comment="Blocks of entries whose postings are made; audit.postings.",
)

postings: Final = Table(
    "postings",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("term", String(256), primary_key=True, comment="name:value, or * for every entry."),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("offsets", LargeBinary, nullable=False, comment="Which entries of the block carry the term."),
    Index(None, "block"),
    sqlite_with_rowid=False,
    comment="The inverted index of the log's entries.",
)

dropped_partitions: Final = Table(
    "dropped_partitions",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False, comment="Number of the partition, from 0."),
    Column("idx", _INDEX, nullable=False, comment="Of the 'retention applied' entry that says so."),
    comment="Partitions of the log whose entries may be deleted; audit.retention.",
)

retained_hashes: Final = Table(
    "retained_hashes",
    metadata,
    Column("tile", _INDEX, primary_key=True, autoincrement=False, comment="256 leaves, from 256 * tile."),
    Column("leaves", LargeBinary, nullable=False, comment="Their hashes, 32 bytes each."),
    Column("above", LargeBinary, nullable=False, comment="Of the subtrees of more leaves that the tile closes."),
    comment="What proves the rest of the tree where entries were dropped.",
)

payloads: Final = Table(
    "payloads",
    metadata,
    Column("commitment", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(32), nullable=False, index=True, comment="Data key, or the first of several."),
    Column("owners", SmallInteger, nullable=False, comment="Data subjects whose keys are all needed to open it."),
    Column("sealed", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(salt || value), AAD = commitment."),
    Column("idx", _INDEX, nullable=False, comment="Of the first entry that commits to it."),
    Column("created_at", Float, nullable=False),
    Index(None, "created_at"),
    comment="Erasable values behind the commitments of entries.",
)

payload_keys: Final = Table(
    "payload_keys",
    metadata,
    Column("commitment", String(64), nullable=False),
    Column("key_id", String(32), nullable=False, index=True),
    PrimaryKeyConstraint("commitment", "key_id"),
    sqlite_with_rowid=False,
    comment="The data keys of values that concern several data subjects.",
)

data_keys: Final = Table(
    "data_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(64), nullable=False, comment="Keyed hash of the data subject, under the bucket key."),
    Column("bucket", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(data key || subject), AAD = key_id."),
    Column("created_at", Float, nullable=False, comment="A key seals for a week, and opens until it is deleted."),
    Index(None, "subject", "tenant"),
    Index(None, "bucket", "key_id"),
    sqlite_with_rowid=False,
    comment="Data keys of data subjects, wrapped by bucket keys.",
)

key_buckets: Final = Table(
    "key_buckets",
    metadata,
    Column("bucket", String(32), primary_key=True, comment="Epoch in which it was made, and slot."),
    Column("epoch", String(32), nullable=False, comment="By whose key it is wrapped now."),
    Column("wrapped", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(bucket key), AAD = the rest."),
    Column("created_at", Float, nullable=False),
    sqlite_with_rowid=False,
    comment="Bucket keys, wrapped by an epoch key that is not in the database; audit.buckets.",
)

key_epochs: Final = Table(
    "key_epochs",
    metadata,
    Column("epoch", String(32), primary_key=True),
    Column("begun_at", Float, nullable=False),
    sqlite_with_rowid=False,
    comment="Epochs that were begun since the first; whoever seals must have the key of the newest.",
)

erasures: Final = Table(
    "erasures",
    metadata,
    Column("erasure_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("requested_by", String(64), nullable=False, comment="Pseudonym."),
    Column("requested_index", _INDEX, nullable=False, comment="Of the 'erasure requested' entry."),
    Column("epoch", String(32), nullable=True, comment="That was begun for it."),
    Column("payloads", Integer, nullable=False, comment="Deleted so far."),
    Column("done_at", Float, nullable=True),
    Column("done_index", _INDEX, nullable=True, comment="Of the 'erasure done' entry."),
    Index(None, "done_at"),
    comment="Erasures, under way and done. No row says of whom.",
)

erased_keys: Final = Table(
    "erased_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("erasure_id", String(32), nullable=False, index=True),
    sqlite_with_rowid=False,
    comment="Data keys that nobody may use any more; kept, so that one that is put back stays unused.",
)

holds: Final = Table(
    "holds",
    metadata,
    Column("hold_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(64), nullable=False, comment="Keyed hash of the data subject, under the epoch key."),
    Column("epoch", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(nothing || subject), AAD = hold_id."),
    Column("code", String(32), nullable=False, comment="Why: gateway.privacy.requests.HoldCode"),
    Column("set_at", Float, nullable=False),
    Column("set_by", String(64), nullable=False, comment="Pseudonym."),
    Column("until", Float, nullable=True),
    Index(None, "tenant"),
    Index(None, "epoch", "hold_id"),
    sqlite_with_rowid=False,
    comment="Legal holds: whose data must not be erased, and why.",
)
