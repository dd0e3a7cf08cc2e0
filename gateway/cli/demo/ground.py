"""The ground that the demonstration stands on: a home, a clone to work in, and a running gateway."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handrail import Client, ClientError

from gateway.cli.exits import Stop
from gateway.settings import Settings, load
from hand_adapters.jail import Jail

START_SECONDS: Final = 30.0
STAGED: Final = "DEMONSTRATION.md"

CONFIG: Final = """\
# The demonstration's configuration. `handrail config example` prints every setting there is.
home = "{home}"

[log]
origin = "handrail.demo/log"

[policy]
environment = "demonstration"

# Git, over MCP, in a jail that sees one directory. The label tells the policy which paths it may name.
[hands.git]
adapter = "mcp"
command = ["{{python}}", "-m", "mcp_server_git", "--repository", "/repo"]
labels = ["root:/repo"]

[[hands.git.binds]]
source = "{clone}"
target = "/repo"
writable = true

{git_actions}
# The clock, over MCP, in a jail that sees nothing.
[hands.time]
adapter = "mcp"
command = ["{{python}}", "-m", "mcp_server_time", "--local-timezone", "UTC"]
trust = "trusted"

[hands.time.actions.get_current_time]
side_effects = "none"
idempotent = true

[hands.time.actions.convert_time]
side_effects = "none"
idempotent = true
"""

READS: Final = ("git_status", "git_log", "git_diff", "git_diff_staged", "git_diff_unstaged", "git_show", "git_branch")
WRITES: Final = ("git_add", "git_commit", "git_reset", "git_create_branch", "git_checkout")


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the demonstration plays."""

    home: Path
    config: Path
    clone: Path
    settings: Settings
    url: str


def prepare(home: Path, port: int) -> Ground:
    """Make the home, its configuration and a fresh clone. What exists is kept, but for the staged change.

    Raises:
        Stop: git is missing, or the configuration cannot be used.
    """
    home = home.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    clone = home / "demo" / "repo"
    config = home / "handrail.toml"
    if not config.exists():
        config.write_text(
            CONFIG.format(home=_toml(home), clone=_toml(clone), git_actions=_git_actions()), encoding="utf-8"
        )
    os.environ["HANDRAIL_SERVER__PORT"] = str(port)
    settings = load(config)
    _make_clone(clone)
    Jail(settings.jail, home).adopt(clone)
    return Ground(home, config, clone, settings, f"http://{settings.server.host}:{port}")


def program() -> str:
    """How a shell calls this command line from here."""
    called = Path(sys.argv[0])
    if called.name != "handrail":
        return shlex.join([sys.executable, "-m", "gateway.cli"])
    absolute = called.absolute()
    return shlex.quote(str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute))


@contextmanager
def serving(ground: Ground) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway in a process of its own, stopped at the end.

    Raises:
        Stop: it did not start; its own words are in ``gateway.log``.
    """
    log = ground.home / "gateway.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(ground.config)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        _await_ready(ground, process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(ground: Ground, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Client(ground.url) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                client.ready()
            except ClientError:
                time.sleep(0.1)
            else:
                return
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise Stop(
        f"the gateway did not start: {' / '.join(last) or 'it said nothing'}",
        f"All of what it said is in {log}. If the port is taken: make run PORT=8081",
    )


def _make_clone(clone: Path) -> None:
    """A clone of the repository that we stand in (or a small new one), with one change staged for a commit."""
    if not (clone / ".git").exists():
        clone.parent.mkdir(parents=True, exist_ok=True)
        look = [_git_program(), "rev-parse", "--show-toplevel"]
        here = subprocess.run(look, capture_output=True, text=True, check=False)
        if here.returncode == 0:
            _git(None, "clone", "--quiet", "--no-hardlinks", here.stdout.strip(), str(clone))
        else:
            _git(None, "init", "--quiet", str(clone))
            author = ("-c", "user.name=Handrail", "-c", "user.email=demonstration@handrail.invalid")
            _git(clone, *author, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    # Whoever owns the clone after it was given to the jail, it is ours to stage in.
    _git(clone, "config", "user.name", "Handrail demonstration")
    _git(clone, "config", "user.email", "demonstration@handrail.invalid")
    change = clone / STAGED
    lines = change.read_text(encoding="utf-8") if change.exists() else "# Written by the demonstration\n"
    change.write_text(f"{lines}\nRun {lines.count('Run ') + 1}.\n", encoding="utf-8")
    _git(clone, "add", STAGED)


def _git(clone: Path | None, *arguments: str) -> None:
    where = [] if clone is None else ["-C", str(clone), "-c", f"safe.directory={clone}"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    if clone is not None:
        environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(clone)}
    done = subprocess.run(
        [_git_program(), *where, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise Stop(f"git {arguments[0]}: {done.stderr.strip()}", "Is the working copy sound? Try: git status")


def _git_program() -> str:
    program = shutil.which("git")
    if program is None:
        raise Stop("git is missing", "Install git: the demonstration works on a clone of this repository.")
    return program


def _git_actions() -> str:
    declared = []
    for effects, names in (("none", READS), ("reversible", WRITES)):
        declared += [
            f'[hands.git.actions.{name}]\nside_effects = "{effects}"\nargs = {{ "/repo_path" = "path" }}\n'
            for name in names
        ]
    return "\n".join(declared)


def _toml(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
