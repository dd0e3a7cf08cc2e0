"""What can be wrong with a log, and where."""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What can be wrong."""

    MISSING_ENTRY = "missing_entry"
    BODY = "body"
    """The body is not canonical JSON."""
    LEAF = "leaf"
    """The leaf hash is not the body's."""
    COLUMN = "column"
    """A query column differs from the body."""
    FIELDS = "fields"
    """The field commitments do not hash to the body's commitment."""
    NODE = "node"
    """A stored node is not the hash of its children."""
    MISSING_NODE = "missing_node"
    EXTRA_NODE = "extra_node"
    HEAD = "head"
    """Head size or root do not follow from the entries."""
    CHECKPOINT = "checkpoint"
    """A checkpoint is malformed, wrongly signed, or signs another root."""
    TRUNCATED = "truncated"
    """A checkpoint covers more entries than there are."""
    STORAGE = "storage"
    """SQLite finds its file damaged: pages, indexes or text."""
    INDEX = "index"
    """The inverted index does not follow from the entries."""
    RETENTION = "retention"
    """Entries are gone, or their hashes kept, and no entry of the log says that retention dropped them."""
    PAYLOAD = "payload"
    """A sealed value does not open its commitment, or is not with the entry and the keys that it was sealed for."""
    ERASURE = "erasure"
    """The record of an erasure is not what the log says of it."""
    COSIGNATURE = "cosignature"
    """A witness's cosignature is malformed, or none of the checkpoint that it stands with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        first: the first entry it concerns, ``None`` where it concerns none.
        last: the last entry it concerns.
    """

    fault: Fault
    detail: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        where = "" if self.first is None else f"entry {self.first}" if self.first == self.last else ""
        where = where or ("" if self.first is None else f"entries {self.first} to {self.last}")
        return f"{where}: {self.detail}" if where else self.detail
