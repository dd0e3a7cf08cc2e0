"""What every key store promises, and what somebody who holds its medium can do: nothing but take keys away."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.canonical import b64url_decode
from gateway.ports import Purpose
from gateway.settings import KeySettings
from keys.errors import KeyUnavailable, SealBroken
from keys.keyset import Keyset
from keys.rotation import KeyRecord, KeyState
from keys.stores import KeyStore, StoredKey
from tests.keys.stores.contract.backends import Backend
from tests.meta.tree import ROOT

MESSAGE = b"what is signed"


def make(backend: Backend, purpose: Purpose = Purpose.STEP) -> StoredKey:
    store = backend.open()
    with store.lock():
        return store.create(purpose, 1.0)


def move(store: KeyStore, record: KeyRecord, state: KeyState) -> KeyRecord:
    moved = replace(record, state=state)
    with store.lock():
        store.update(moved)
    return moved


def verify(key: StoredKey) -> None:
    assert key.sign is not None
    Ed25519PublicKey.from_public_bytes(b64url_decode(key.record.x)).verify(key.sign(MESSAGE), MESSAGE)


@contextmanager
def held_by_another_process(backend: Backend) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.keys.stores.contract.holder", json.dumps(backend.spec)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_next_and_signs_after_a_restart(backend: Backend) -> None:
    made = make(backend)
    verify(made)
    [key] = backend.open().load()
    assert key.record == made.record
    assert (key.record.state, key.record.purpose) == (KeyState.NEXT, Purpose.STEP)
    verify(key)


def test_a_new_state_is_seen_after_a_restart(backend: Backend) -> None:
    record = move(backend.open(), make(backend).record, KeyState.ACTIVE)
    [key] = backend.open().load()
    assert key.record == record
    verify(key)


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.REVOKED])
def test_the_private_half_of_a_key_that_is_done_is_gone(backend: Backend, state: KeyState) -> None:
    store = backend.open()
    record = move(store, make(backend).record, state)
    for opened in (store, backend.open()):
        [key] = opened.load()
        assert (key.record, key.sign) == (record, None)
    with pytest.raises(KeyUnavailable, match="destroyed"), store.lock():
        store.update(replace(record, state=KeyState.ACTIVE))
    assert store.load()[0].record == record


def test_a_record_does_not_take_over_another_purpose_or_key(backend: Backend) -> None:
    store, record, other = backend.open(), make(backend).record, make(backend).record
    for changed in (replace(record, purpose=Purpose.RECEIPT), replace(record, x=other.x)):
        with pytest.raises(SealBroken), store.lock():
            store.update(changed)


def test_a_key_that_is_not_there_is_not_updated(backend: Backend) -> None:
    record = replace(make(backend).record, kid="A" * 43)
    store = backend.open()
    with pytest.raises(KeyUnavailable), store.lock():
        store.update(record)


def test_a_keyset_lives_on_it(backend: Backend) -> None:
    keyset = Keyset(backend.open(), KeySettings())
    keyset.ensure()
    keyset.rotate(Purpose.RECEIPT)
    other = Keyset(backend.open(), KeySettings())
    other.reload()
    assert other.active_jwk(Purpose.RECEIPT) == keyset.active_jwk(Purpose.RECEIPT)


def test_a_revocation_reaches_another_process_at_its_next_tick(backend: Backend) -> None:
    first, second = (Keyset(backend.open(), KeySettings()) for _ in range(2))
    first.ensure()
    second.reload()
    bad = str(first.active_jwk(Purpose.STEP)["kid"])
    first.revoke(bad)
    second.tick()
    assert second.active_jwk(Purpose.STEP)["kid"] != bad
    assert bad not in {key["kid"] for key in second.jwks()["keys"]}


# --- changes by others -----------------------------------------------------------------------------------------------


def test_the_version_differs_after_every_change_and_after_no_look(backend: Backend) -> None:
    store, seen = backend.open(), [backend.open().version()]
    record = make(backend).record
    seen.append(store.version())
    for state in (KeyState.ACTIVE, KeyState.REVOKED):
        move(backend.open(), record, state)
        seen.append(store.version())
    assert len(set(seen)) == 4
    store.load()
    assert store.version() == seen[-1]


def test_a_lock_that_another_process_holds_is_given_up_on(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keys.stores.file.LOCK_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("keys.stores.database.LOCK_WAIT_SECONDS", 0.05)
    with held_by_another_process(backend), pytest.raises(KeyUnavailable, match="locked"), backend.open().lock():
        pass


def test_a_lock_dies_with_its_process(backend: Backend) -> None:
    with held_by_another_process(backend) as process:
        process.kill()
        process.wait()
        with backend.open().lock():  # waits for what the system needs to notice
            pass


def test_two_threads_do_not_share_a_lock(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keys.stores.file.LOCK_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("keys.stores.database.LOCK_WAIT_SECONDS", 0.05)
    store, refused = backend.open(), []

    def try_it() -> None:
        try:
            with store.lock():
                pass
        except KeyUnavailable as error:
            refused.append(error)

    with store.lock():
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(refused) == 1


@pytest.mark.parametrize("change", ["create", "active", "retired"])
def test_a_process_that_stops_anywhere_in_a_change_leaves_the_old_state_or_the_new(
    backend: Backend, change: str
) -> None:
    make(backend)
    command = [sys.executable, "-m", "tests.keys.stores.contract.crashing", json.dumps(backend.spec), change]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 10
    assert lines[-1]["done"]
    for line in lines:
        found = line["found"]
        assert all(signs is KeyState(state).private for _, state, signs in found)
        step = [state for purpose, state, _ in found if purpose == "step"]
        # Each run begins with what the one before left: a change that was done all the same is done again.
        assert step in ([["next"]] if change == "create" else [["next"], [change]])


# --- attacks ---------------------------------------------------------------------------------------------------------


def test_a_stolen_copy_holds_no_private_key(backend: Backend) -> None:
    made = make(backend)
    document = backend.documents()[made.record.kid].encode()
    _, kept = backend.open()._unseal(made.record.kid, document)  # type: ignore[attr-defined]
    half, stolen = kept[1], backend.stolen()
    raw = {"pkcs11": bytes.fromhex, "transit": str.encode, "aws-kms": str.encode}.get(kept[0], b64url_decode)(half)
    for secret in (half.encode(), raw, raw.hex().encode(), made.record.x.encode()):
        assert secret not in stolen
    assert len(stolen) > 100


def test_no_private_key_is_shown(backend: Backend) -> None:
    made = make(backend)
    [key] = backend.open().load()
    for one in (made, key):
        assert set(vars(type(one)).get("__slots__", ())) == {"record", "sign"}
        assert "sign" not in repr(one)


def test_another_root_opens_nothing(backend: Backend) -> None:
    make(backend)
    with pytest.raises(SealBroken, match="another root"):
        backend.open(root=bytes(32).hex()).load()


def test_every_changed_bit_of_a_record_is_found(backend: Backend) -> None:
    kid = make(backend).record.kid
    whole = backend.documents()[kid]
    document = json.loads(whole)
    for member in ("nonce", "sealed"):
        raw = bytearray(base64.urlsafe_b64decode(document[member] + "=="))
        for index in {0, len(raw) // 2, len(raw) - 1}:
            raw[index] ^= 1
            changed = base64.urlsafe_b64encode(raw).decode().rstrip("=")
            raw[index] ^= 1
            backend.put(kid, json.dumps({**document, member: changed}))
            with pytest.raises(SealBroken, match=kid):
                backend.open().load()
    backend.put(kid, whole)
    verify(backend.open().load()[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"purpose": "receipt"},
        {"v": 2},
        {"v": True},
        {"kid": "A" * 43},
        {"more": 1},
        {"nonce": ""},
        {"sealed": 1},
        {"purpose": None},
    ],
)
def test_a_relabelled_record_is_refused(backend: Backend, changed: dict[str, object]) -> None:
    kid = make(backend).record.kid
    backend.put(kid, json.dumps({**json.loads(backend.documents()[kid]), **changed}))
    with pytest.raises(SealBroken, match=kid):
        backend.open().load()


@pytest.mark.parametrize("garbage", ["", "{}", "[]", "null", "\u00e9", '{"v":1,"v":1}', "x" * 9000])
def test_garbage_in_place_of_a_record_is_refused(backend: Backend, garbage: str) -> None:
    kid = make(backend).record.kid
    backend.put(kid, garbage)
    with pytest.raises(SealBroken, match=kid):
        backend.open().load()


def test_one_key_in_the_place_of_another_is_refused(backend: Backend) -> None:
    first, second = make(backend).record.kid, make(backend).record.kid
    documents = backend.documents()
    backend.put(first, documents[second])
    with pytest.raises(SealBroken, match=first):
        backend.open().load()


def signing(stored: StoredKey) -> bytes:
    assert stored.sign is not None
    return stored.sign(b"m")


def test_a_revoked_key_that_was_put_back_is_refused_because_the_log_knows(backend: Backend) -> None:
    store, record = backend.open(), make(backend).record
    before = backend.documents()[record.kid]
    move(store, record, KeyState.REVOKED)
    backend.put(record.kid, before)
    told = backend.open()
    told._revoked = lambda: [("step", record.kid)]  # type: ignore[attr-defined]
    with pytest.raises(SealBroken, match="older copy"):
        told.load()
    told._revoked = lambda: [("receipt", record.kid)]  # type: ignore[attr-defined] # another purpose's revocation
    if backend.spec["kind"] in {"pkcs11", "transit", "aws-kms"}:
        with pytest.raises(
            KeyUnavailable, match=r"not in it|not there|PendingDeletion"
        ):  # what was destroyed is gone whatever a record says
            signing(told.load()[0])
    else:
        told.load()


def test_a_store_that_is_gone_is_unavailable_for_everything(backend: Backend) -> None:
    store, record = backend.open(), make(backend).record
    with store.lock():
        backend.take_away()
        for act in (
            store.load,
            store.version,
            lambda: store.create(Purpose.STEP, 1.0),
            lambda: store.update(record),
        ):
            with pytest.raises(KeyUnavailable):
                act()
