"""The search for planted secrets finds each way in which one gets out, and names it; what is at home it lets lie."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.tree import ROOT
from tests.planted import marks
from tests.planted.search import Search

LEAKS = """
import base64, os, shutil, subprocess, sys, tempfile
from pathlib import Path
from handrail.keys import SigningKey
from keys.stores.root import DataRoot
from tests.planted import marks


def secret():
    return DataRoot.generate()._secret


def test_a_file_that_stays(tmp_path):
    (tmp_path / "stays").write_bytes(b"some bytes before " + secret())


def test_a_large_file(tmp_path):
    (tmp_path / "large").write_bytes(bytes(3 << 20) + base64.b64encode(b"x" + secret()))


def test_a_file_that_is_removed(tmp_path):
    (tmp_path / "removed").write_text(secret().hex())
    (tmp_path / "removed").unlink()


def test_a_file_that_is_replaced(tmp_path):
    (tmp_path / "replaced").write_text(repr(secret()))
    (tmp_path / "new").write_text("nothing")
    (tmp_path / "new").replace(tmp_path / "replaced")


def test_a_directory_that_is_removed(tmp_path):
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "in-a-tree").write_bytes(secret())
    shutil.rmtree(tmp_path / "tree")


def test_a_directory_elsewhere():
    with tempfile.TemporaryDirectory() as where:
        Path(where, "elsewhere").write_bytes(secret())


def test_what_is_printed():
    print("the token is", marks.marked(b"t").hex())


def test_a_child_process(tmp_path):
    code = "import sys, keys.stores.root as r; sys.stdout.buffer.write(r.DataRoot.generate()._secret)"
    with (tmp_path / "of-a-child").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)


def test_a_signing_key_in_the_home_of_another_secret(tmp_path):
    (tmp_path / "master.key").write_bytes(SigningKey.generate()._key.private_bytes_raw())
"""
FOUND = (
    "stays", "large", "removed", "replaced", "in-a-tree", "elsewhere", "Captured stdout", "of-a-child", "master.key",
)  # fmt: skip
HOME = """
from keys.stores.master import MasterKey


def test_a_master_key_at_home(tmp_path):
    MasterKey.load(tmp_path / "master.key")
"""


def run(directory: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest of its own, with the plugin alone."""
    file = directory / "test_run.py"
    file.write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.planted.plugin", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, marks.RUN: "itself", "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "client")))}
    return subprocess.run(
        [*command, f"--rootdir={directory}", "--import-mode=importlib", f"--basetemp={directory / 'run'}", str(file)],
        cwd=directory, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("-o", "tmp_path_retention_policy=none")], ids=" ".join)
def test_a_run_that_lets_a_secret_out_fails_and_says_where(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, LEAKS, *options)
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stdout.splitlines() if ", byte " in line]
    assert [one for one in FOUND if not any(one in line for line in lines)] == []
    assert any(f"stays, byte {len('some bytes before ')}: {marks.KINDS[b'K']}, raw" in line for line in lines)


def test_a_secret_at_home_fails_no_run(tmp_path: Path) -> None:
    done = run(tmp_path, HOME)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_a_mark_is_found_in_base64_wherever_it_begins(before: int, after: int) -> None:
    search = Search()
    encoded = base64.b64encode(bytes(before) + marks.marked(b"t", 32) + bytes(after))
    search.content("x", encoded)
    search.content("y", encoded.translate(bytes.maketrans(b"+/", b"-_")))
    assert [hit.where for hit in search.hits] == ["x", "y"]
    assert all(marks.KINDS[b"t"] in hit.what for hit in search.hits)
