"""Keys at rest: what somebody who can touch the files, but has no master key, can do. Nothing."""

import fcntl
import itertools
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ports import Purpose
from keys.errors import KeyUnavailable, MasterKeyUnsafe, SealBroken
from keys.rotation import KeyRecord, KeyState
from keys.stores import file as file_store
from keys.stores import halves
from keys.stores.file import FileKeyStore
from keys.stores.master import MasterKey

MASTER = MasterKey(bytes(range(32)))
NOW = 1_800_000_000.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(directory: Path) -> FileKeyStore:
    return FileKeyStore(directory, MASTER)


def make(store: FileKeyStore, purpose: Purpose = Purpose.STEP) -> KeyRecord:
    with store.lock():
        return store.create(purpose, NOW).record


def edit(path: Path, **members: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_a_key_survives_a_restart(store: FileKeyStore, directory: Path) -> None:
    record = make(store)
    [key] = FileKeyStore(directory, MASTER).load()
    assert key.record == record
    assert key.sign is not None
    assert len(key.sign(b"m")) == 64


def test_no_private_key_lies_in_the_file_or_in_a_repr(store: FileKeyStore, directory: Path, monkeypatch: Any) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"S" * 32)

    class Fixed:
        @staticmethod
        def generate() -> Ed25519PrivateKey:
            return private

    monkeypatch.setattr(halves, "Ed25519PrivateKey", Fixed)
    with store.lock():
        key = store.create(Purpose.STEP, NOW)
    text = (directory / f"{key.record.kid}.json").read_text()
    for secret in ("S" * 8, "U1NTU1NT", (b"S" * 32).hex()):
        assert secret not in text
    assert "sign" not in repr(key)
    assert "00010203" not in repr(MASTER)
    with pytest.raises(TypeError):
        pickle.dumps(MASTER)


def test_files_are_for_the_owner_alone(store: FileKeyStore, directory: Path) -> None:
    record = make(store)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / f"{record.kid}.json").stat().st_mode & 0o777 == 0o600


def test_two_writes_never_share_a_nonce(store: FileKeyStore, directory: Path) -> None:
    record = make(store)
    path = directory / f"{record.kid}.json"
    nonces = set()
    for _ in range(5):
        nonces.add(json.loads(path.read_text())["nonce"])
        with store.lock():
            store.update(record)
    assert len(nonces) == 5


@pytest.mark.parametrize("member", ["sealed", "nonce"])
def test_one_flipped_bit_is_found_and_the_file_named(store: FileKeyStore, directory: Path, member: str) -> None:
    record = make(store)
    path = directory / f"{record.kid}.json"
    text = json.loads(path.read_text())[member]
    edit(path, **{member: ("B" if text[0] != "B" else "C") + text[1:]})
    with pytest.raises(SealBroken, match=record.kid):
        store.load()


def test_purpose_cannot_be_edited(store: FileKeyStore, directory: Path) -> None:
    record = make(store)
    edit(directory / f"{record.kid}.json", purpose="receipt")
    with pytest.raises(SealBroken):
        store.load()


def test_file_renamed_to_another_key_is_refused(store: FileKeyStore, directory: Path) -> None:
    first, second = make(store), make(store)
    (directory / f"{first.kid}.json").rename(directory / f"{second.kid}.json")
    with pytest.raises(SealBroken, match=second.kid):
        store.load()


def test_file_renamed_and_relabelled_as_another_key_is_refused(store: FileKeyStore, directory: Path) -> None:
    first, second = make(store), make(store)
    edit(directory / f"{first.kid}.json", kid=second.kid)
    (directory / f"{first.kid}.json").rename(directory / f"{second.kid}.json")
    with pytest.raises(SealBroken, match="changed, moved"):
        store.load()


def test_state_is_under_the_seal(store: FileKeyStore, directory: Path) -> None:
    record = make(store)
    document = json.loads((directory / f"{record.kid}.json").read_text())
    assert document.keys() == {"v", "kid", "purpose", "nonce", "sealed"}


@pytest.mark.parametrize("version", [0, 2, "1", True, None])
def test_another_version_is_refused(store: FileKeyStore, directory: Path, version: Any) -> None:
    record = make(store)
    edit(directory / f"{record.kid}.json", v=version)
    with pytest.raises(SealBroken):
        store.load()


def test_wrong_master_key_opens_nothing(store: FileKeyStore, directory: Path) -> None:
    make(store)
    with pytest.raises(SealBroken, match="another root"):
        FileKeyStore(directory, MasterKey(bytes(32))).load()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"v":1,"v":1}', b"{" * 100, b"x" * 9000])
def test_corrupted_file_is_loud(store: FileKeyStore, directory: Path, content: bytes) -> None:
    record = make(store)
    (directory / f"{record.kid}.json").write_bytes(content)
    with pytest.raises(SealBroken):
        store.load()


