"""The proofs over eight leaves that implementations of Certificate Transparency have shared since RFC 6962 (as in
transparency-dev/merkle, proof/verify_test.go), made by us from nodes and from tiles, and verified by both verifiers.
"""

import pytest
from handrail import merkle as client

from audit.errors import ProofInvalid
from audit.merkle import consistency, fold, inclusion, leaf_hash, verify_consistency, verify_inclusion
from audit.tiles import fold_from_tiles
from tests.audit.certificate_transparency import LEAVES, ROOTS

INCLUSION = [
    (1, 1, []),
    (1, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (6, 8, [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (2, 5, [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip
"""Number of the leaf, from 1; size of the tree; path."""
CONSISTENCY = [
    (1, 1, []),
    (1, 8, INCLUSION[1][2]),
    (6, 8, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 5, [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
    (6, 7, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
]  # fmt: skip
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def value(node):
    """A complete subtree's hash."""
    level, index = node
    return mth(HASHES[index << level : (index + 1) << level])


def mth(hashes):
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return client.node_hash(mth(hashes[:half]), mth(hashes[half:]))


def unhex(path):
    return [bytes.fromhex(one) for one in path]


@pytest.mark.parametrize(("leaf", "size", "published"), INCLUSION)
def test_inclusion(leaf, size, published):
    index, path, root = leaf - 1, unhex(published), bytes.fromhex(ROOTS[size])
    assert [fold([value(node) for node in part]) for part in inclusion(index, size)] == path
    assert fold_from_tiles(inclusion(index, size), size, lambda tile: b"".join(HASHES[: tile.width])) == path
    verify_inclusion(HASHES[index], index, size, path, root)
    client.verify_inclusion(client.leaf_hash(LEAVES[index]), index, size, path, root)
    for wrong in (path[:-1], [*path, bytes(32)], path[::-1] if len(path) > 1 else [bytes(32)]):
        if wrong != path:
            with pytest.raises(ProofInvalid):
                verify_inclusion(HASHES[index], index, size, wrong, root)


@pytest.mark.parametrize(("old", "new", "published"), CONSISTENCY)
def test_consistency(old, new, published):
    path, roots = unhex(published), (bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]))
    assert [fold([value(node) for node in part]) for part in consistency(old, new)] == path
    assert fold_from_tiles(consistency(old, new), new, lambda tile: b"".join(HASHES[: tile.width])) == path
    verify_consistency(old, new, path, *roots)
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, [*path, bytes(32)], *roots)
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, path, roots[0], bytes(32))
