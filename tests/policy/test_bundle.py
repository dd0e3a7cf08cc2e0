"""What a bundle directory may hold, and what its digest stands for."""

import os
from pathlib import Path

import pytest

from gateway.policy import bundle
from gateway.policy.faults import BundleError
from tests.policy.support import DENY_ALL, write


def problems(directory: Path) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundle.load(directory)
    return [str(problem) for problem in caught.value.problems]


def test_tests_and_other_files_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": DENY_ALL, "a_test.rego": "package x", "README.md": "x", ".hidden/b.rego": "broken"})
    loaded = bundle.load(tmp_path)
    assert [module.path for module in loaded.modules] == ["a.rego"]
    assert [path for path, _ in loaded.files] == ["a.rego"]


def test_data_stands_at_the_path_of_its_directory(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": DENY_ALL, "handrail/x/data.json": '{"n": 1}', "handrail/data.json": '{"m": 2}'})
    assert bundle.load(tmp_path).data == {"handrail": {"x": {"n": 1}, "m": 2}}


def test_any_changed_byte_and_any_moved_file_changes_the_digest(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": DENY_ALL, "handrail/data.json": '{"m": 2}'})
    before = bundle.load(tmp_path).digest
    assert bundle.load(tmp_path).digest == before
    write(tmp_path, {"handrail/data.json": '{"m": 2} '})
    spaced = bundle.load(tmp_path).digest
    (tmp_path / "a.rego").rename(tmp_path / "b.rego")
    assert len({before, spaced, bundle.load(tmp_path).digest}) == 3


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"evil.rego": DENY_ALL})
    inside = write(tmp_path / "inside", {"a.rego": DENY_ALL})
    (inside / "evil.rego").symlink_to(outside / "evil.rego")
    (inside / "more").symlink_to(outside, target_is_directory=True)
    assert problems(inside) == ["evil.rego: links out of the bundle", "more: links out of the bundle"]


def test_links_inside_work_as_a_kubernetes_volume_has_them(tmp_path: Path) -> None:
    write(tmp_path, {"..2026/a.rego": DENY_ALL})
    (tmp_path / "..data").symlink_to("..2026", target_is_directory=True)
    (tmp_path / "a.rego").symlink_to("..data/a.rego")
    assert [module.path for module in bundle.load(tmp_path).modules] == ["a.rego"]


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": DENY_ALL})
    (tmp_path / "again").symlink_to(".", target_is_directory=True)
    assert problems(tmp_path) == ["again: links to a directory that the bundle already holds"]


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": DENY_ALL})
    os.mkfifo(tmp_path / "b.rego")
    assert problems(tmp_path) == ["b.rego: not a regular file"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.rego": DENY_ALL, "handrail/data.json": '{"a": 1, "a": 2}'}, "handrail/data.json: not strict JSON"),
        ({"a.rego": DENY_ALL, "handrail/data.json": "[1]"}, "handrail/data.json: data must be a JSON object"),
        ({"a.rego": DENY_ALL, "handrail/data.yaml": "a: 1"}, "handrail/data.yaml: data must be JSON here"),
        ({"a.rego": DENY_ALL, "other/data.json": "{}"}, "other/data.json: data outside data.handrail"),
        ({"a.rego": DENY_ALL, "data.json": '{"system": {}}'}, "data.json: data outside data.handrail"),
        (
            {"a.rego": DENY_ALL, "handrail/data.json": '{"x": {"n": 1}}', "handrail/x/data.json": '{"n": 2}'},
            "handrail/x/data.json: sets data that another file",
        ),
        ({"a.rego": "x" * (bundle.FILE_MAX_BYTES + 1)}, "a.rego: larger than"),
        ({"readme": "x"}, "holds no .rego file"),
    ],
    ids=["duplicate", "array", "yaml", "outside", "outside-root", "conflict", "oversized", "empty"],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    write(tmp_path, files)
    (found,) = problems(tmp_path)
    assert problem in found


@pytest.mark.parametrize("char", ["\r", "\x0b", "\x0c", "\x1c", "\x00", "\x85", "\u2028", "\u2029", "\u202e", "\u200b"])
def test_what_hides_a_line_from_a_reader_is_refused(tmp_path: Path, char: str) -> None:
    """A comment ends at a line feed for the engines; at these, too, for what shows a difference to people."""
    write(tmp_path, {"a.rego": DENY_ALL + f"# a comment{char}decisions contains 1\n"})
    (found,) = problems(tmp_path)
    assert f"a.rego: line {DENY_ALL.count(chr(10)) + 1} holds U+{ord(char):04X}" in found


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_bytes(b"package handrail \xff")
    assert problems(tmp_path) == ["a.rego: not UTF-8"]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "nowhere")
    assert "nowhere" in found
