"""The toolset's functions alone, where a directory stands for the workspace: what they do, and tell of errors.

Commands run as they would in the jail, by the same shell; what holds them back there is the jail's own to test.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import beta as wire

from hand_adapters.python import runner
from hand_adapters.toolsets import agent_toolset as tools


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tools, "WORKSPACE", str(tmp_path))
    monkeypatch.setattr(tools, "SHELL", str(tmp_path / ".shell"))
    return tmp_path


def test_a_shell_goes_on_where_the_last_command_left_it(workspace: Path) -> None:
    assert tools.bash('mkdir -p src && cd src && export WHO=ann && greet() { echo "hello $WHO"; }; pwd') == (
        f"{workspace}/src\n"
    )
    assert tools.bash("pwd; greet; local_only=1") == f"{workspace}/src\nhello ann\n"
    assert tools.bash(restart=True) == "bash session restarted"
    assert tools.bash("pwd; echo ${WHO:-nobody}") == f"{workspace}\nnobody\n"


def test_what_ends_a_command_early_keeps_its_shell_and_is_told(workspace: Path) -> None:
    assert tools.bash("cd /; echo out; echo err >&2; exit 3") == "out\nerr\n\n[exit status 3]"
    assert tools.bash("pwd") == "/\n"
    (workspace / ".shell").write_text("syntax error here (")
    assert tools.bash("echo still") == "still\n"


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(tools.ToolError, match=r"timed out after 0\.01s"):
        tools.bash("exec sleep 7200", timeout_ms=10)


def test_what_a_command_leaves_in_the_background_holds_nobody_up(workspace: Path) -> None:
    os.mkfifo(workspace / "gate")
    assert tools.bash("cat gate & echo begun") == "begun\n"
    tools.bash("echo > gate")


def test_files_are_written_read_and_edited(workspace: Path) -> None:
    assert tools.write("a/b.txt", "one\ntwo\nthree\n") == "wrote 14 characters to a/b.txt"
    assert tools.read("a/b.txt") == tools.read(str(workspace / "a" / "b.txt")) == "one\ntwo\nthree\n"
    assert tools.read("a/b.txt", [2, 3]) == "two\nthree\n"
    assert tools.read("a/b.txt", [2, 0]) == "two\nthree\n"
    assert tools.edit("a/b.txt", "two", "2") == "edited a/b.txt (1 replacement(s))"
    tools.edit("a/b.txt", "e", "E", replace_all=True)
    assert (workspace / "a" / "b.txt").read_bytes() == b"onE\n2\nthrEE\n"


def _large(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(tools.FILE_MAX_BYTES + 1)


FAULTS: Mapping[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (lambda _: None, "no such file or directory"),
    "directory": (lambda place: place.mkdir(), "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "large": (_large, "larger than"),
    "binary": (lambda place: place.write_bytes(b"\xff\xfe"), "not valid UTF-8 text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_told_with_its_name(workspace: Path, fault: str) -> None:
    make, text = FAULTS[fault]
    make(workspace / "it")
    for act in (lambda: tools.read("it"), lambda: tools.edit("it", "a", "b")):
        with pytest.raises(tools.ToolError, match=rf"it: .*{text}"):
            act()


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: tools.edit("f", "x", "y"), "not found in f"),
        (lambda: tools.edit("f", "", "y"), "not found in f"),
        (lambda: tools.edit("f", "a", "y"), "appears 2 times"),
        (lambda: tools.read("f", [1]), "view_range"),
        (lambda: tools.grep("("), "invalid regex"),
        (lambda: tools.glob("../*"), "relative"),
        (lambda: tools.glob("/etc/*"), "relative"),
        (tools.bash, "command is required"),
        (lambda: tools.write("f/g", "x"), "f/g: "),
    ],
    ids=["absent", "empty", "twice", "range", "regex", "parent", "absolute", "nothing", "below-a-file"],
)
def test_what_cannot_be_done_is_told(workspace: Path, act: Callable[[], Any], text: str) -> None:
    (workspace / "f").write_text("a a")
    with pytest.raises(tools.ToolError, match=re.escape(text)):
        act()


def test_files_are_found_newest_first_and_lines_with_their_numbers(workspace: Path) -> None:
    for number, name in enumerate(("old.py", "sub/new.py", "sub/other.txt")):
        tools.write(name, f"import x{number}\n# nothing\n")
        os.utime(workspace / name, (number, number))
    (workspace / "link.py").symlink_to("/etc/passwd")
    (workspace / "binary").write_bytes(b"import\0")
    assert tools.glob("sub/*.py") == f"{workspace}/sub/new.py"
    assert tools.glob("**/[on]*.py").splitlines() == [f"{workspace}/sub/new.py", f"{workspace}/old.py"]
    assert tools.grep("import x[12]").splitlines() == [
        f"{workspace}/sub/new.py:1:import x1",
        f"{workspace}/sub/other.txt:1:import x2",
    ]
    assert tools.grep("root:") == tools.glob("*.rs") == "no matches"
    assert tools.grep("import", "old.py") == f"{workspace}/old.py:1:import x0"


def test_what_is_told_has_an_end(workspace: Path) -> None:
    told = tools.bash("yes | head -c 1000000")
    assert tools.OUTPUT_MAX < len(told) < tools.OUTPUT_MAX + 100
    assert "bytes are left out" in told
    (workspace / "long").write_text("x" * 10_000_000)
    assert len(tools.grep("x")) < tools.LINE_MAX + 200
    for number in range(tools.MATCHES_MAX + 3):
        (workspace / f"f{number}").touch()
    assert tools.glob("f*").splitlines()[-1] == "... and 3 more"


def test_they_take_what_the_service_sends() -> None:
    inputs = {
        name: getattr(wire, f"BetaManagedAgentsAgentToolset20260401{name.capitalize()}Input")
        for name in ("bash", "read", "write", "edit", "glob", "grep")
    }
    for name, model in inputs.items():
        schema = runner.describe(getattr(tools, name))["args_schema"]
        assert set(schema["properties"]) == set(model.model_fields), name
        assert set(schema["required"]) == {one for one, field in model.model_fields.items() if field.is_required()}
