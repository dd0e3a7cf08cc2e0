"""The data root and the change of its master key: what stops half-way, and what an old or wrong master key opens."""

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway import files
from gateway.ports import Purpose
from keys.errors import KeyUnavailable, SealBroken
from keys.stores.file import FileKeyStore
from keys.stores.master import PREVIOUS, MasterKey
from keys.stores.root import DataRoot, Wrappers, make_root, open_root, rewrap

OLD, NEW, OTHER = (MasterKey(bytes([n]) * 32) for n in (1, 2, 3))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make_root(tmp_path / "root.key", OLD)
    return tmp_path / "root.key"


def test_a_root_is_random_and_not_the_master_keys(tmp_path: Path) -> None:
    roots = [make_root(tmp_path / name, OLD) for name in ("a", "b")]
    assert len({root.derive("x") for root in (*roots, OLD)}) == 3
    assert roots[0].derive("x") != roots[0].derive("y")


def test_a_root_survives_a_restart_and_is_the_owners_alone(file: Path) -> None:
    assert open_root(file, Wrappers(OLD)).derive("x") == open_root(file, Wrappers(OLD)).derive("x")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_root_is_not_shown_or_serialised(file: Path) -> None:
    root = open_root(file, Wrappers(OLD))
    assert root._secret.hex() not in repr(root)
    assert root._secret not in file.read_bytes()
    with pytest.raises(TypeError):
        pickle.dumps(root)


def test_two_processes_making_a_root_agree(file: Path) -> None:
    assert make_root(file, OLD).derive("x") == open_root(file, Wrappers(OLD)).derive("x")


def test_after_the_change_the_old_master_key_opens_nothing_and_every_seal_holds(file: Path, tmp_path: Path) -> None:
    before = open_root(file, Wrappers(OLD))
    store = FileKeyStore(tmp_path / "keys", before)
    with store.lock():
        made = store.create(Purpose.STEP, 1.0)
    sealed = (tmp_path / "keys" / f"{made.record.kid}.json").read_bytes()
    changed = rewrap(file, Wrappers(NEW, OLD))
    assert changed is not None
    assert (changed.id, changed.generation) == (before.id, 2)
    with pytest.raises(SealBroken, match="another master key"):
        open_root(file, Wrappers(OLD))
    again = open_root(file, Wrappers(NEW))
    assert again.derive("x") == before.derive("x")
    [key] = FileKeyStore(tmp_path / "keys", again).load()
    assert key.record == made.record
    assert (tmp_path / "keys" / f"{made.record.kid}.json").read_bytes() == sealed


def test_during_the_change_either_master_key_opens_it_wherever_the_change_is(file: Path) -> None:
    derived = open_root(file, Wrappers(OLD)).derive("x")
    assert open_root(file, Wrappers(NEW, OLD)).derive("x") == derived
    assert open_root(file, Wrappers(OLD, NEW)).derive("x") == derived
    rewrap(file, Wrappers(NEW, OLD))
    assert open_root(file, Wrappers(NEW, OLD)).derive("x") == derived
    assert open_root(file, Wrappers(OLD, NEW)).derive("x") == derived


def test_a_second_rewrap_changes_nothing(file: Path) -> None:
    rewrap(file, Wrappers(NEW, OLD))
    before = file.read_bytes()
    assert rewrap(file, Wrappers(NEW, OLD)) is None
    assert rewrap(file, Wrappers(NEW)) is None
    assert file.read_bytes() == before


def test_two_master_keys_that_are_both_wrong_open_nothing_and_change_nothing(file: Path) -> None:
    before = file.read_bytes()
    for act in (open_root, rewrap):
        with pytest.raises(SealBroken, match=PREVIOUS):
            act(file, Wrappers(NEW, OTHER))
    assert file.read_bytes() == before


