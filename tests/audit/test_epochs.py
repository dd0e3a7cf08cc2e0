"""Epoch keys: outside the database, sealed, and gone when destroyed."""

import os
import stat

import pytest

from audit.epochs import EpochKeys
from audit.errors import SealBroken


def test_a_key_is_made_once_kept_and_closed_to_others(tmp_path):
    master = os.urandom(32)
    epoch, key = EpochKeys(tmp_path / "e", master).current()
    assert EpochKeys(tmp_path / "e", master).current() == (epoch, key)
    file = tmp_path / "e" / f"{epoch}.epoch"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert key not in file.read_bytes()
    assert list(file.parent.iterdir()) == [file]


def test_another_master_key_opens_nothing(tmp_path):
    epoch, _ = EpochKeys(tmp_path, os.urandom(32)).current()
    with pytest.raises(SealBroken):
        EpochKeys(tmp_path, os.urandom(32)).get(epoch)
    with pytest.raises(SealBroken):
        EpochKeys(tmp_path, b"short")


@pytest.mark.parametrize("at", [0, 12, 30, -1])
def test_a_changed_key_file_is_refused(tmp_path, at):
    master = os.urandom(32)
    epoch, _ = EpochKeys(tmp_path, master).current()
    file = tmp_path / f"{epoch}.epoch"
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)
    with pytest.raises(SealBroken):
        EpochKeys(tmp_path, master).current()


def test_a_key_file_under_another_epochs_name_is_refused(tmp_path):
    master = os.urandom(32)
    keys = EpochKeys(tmp_path, master)
    first, _ = keys.current()
    second = keys.rotate()
    (tmp_path / f"{first}.epoch").rename(tmp_path / f"{second}.epoch")
    with pytest.raises(SealBroken):
        EpochKeys(tmp_path, master).get(second)


def test_a_destroyed_key_is_gone_and_the_current_one_cannot_be(tmp_path):
    master = os.urandom(32)
    keys = EpochKeys(tmp_path, master)
    first, key = keys.current()
    with pytest.raises(SealBroken):
        keys.destroy(first)
    second = keys.rotate()
    assert keys.current()[0] == second > first
    assert keys.get(first) == key
    keys.destroy(first)
    assert keys.get(first) is None
    assert EpochKeys(tmp_path, master).get(first) is None
    with pytest.raises(SealBroken):
        keys.destroy(first)


def test_a_directory_that_cannot_be_used_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SealBroken):
        EpochKeys(tmp_path / "file", os.urandom(32)).current()
