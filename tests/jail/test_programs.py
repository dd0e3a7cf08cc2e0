"""Real programs in the jail: MCP servers, git, Python, Node."""

import json
import os
import shutil
from pathlib import Path

import pytest

from hand_adapters.jail import Bind, Jail, JailSpec

pytestmark = pytest.mark.jail


@pytest.mark.parametrize("module", ["mcp_server_time", "mcp_server_git"])
async def test_a_real_mcp_server_answers_from_inside(jail: Jail, module: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    process = await jail.start(JailSpec(("python", "-m", module), deadline_seconds=60))
    process.stdin.write(json.dumps(hello).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    await process.kill()
    assert "serverInfo" in json.loads(line or b"{}").get("result", {}), process.stderr_tail()


@pytest.mark.parametrize("command", [("git", "--version"), ("node", "-p", "6 * 7"), ("python", "-c", "print(6 * 7)")])
async def test_default_profile_runs_the_usual_programs(jail: Jail, command: tuple[str, ...]) -> None:
    if command[0] == "node" and shutil.which("node", path="/usr/local/bin:/usr/bin") is None:
        pytest.skip("no node on this machine")
    ended = await jail.run(JailSpec(command, deadline_seconds=60))
    if command[0] == "node" and jail._examined and jail._examined[0] and jail._examined[0].controllers is None:
        assert ended.returncode != 0, "documented: without a cgroup, RLIMIT_AS leaves Node no room"
    else:
        assert (ended.returncode, ended.stderr) == (0, b"")


async def test_strict_profile_runs_a_script_and_no_socket(jail: Jail) -> None:
    code = "import socket\ntry:\n socket.socket(socket.AF_UNIX)\nexcept PermissionError: print('held')"
    ended = await jail.run(JailSpec(("/usr/bin/python3", "-I", "-S", "-c", code), profile="strict"))
    assert ended.stdout == b"held\n", ended


async def test_what_a_jail_has_of_etc_is_read_there_whatever_the_gateway_lets_others_read(jail: Jail) -> None:
    """Under a supervisor that starts the gateway with a umask of 077."""
    before = os.umask(0o077)
    try:
        ended = await jail.run(JailSpec(("/bin/cat", "/etc/passwd", "/etc/group")))
    finally:
        os.umask(before)
    assert (ended.returncode, ended.stderr) == (0, b""), ended
    assert b":" in ended.stdout


async def test_what_may_be_written_may_be_moved_between_directories(jail: Jail, tmp_path: Path) -> None:
    """As Git and package managers do. Landlock forbids it beside a ruleset of the same process that says nothing of
    files, whatever the other one allows."""
    shown = tmp_path / "shown"
    for name in ("a", "b"):
        (shown / name).mkdir(parents=True)
    jail.own_directory(shown / "files")
    code = (
        "import os; os.chdir('/work'); os.makedirs('a'); os.makedirs('b'); open('a/x', 'w').write('moved'); "
        "os.rename('a/x', 'b/x'); os.link('b/x', 'a/y'); print(open('a/y').read())"
    )
    binds = (Bind(shown / "files", "/work", writable=True),)
    ended = await jail.run(JailSpec(("/usr/bin/python3", "-I", "-S", "-c", code), binds=binds))
    assert (ended.returncode, ended.stdout) == (0, b"moved\n"), ended