class _Stop(BaseException):
    """What no handler takes for an error: the process is gone."""


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "unlink"])
@pytest.mark.parametrize("after", [False, True])
def test_a_stop_at_any_call_leaves_the_root_whole_under_one_of_the_two(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    derived, inner = open_root(file, Wrappers(OLD)).derive("x"), None

    def stop(*arguments: object, **named: object) -> object:
        if not after:
            raise _Stop
        assert inner is not None
        inner(*arguments, **named)
        raise _Stop

    if call in {"replace", "unlink"}:
        inner = getattr(Path, call)
        monkeypatch.setattr(Path, call, stop)
    else:
        inner = getattr(os, call)
        monkeypatch.setattr(files.os, call, stop)
    with pytest.raises(_Stop):
        rewrap(file, Wrappers(NEW, OLD))
    monkeypatch.undo()
    assert open_root(file, Wrappers(NEW, OLD)).derive("x") == derived
    opened = []
    for master in (OLD, NEW):
        try:
            open_root(file, Wrappers(master))
        except SealBroken:
            continue
        opened.append(master)
    assert len(opened) == 1
    assert (rewrap(file, Wrappers(NEW, OLD)) is None) == (opened == [NEW])
    assert open_root(file, Wrappers(NEW)).derive("x") == derived


def test_a_full_disk_leaves_the_root_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(KeyUnavailable, match="No space"):
        rewrap(file, Wrappers(NEW, OLD))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 1},
        {"v": 3},
        {"v": True},
        {"id": "0" * 16},
        {"id": 1},
        {"id": "x"},
        {"generation": 2},
        {"generation": True},
        {"by": "transit"},
        {"by": 1},
        {"by": "\u00e9"},
        {"wrapped": "AAAA"},
        {"wrapped": "A" * 82},
        {"wrapped": "="},
        {"wrapped": ""},
        {"wrapped": 1},
        {"more": 1},
    ],
)
def test_a_changed_root_is_refused(file: Path, changed: dict[str, object]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(SealBroken):
        open_root(file, Wrappers(OLD))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b"x" * 2000])
def test_what_is_no_root_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SealBroken, match="not a data root"):
        open_root(file, Wrappers(OLD))


def test_a_root_that_others_can_read_is_refused(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        open_root(file, Wrappers(OLD))


def test_a_link_to_a_root_is_followed_and_judged_by_its_end(file: Path) -> None:
    """As Kubernetes mounts secrets; ``master.key`` is read by the same rule."""
    derived = open_root(file, Wrappers(OLD)).derive("x")
    end = file.with_name("elsewhere")
    file.rename(end)
    file.symlink_to("elsewhere")
    assert open_root(file, Wrappers(OLD)).derive("x") == derived
    end.chmod(0o644)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        open_root(file, Wrappers(OLD))


def test_a_rewrap_through_a_link_leaves_no_old_wrapping_at_its_end(file: Path) -> None:
    end = file.with_name("elsewhere")
    file.rename(end)
    file.symlink_to("elsewhere")
    assert rewrap(file, Wrappers(NEW, OLD)) is not None
    assert file.is_symlink()
    with pytest.raises(SealBroken):
        open_root(end, Wrappers(OLD))
    open_root(end, Wrappers(NEW))


def test_a_pipe_in_place_of_a_root_is_not_waited_for(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(SealBroken, match="not a data root"):
        open_root(file, Wrappers(OLD))


class _Liar:
    """A service that wraps, and opens to something else."""

    kind = place = "liar"

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        return "x"

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> bytes:
        return bytes(32)

    def is_newest(self, wrapped: str) -> bool:
        return True


def test_a_service_that_does_not_open_what_it_wrapped_gets_no_root(file: Path, tmp_path: Path) -> None:
    """Else the only wrapping of the root would be one that nobody opens."""
    before = file.read_bytes()
    with pytest.raises(KeyUnavailable, match="nothing was changed"):
        rewrap(file, Wrappers(_Liar(), OLD))
    assert file.read_bytes() == before
    with pytest.raises(KeyUnavailable, match="no root was made"):
        make_root(tmp_path / "new.key", _Liar())
    assert not (tmp_path / "new.key").exists()


@pytest.mark.parametrize("member", ["id", "generation"])
def test_a_wrapping_is_bound_to_the_name_and_number_of_the_root(file: Path, member: str) -> None:
    document = json.loads(file.read_text())
    document[member] = {"id": "0" * 16, "generation": 2}[member]
    file.write_text(json.dumps(document))
    with pytest.raises(SealBroken, match="does not open it"):
        open_root(file, Wrappers(OLD))


def test_a_root_of_another_length_is_none() -> None:
    with pytest.raises(SealBroken):
        DataRoot(bytes(31), "0" * 16, 1)
