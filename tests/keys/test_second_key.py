"""The key of the log's second signature in the key set: made where it is wanted, sealed, rotated, in no JWKS."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from gateway.canonical import b64url_decode
from gateway.ports import Purpose, Typ
from gateway.settings import KeySettings
from keys.algorithms import name
from keys.errors import KeyRefused, KeyUnavailable, SealBroken
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore
from keys.stores.master import MasterKey

ROOT = MasterKey(bytes(range(32)))
SECOND = Purpose.CHECKPOINT_PQ


def open_keyset(directory: Path, *, post_quantum: bool = True) -> Keyset:
    return Keyset(FileKeyStore(directory / "keys", ROOT), KeySettings(), post_quantum=post_quantum)


@pytest.fixture
def keyset(tmp_path: Path) -> Keyset:
    made = open_keyset(tmp_path)
    made.ensure()
    return made


def test_it_signs_raw_messages_and_no_jws(keyset: Keyset) -> None:
    signature = keyset.sign_raw(SECOND, b"m")
    public = MLDSA44PublicKey.from_public_bytes(b64url_decode(keyset.active_jwk(SECOND)["pub"]))
    public.verify(signature, b"m")
    assert len(signature) == 2420
    with pytest.raises(KeyUnavailable):
        keyset.sign(SECOND, Typ.RECEIPT, b"{}")


def test_it_is_in_no_jwks_because_verifiers_of_jws_know_ed25519_alone(keyset: Keyset) -> None:
    kids = {record.kid for record in keyset.list() if record.purpose is SECOND}
    assert len(kids) == 2
    for listed in (keyset.jwks(), keyset.trust_jwks()):
        assert not kids & {key["kid"] for key in listed["keys"]}


def test_it_survives_a_restart_a_rotation_and_a_revocation(keyset: Keyset, tmp_path: Path) -> None:
    before = keyset.active_jwk(SECOND)
    assert open_keyset(tmp_path).ensure() == []
    keyset.rotate(SECOND)
    again = open_keyset(tmp_path)
    again.reload()
    assert again.active_jwk(SECOND) != before
    assert len(again.public_bytes(SECOND)) == 3
    again.revoke(str(again.active_jwk(SECOND)["kid"]))
    assert len(again.sign_raw(SECOND, b"m")) == 2420


def test_a_gateway_that_signs_once_makes_none_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    once = open_keyset(tmp_path, post_quantum=False)
    once.ensure()
    assert once.public_bytes(SECOND) == []
    open_keyset(tmp_path).ensure()
    once.reload()
    assert len(once.public_bytes(SECOND)) == 2


def test_a_thumbprint_is_that_of_an_akp_key(keyset: Keyset) -> None:
    found = keyset.active_jwk(SECOND)
    assert (found["kty"], found["alg"]) == ("AKP", "ML-DSA-44")
    assert name(SECOND, b64url_decode(found["pub"])) == (found["kid"], found["pub"])
    with pytest.raises(KeyRefused):
        name(SECOND, bytes(1311))


def test_a_record_that_was_relabelled_as_the_other_algorithm_is_refused(keyset: Keyset, tmp_path: Path) -> None:
    [file, *_] = [
        path for path in (tmp_path / "keys").glob("*.json") if '"purpose":"checkpoint-pq"' in path.read_text()
    ]
    file.write_text(file.read_text().replace('"checkpoint-pq"', '"checkpoint"'))
    with pytest.raises(SealBroken):
        open_keyset(tmp_path).reload()
