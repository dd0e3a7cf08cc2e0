"""RFC 6962 section 2 mathematics: hashes, growth, and proofs. No database, network or clock.

A tree is kept as its *complete subtrees* alone: ``(level, index)`` names the subtree over the leaves
``[index << level, (index + 1) << level)``. A complete subtree never changes once it is full, so it can be stored in an
append-only table; the ragged right edge is folded from complete ones whenever a root or a proof needs it. Every proof
therefore reads O(log n) of them.
"""

from collections.abc import Iterator, Sequence

from audit.errors import ProofInvalid
from audit.verifier.tree import EMPTY_ROOT, HASH_BYTES, Node, fold, leaf_hash, node_hash, spans

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Frontier",
    "Node",
    "closed_by",
    "consistency",
    "cover",
    "fold",
    "inclusion",
    "last_leaf",
    "leaf_hash",
    "node_hash",
    "spans",
    "verify_consistency",
    "verify_inclusion",
]


def cover(start: int, end: int) -> tuple[Node, ...]:
    """The complete subtrees whose :func:`fold` is the hash of leaves ``[start, end)``, leftmost first.

    ``start`` must be a multiple of the smallest power of two that is not below ``end - start``, as every range that
    the recursion of section 2.1 produces is.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return tuple(nodes)


def last_leaf(node: Node) -> int:
    """The leaf that closes a complete subtree: its last one."""
    level, index = node
    return ((index + 1) << level) - 1


def closed_by(leaf: int) -> int:
    """How many complete subtrees of more than one leaf end with this leaf: its trailing one bits."""
    return (~leaf & (leaf + 1)).bit_length() - 1


class Frontier:
    """The right edge of a growing tree: one hash per complete subtree of :func:`cover` ``(0, size)``.

    Args:
        size: number of leaves.
        hashes: of ``cover(0, size)``, in that order.
    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError("a frontier has one hash per complete subtree")
        self.size = size
        self._hashes = list(hashes)

    def copy(self) -> "Frontier":
        """An independent copy, to try an append on."""
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add one leaf hash; returns the hashes of the complete subtrees that it closed, from level 1 upwards."""
        closed = []
        index, carry = self.size, leaf
        while index & 1:
            carry = node_hash(self._hashes.pop(), carry)
            index >>= 1
            closed.append(carry)
        self._hashes.append(carry)
        self.size += 1
        return closed

    def root(self) -> bytes:
        """Root of the tree so far."""
        return fold(self._hashes)


def inclusion(index: int, size: int) -> tuple[tuple[Node, ...], ...]:
    """PATH(index, D[size]) of section 2.1.1, leaf's sibling first: each element is the :func:`fold` of its nodes.

    Raises:
        ProofInvalid: where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ProofInvalid("no such leaf in a tree of that size")
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(cover(middle, end))
            end = middle
        else:
            path.append(cover(start, middle))
            start = middle
    return tuple(reversed(path))


def consistency(old: int, new: int) -> tuple[tuple[Node, ...], ...]:
    """PROOF(old, D[new]) of section 2.1.2: each element is the :func:`fold` of its nodes.

    Raises:
        ProofInvalid: unless ``0 < old <= new``.
    """
    if not 0 < old <= new:
        raise ProofInvalid("no consistency proof between such sizes")
    path = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(cover(middle, end))
            end = middle
        else:
            path.append(cover(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(cover(start, end))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` (a leaf hash) is at ``index`` of the tree of ``size`` with ``root`` (RFC 9162, 2.1.3.2).

    Raises:
        ProofInvalid: where it is not shown.
    """
    if not 0 <= index < size:
        raise ProofInvalid("no such leaf in a tree of that size")
    value = leaf
    for on_left, sibling in _climb(index, size - 1, proof):
        value = node_hash(sibling, value) if on_left else node_hash(value, sibling)
    if value != root:
        raise ProofInvalid("inclusion proof leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of ``new`` leaves extends that of ``old`` (RFC 9162, 2.1.4.2; the empty tree is a prefix of
    every tree and needs no proof).

    Raises:
        ProofInvalid: where it is not shown.
    """
    if not 0 <= old <= new:
        raise ProofInvalid("the tree shrank")
    if old in {0, new}:
        if proof:
            raise ProofInvalid("consistency proof too long")
        if old_root != (new_root if old == new else EMPTY_ROOT):
            raise ProofInvalid("roots of the same size differ")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofInvalid("consistency proof too short")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for on_left, sibling in _climb(position, last, path[1:]):
        if on_left:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    if before != old_root or after != new_root:
        raise ProofInvalid("consistency proof leads to other roots")


def _climb(position: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Each sibling on the way from ``position`` (of ``0..last`` on its level) to the root, and whether it is on the
    left. Raises ``ProofInvalid`` unless the proof has exactly the length of that way.
    """
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("proof too long")
        if position & 1 or position == last:
            yield True, sibling
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            yield False, sibling
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("proof too short")


def _split(count: int) -> int:
    """The largest power of two below ``count`` (section 2.1)."""
    return 1 << ((count - 1).bit_length() - 1)
