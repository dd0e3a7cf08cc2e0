"""Inclusion in an RFC 6962 Merkle tree. Pure: hashes in, an answer or an exception out."""

import hashlib
from collections.abc import Sequence
from typing import Final

from handrail.errors import MalformedError

HASH_BYTES: Final = 32


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry) (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` is number ``index`` of the tree of ``size`` leaves with that ``root``.

    RFC 9162 section 2.1.3.2; ``path`` runs from the leaf's sibling to the child of the root.

    Raises:
        MalformedError: where the index is outside the tree, the path has a wrong length, or the root differs.
    """
    if not 0 <= index < size:
        raise MalformedError(f"entry {index} is not in a tree of {size} entries")
    if any(len(item) != HASH_BYTES for item in path):
        raise MalformedError("a hash of the proof is not 32 bytes long")
    position, last, computed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise MalformedError("the proof has more hashes than the tree is high")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise MalformedError("the proof has fewer hashes than the tree is high")
    if computed != root:
        raise MalformedError("the proof leads to another root than the checkpoint's")
