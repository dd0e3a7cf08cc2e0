"""The demonstration of ``make run``, played to its end: by whoever runs the tests, and as nobody where that is root."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SCENES = 8
COMMAND = [sys.executable, "-c", "from gateway.cli.main import run; run()", "demo", "--yes", "--exit", "--port"]


def repository(at: Path) -> Path:
    """A repository of one's own with commits: what ``make run`` stands in."""
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@handrail.invalid"]
    subprocess.run(["git", "init", "--quiet", str(at)], check=True)
    for text in ("first", "second"):
        (at / "file.txt").write_text(f"{text}\n")
        subprocess.run(["git", "-C", str(at), "add", "file.txt"], check=True)
        subprocess.run(["git", "-C", str(at), *author, "commit", "--quiet", "--message", text], check=True)
    return at


@pytest.mark.jail
def test_it_plays_to_its_end_without_a_surprise(tmp_path: Path, built: Path) -> None:
    """With ``landlock-exec``, which ``make run`` builds."""
    for program in ("bwrap", "git"):
        services.require(shutil.which(program), program, "Install bubblewrap and git.")
    for server in ("mcp_server_git", "mcp_server_time"):
        services.require(importlib.util.find_spec(server), server, "Run: make install")
    jail = {"HANDRAIL_JAIL__LANDLOCK_EXEC": str(built), "HANDRAIL_JAIL__LANDLOCK_REQUIRED": "true"}
    played = subprocess.run(
        [*COMMAND, str(free_port())],
        cwd=repository(tmp_path / "repository"),
        env={**os.environ, "HANDRAIL_HOME": str(tmp_path / "home"), "COLUMNS": "200", **jail},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "unexpected" not in played.stdout, played.stdout
    assert played.returncode == 0, played.stdout + played.stderr
    for number in range(1, SCENES + 1):
        assert f"\n{number}  " in played.stdout, played.stdout


@pytest.mark.jail
@pytest.mark.skipif(os.getuid() != 0, reason="this run is unprivileged itself")
def test_it_plays_to_its_end_for_an_unprivileged_user() -> None:
    """Whose jails are bounded by rlimits alone: a server must find room for every thread and helper that it starts."""
    runner = [sys.executable, "tests/jail/as_nobody.py", "tests/cli/test_demonstration.py"]
    played = subprocess.run(runner, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert played.returncode == 0, played.stdout[-6000:]
    assert "1 passed" in played.stdout
