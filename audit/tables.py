"""Tables of the log. ``entries`` and ``checkpoints`` only grow (triggers hold it); ``payloads`` and
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
    sqlite_with_rowid=False,
    comment="The inverted index of the log's entries.",
)

payloads: Final = Table(
    "payloads",
    metadata,
    Column("commitment", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(32), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(salt || value), AAD = commitment."),
    Column("created_at", Float, nullable=False),
    comment="Erasable values behind the commitments of entries.",
)

data_keys: Final = Table(
    "data_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(64), nullable=False, comment="Keyed hash of the data subject, under the epoch key."),
    Column("epoch", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False, comment="nonce || AES-256-GCM(data key || subject), AAD = key_id."),
    Index(None, "subject", "tenant"),
    sqlite_with_rowid=False,
    comment="One data key per data subject, wrapped by an epoch key that is not in the database.",
)
