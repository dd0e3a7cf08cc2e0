"""Hashes and shapes of an RFC 6962 tree (section 2.1), and a tree that grows from leaves and complete subtrees.

A complete subtree is named ``(level, index)``: it stands over the leaves ``[index << level, (index + 1) << level)``.
Standard library only; the log (``audit.merkle``) and the stand-alone verifier share this module and nothing else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

Node = tuple[int, int]
"""``(level, index)`` of a complete subtree; level 0 are the leaves."""

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (section 2.1)."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Root over adjacent complete subtrees, leftmost (largest) first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def spans(start: int, end: int) -> Iterator[Node]:
    """The fewest complete subtrees that stand over the leaves ``[start, end)`` together, from left to right.

    At most two for each level, so 2 log2(end) of them. Where no leaf of the range is wanted, these are the nodes that
    an inclusion proof of the leaves around it needs, and no other.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


class Growth:
    """The root of a tree that is given from left to right, as leaves and complete subtrees. O(log n) memory."""

    __slots__ = ("_edge", "size")

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[tuple[int, bytes]] = []

    def add(self, level: int, value: bytes) -> None:
        """The complete subtree of ``1 << level`` leaves that comes next. Its place must be a multiple of that number,
        as :func:`spans` gives them.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("no complete subtree of that size begins here")
        self.size += 1 << level
        while self._edge and self._edge[-1][0] == level:
            value = node_hash(self._edge.pop()[1], value)
            level += 1
        self._edge.append((level, value))

    def root(self) -> bytes:
        """Root of what was given so far."""
        return fold([value for _, value in self._edge])
