"""Files that hold one secret: what is not one line is refused, and never told."""

from pathlib import Path

import pytest

from gateway.secret_files import MAX_BYTES, read_secret
from gateway.settings import SettingsError


def test_the_line_is_the_secret_without_its_end(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"hunter2\r\n")
    assert read_secret(file, "it") == "hunter2"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hunter2 hunter2", b"hunter2\nhunter2\n", b"hunter2\xff", b"h\x00unter2 x", b"hunter2" * MAX_BYTES],
)
def test_what_is_not_one_line_is_refused_and_not_cut(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read_secret(file, "policy.it")
    assert "policy.it" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none: No such file"):
        read_secret(tmp_path / "none", "it")
