"""What the role (PostgreSQL) or the connections (SQLite) of a gateway may not do, although no trigger stops it.

To take away what can be erased is the eraser's (``audit.eraser``), and to let go of what retention drops is the owner's
(``audit.retention``). Marks of both stay.
"""

from collections.abc import Mapping
from typing import Final

from audit.tables import (
    data_keys,
    dropped_partitions,
    entries,
    erasures,
    holds,
    key_buckets,
    payload_keys,
    payloads,
    posting_blocks,
    postings,
    retained_hashes,
)

ERASABLE: Final[Mapping[str, frozenset[str]]] = {
    payloads.name: frozenset({"UPDATE", "DELETE"}),
    payload_keys.name: frozenset({"UPDATE", "DELETE"}),
    data_keys.name: frozenset({"UPDATE", "DELETE"}),
    key_buckets.name: frozenset({"UPDATE", "DELETE"}),
    holds.name: frozenset({"UPDATE"}),
    erasures.name: frozenset({"DELETE"}),
}
"""Table -> what is withheld."""

DROPPABLE: Final[Mapping[str, frozenset[str]]] = {
    dropped_partitions.name: frozenset({"INSERT", "UPDATE", "DELETE"}),
    retained_hashes.name: frozenset({"INSERT", "UPDATE", "DELETE"}),
    entries.name: frozenset({"DELETE"}),
    postings.name: frozenset({"DELETE"}),
    posting_blocks.name: frozenset({"DELETE"}),
}
"""Table -> what is withheld from all but the owner."""
