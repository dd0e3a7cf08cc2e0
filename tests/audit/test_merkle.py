"""RFC 6962 section 2 against published vectors, and against a naive recursive reading of the RFC."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import ProofInvalid
from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    closed_by,
    consistency,
    cover,
    fold,
    inclusion,
    last_leaf,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.audit.certificate_transparency import LEAVES, ROOTS


def naive_root(entries):
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_path(m, entries):
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_consistency(m, entries, whole=True):
    if m == len(entries):
        return [] if whole else [naive_root(entries)]
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m <= k:
        return [*naive_consistency(m, entries[:k], whole), naive_root(entries[k:])]
    return [*naive_consistency(m - k, entries[k:], False), naive_root(entries[:k])]


def stored(entries):
    """Every complete subtree, as the log stores them."""
    found, edge = {}, Frontier()
    for index, entry in enumerate(entries):
        found[0, index] = leaf_hash(entry)
        closed = edge.append(leaf_hash(entry))
        assert len(closed) == closed_by(index)
        for level, value in enumerate(closed, 1):
            node = (level, index >> level)
            assert last_leaf(node) == index
            found[node] = value
    return found, edge


def proof(found, path):
    return [fold([found[node] for node in part]) for part in path]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    _, edge = stored(LEAVES[:size])
    assert edge.root().hex() == ROOTS[size]
    assert naive_root(LEAVES[:size]).hex() == ROOTS[size]


def test_published_inclusion_and_consistency_proofs():
    found, _ = stored(LEAVES)
    assert [value.hex() for value in proof(found, inclusion(5, 8))] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [value.hex() for value in proof(found, consistency(6, 8))] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@settings(max_examples=60)
@given(st.integers(1, 70), st.data())
def test_proofs_from_stored_nodes_are_the_recursive_ones(size, data):
    entries = [bytes([number]) for number in range(size)]
    found, edge = stored(entries)
    assert edge.root() == naive_root(entries) == fold([found[node] for node in cover(0, size)])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path = proof(found, inclusion(index, size))
    assert path == naive_path(index, entries)
    verify_inclusion(leaf_hash(entries[index]), index, size, path, edge.root())
    path = proof(found, consistency(old, size))
    assert path == naive_consistency(old, entries)
    verify_consistency(old, size, path, naive_root(entries[:old]), edge.root())


@settings(max_examples=80)
@given(st.integers(2, 70), st.data())
def test_any_changed_inclusion_proof_is_refused(size, data):
    entries = [bytes([number]) for number in range(size)]
    found, edge = stored(entries)
    index = data.draw(st.integers(0, size - 1))
    path, leaf = proof(found, inclusion(index, size)), leaf_hash(entries[index])
    where = data.draw(st.integers(0, len(path) - 1))
    flipped = [*path]
    flipped[where] = bytes([flipped[where][0] ^ 1]) + flipped[where][1:]
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    for arguments in (
        (leaf, index, size, flipped, edge.root()),
        (leaf, index, size, path[:-1], edge.root()),
        (leaf, index, size, [*path, path[0]], edge.root()),
        (leaf, other, size, path, edge.root()),
        (leaf_hash(b"other"), index, size, path, edge.root()),
        (leaf, size, size, path, edge.root()),
        (leaf, index, size, path, EMPTY_ROOT),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*arguments)


@settings(max_examples=80)
@given(st.integers(3, 70), st.data())
def test_any_changed_consistency_proof_is_refused(size, data):
    entries = [bytes([number]) for number in range(size)]
    found, edge = stored(entries)
    old = data.draw(st.integers(1, size - 1))
    path, old_root = proof(found, consistency(old, size)), naive_root(entries[:old])
    where = data.draw(st.integers(0, len(path) - 1))
    flipped = [*path]
    flipped[where] = bytes([flipped[where][0] ^ 1]) + flipped[where][1:]
    forked = naive_root([*entries[: old - 1], b"forked"])
    for arguments in (
        (old, size, flipped, old_root, edge.root()),
        (old, size, path[:-1], old_root, edge.root()),
        (old, size, [*path, path[0]], old_root, edge.root()),
        (old, size, path, forked, edge.root()),
        (old, size, path, old_root, forked),
        (size, old, path, edge.root(), old_root),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(*arguments)


def test_the_empty_tree_and_the_same_tree_need_no_proof():
    _, edge = stored(LEAVES)
    verify_consistency(0, 8, [], EMPTY_ROOT, edge.root())
    verify_consistency(8, 8, [], edge.root(), edge.root())
    for arguments in ((0, 8, [EMPTY_ROOT], EMPTY_ROOT, edge.root()), (8, 8, [], edge.root(), EMPTY_ROOT)):
        with pytest.raises(ProofInvalid):
            verify_consistency(*arguments)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_path_to_a_leaf_that_is_not_there(index, size):
    with pytest.raises(ProofInvalid):
        inclusion(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_there_is_no_proof_backwards(old, new):
    with pytest.raises(ProofInvalid):
        consistency(old, new)


def test_a_frontier_refuses_hashes_that_do_not_fit_its_size():
    with pytest.raises(ValueError, match="one hash"):
        Frontier(3, [EMPTY_ROOT])