@pytest.mark.parametrize("name", ["notes.txt", "old.json", "key.json.bak", ".tmp-x", "backup"])
def test_foreign_file_is_loud(store: FileKeyStore, directory: Path, name: str) -> None:
    make(store)
    (directory / name).touch(mode=0o600)
    with pytest.raises(SealBroken, match="nothing else belongs here"):
        store.load()


def test_symbolic_link_in_place_of_a_key_is_not_followed(store: FileKeyStore, directory: Path, tmp_path: Path) -> None:
    record = make(store)
    path = directory / f"{record.kid}.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyUnavailable):
        store.load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_file_open_to_others_is_refused(store: FileKeyStore, directory: Path, mode: int) -> None:
    record = make(store)
    (directory / f"{record.kid}.json").chmod(mode)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        store.load()


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_directory_open_to_others_is_refused(directory: Path, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(KeyUnavailable, match="chmod 700"):
        FileKeyStore(directory, MASTER)


def test_crash_before_the_rename_leaves_the_old_record_and_is_swept(
    store: FileKeyStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make(store)

    def crash(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # whoever is killed cleans nothing up
        with pytest.raises(KeyboardInterrupt), store.lock():
            store.update(KeyRecord(record.kid, record.purpose, record.x, KeyState.ACTIVE, NOW, activated_at=NOW))
    assert len(list(directory.glob(".*.json.*"))) == 1
    [key] = store.load()
    assert key.record == record
    with store.lock():
        assert list(directory.glob(".*.json.*")) == []


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.REVOKED])
def test_private_half_is_destroyed_when_a_key_is_done(store: FileKeyStore, state: KeyState) -> None:
    record = make(store)
    done = KeyRecord(record.kid, record.purpose, record.x, state, NOW)
    with store.lock():
        store.update(done)
    [key] = store.load()
    assert (key.record, key.sign) == (done, None)
    revived = KeyRecord(record.kid, record.purpose, record.x, KeyState.ACTIVE, NOW)
    with store.lock(), pytest.raises(SealBroken, match="destroyed"):
        store.update(revived)
    assert store.load()[0].record == done


def test_record_cannot_take_over_another_keys_purpose(store: FileKeyStore) -> None:
    record = make(store)
    with store.lock(), pytest.raises(SealBroken):
        store.update(KeyRecord(record.kid, Purpose.RECEIPT, record.x, record.state, NOW))


def test_directory_that_is_none_or_is_gone_is_unavailable(store: FileKeyStore, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyUnavailable):
        FileKeyStore(tmp_path / "file", MASTER)
    record = make(store)
    for path in directory.iterdir():
        path.unlink()
    with pytest.raises(KeyUnavailable), store.lock():
        store.update(record)
    directory.joinpath(".lock").unlink()
    directory.rmdir()
    for use in (store.load, lambda: make(store)):
        with pytest.raises(KeyUnavailable):
            use()


def test_version_differs_after_every_change(store: FileKeyStore) -> None:
    seen = [store.version()]
    record = make(store)
    for _ in range(20):
        seen.append(store.version())
        with store.lock():
            store.update(record)
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert store.version() == store.version()


def test_lock_held_by_another_process_is_waited_for_and_then_given_up(
    store: FileKeyStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "LOCK_WAIT_SECONDS", 0.0)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(KeyUnavailable, match="another process"), store.lock():
            pytest.fail("two holders")
    finally:
        os.close(descriptor)
    with store.lock():
        pass


# --- the master key --------------------------------------------------------------------------------------------------


def test_master_key_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "master.key"
    first = MasterKey.load(path, {})
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().strip()) == 64
    assert MasterKey.load(path, {}).derive("x") == first.derive("x")
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_environment_wins_over_the_file_and_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    loaded = MasterKey.load(path, {"HANDRAIL_MASTER_KEY": bytes(range(32)).hex()})
    assert loaded.derive("x") == MASTER.derive("x")
    assert not path.exists()


def test_each_use_has_its_own_key() -> None:
    assert MASTER.derive("a") != MASTER.derive("b")
    assert bytes(range(32)) not in (MASTER.derive("a"), MASTER.derive("b"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_master_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    MasterKey.load(path, {})
    path.chmod(mode)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        MasterKey.load(path, {})


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "0" * 500])
def test_malformed_master_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    for environment in ({}, {"HANDRAIL_MASTER_KEY": text}):
        with pytest.raises(MasterKeyUnsafe) as refusal:
            MasterKey.load(path, environment)
        assert not text or text not in str(refusal.value)


def test_master_key_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    os.mkfifo(path, 0o600)
    with pytest.raises(MasterKeyUnsafe, match="regular"):
        MasterKey.load(path, {})


def test_two_processes_making_the_master_key_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process links its file between our look and our link."""
    path = tmp_path / "master.key"
    theirs = "11" * 32
    link = os.link

    def late(source: Any, target: Any) -> None:
        Path(target).write_text(theirs)
        Path(target).chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert MasterKey.load(path, {}).derive("x") == MasterKey(bytes.fromhex(theirs)).derive("x")
