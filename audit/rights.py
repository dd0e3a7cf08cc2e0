"""What the role (PostgreSQL) or the connections (SQLite) of a gateway may not do to what can be erased: to take it away
is the eraser's (``audit.eraser``), and marks of what was erased stay.
"""

from collections.abc import Mapping
from typing import Final

from audit.tables import data_keys, erasures, holds, key_buckets, payload_keys, payloads

ERASABLE: Final[Mapping[str, frozenset[str]]] = {
    payloads.name: frozenset({"UPDATE", "DELETE"}),
    payload_keys.name: frozenset({"UPDATE", "DELETE"}),
    data_keys.name: frozenset({"UPDATE", "DELETE"}),
    key_buckets.name: frozenset({"UPDATE", "DELETE"}),
    holds.name: frozenset({"UPDATE"}),
    erasures.name: frozenset({"DELETE"}),
}
"""Table -> what is withheld."""
