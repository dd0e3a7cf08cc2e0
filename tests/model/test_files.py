"""Files are written whole or not at all, and over nothing unless it is meant; and read no further than expected."""

import contextlib
import errno
import io
import os
import stat
import threading
from pathlib import Path

import pytest

from gateway.files import NotRegular, TooLarge, bounded, read_bounded, reading, write, writing


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


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit_and_no_byte_further(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345" == read_bounded(file, 6)
    with pytest.raises(TooLarge) as refused:
        read_bounded(file, 4)
    assert (refused.value.strerror, refused.value.filename) == ("larger than 4 bytes", str(file))
    with pytest.raises(TooLarge, match="larger than 2 bytes: '-'"):
        bounded(io.BytesIO(b"123"), 2, "-")


def test_a_file_that_grows_while_it_is_read_is_still_bounded(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1")
    with reading(file) as stream:
        file.write_bytes(b"1" * 100)
        with pytest.raises(TooLarge):
            bounded(stream, 10, file)


def test_a_device_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(NotRegular):
        read_bounded(Path("/dev/zero"), 10)
    with pytest.raises(TooLarge):
        read_bounded(Path("/dev/zero"), 10, regular=False)


def test_a_pipe_is_waited_for_only_where_people_name_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NotRegular):
        read_bounded(pipe, 10)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"said"))
    writer.start()
    assert read_bounded(pipe, 10, regular=False) == b"said"
    writer.join()


def test_a_directory_is_no_file_either_way(tmp_path: Path) -> None:
    with pytest.raises(NotRegular):
        read_bounded(tmp_path, 10)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 10, regular=False)


def test_a_link_is_followed_only_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 10) == b"content"
    with pytest.raises(OSError, match="symbolic links") as refused:
        read_bounded(tmp_path / "link", 10, follow=False)
    assert refused.value.errno == errno.ELOOP


@pytest.mark.parametrize("how", ["no file", "no regular file", "a reader that fails"])
def test_reading_leaves_no_descriptor_open(tmp_path: Path, how: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (tmp_path / "file").write_bytes(b"content")
    with contextlib.suppress(OSError, ZeroDivisionError):
        if how == "a reader that fails":
            with reading(tmp_path / "file"):
                1 / 0  # noqa: B018
        read_bounded(tmp_path if how == "no regular file" else tmp_path / "absent", 10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
