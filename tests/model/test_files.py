"""Files are written whole or not at all, and over nothing unless it is meant."""

import os
import stat
from pathlib import Path

import pytest

from gateway.files import write, writing


@pytest.mark.parametrize("replace", [False, True])
def test_a_new_file_is_there_whole_and_its_owners_alone(tmp_path: Path, replace: bool) -> None:
    file = tmp_path / "new"
    write(file, b"content", replace=replace)
    assert file.read_bytes() == b"content"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_public_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new", b"", replace=False, private=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_an_existing_file_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"old")
    file.chmod(0o644)
    with pytest.raises(FileExistsError):
        write(file, b"new", replace=False)
    assert file.read_bytes() == b"old"
    write(file, b"new", replace=True)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_came_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "raced"

    def race() -> None:
        with writing(file, replace=False) as stream:
            stream.write(b"mine")
            file.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        race()
    assert file.read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["raced"]


@pytest.mark.parametrize("replace", [False, True])
def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path, replace: bool) -> None:
    file = tmp_path / "half"
    if replace:
        file.write_bytes(b"old")

    def fail() -> None:
        with writing(file, replace=replace) as stream:
            stream.write(b"half of it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if replace else [])


@pytest.mark.parametrize("replace", [False, True])
def test_what_a_planted_link_points_to_is_never_written(tmp_path: Path, replace: bool) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    if replace:
        write(link, b"new", replace=True)
        assert not link.is_symlink()
    else:
        with pytest.raises(FileExistsError):
            write(link, b"new", replace=False)
    assert victim.read_bytes() == b"precious"


def test_a_link_to_nowhere_is_in_the_way_too(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write(link, b"new", replace=False)
    assert not (tmp_path / "nowhere").exists()
