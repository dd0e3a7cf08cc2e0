"""Two real MCP servers, in the real jail."""

import subprocess
from pathlib import Path

import pytest

from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, JailSettings
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail
from hand_adapters.mcp import McpAdapter
from tests import services
from tests.hands.hands_support import call, hostile, need

pytestmark = pytest.mark.jail


@pytest.fixture
async def jail(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    real = Jail(JailSettings(), home)
    problems = real.missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")
    yield real
    await real.close()


@pytest.fixture
async def hand(jail):
    opened = []

    async def make(settings: HandSettings):
        adapter = McpAdapter("h", settings, jail)
        opened.append(adapter)
        manifest = await adapter.manifest()

        async def run(action: str, args: dict, **changes):
            return await adapter.run(call("h", action, args, manifest.digest, **changes))

        return manifest, run

    yield make
    for adapter in opened:
        await adapter.close()


async def test_the_time_server_tells_the_time(hand):
    need("mcp-server-time")
    manifest, run = await hand(HandSettings(adapter="mcp", command=("python", "-m", "mcp_server_time")))
    assert sorted(manifest.actions) == ["convert_time", "get_current_time"]
    schema = manifest.actions["get_current_time"].args_schema
    assert schema["additionalProperties"] is False
    result = await run("get_current_time", {"timezone": "Europe/Berlin"})
    assert not result.is_error
    assert "Europe/Berlin" in result.content[0]["text"]
    wrong = await run("get_current_time", {"timezone": "Atlantis/Poseidonis"})
    assert wrong.is_error


async def test_the_git_server_reads_a_repository_it_was_given(hand, jail, tmp_path):
    need("mcp-server-git")
    repository = tmp_path / "home" / "work" / "clone"
    subprocess.run([need("git"), "init", "-q", "-b", "main", str(repository)], check=True)
    (repository / "a.txt").write_text("one\n")
    for command in (["add", "a.txt"], ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "First"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    jail.adopt(repository)
    settings = HandSettings(
        adapter="mcp",
        command=("{python}", "-m", "mcp_server_git", "--repository", "/repo"),
        binds=({"source": repository, "target": "/repo"},),
    )
    manifest, run = await hand(settings)
    assert "git_log" in manifest.actions
    log = await run("git_log", {"repo_path": "/repo", "max_count": 1})
    assert not log.is_error
    assert "First" in log.content[0]["text"]
    outside = await run("git_status", {"repo_path": "/etc"})
    assert outside.is_error


async def test_the_jailed_server_sees_no_environment_of_the_gateway(hand, monkeypatch, tmp_path):
    monkeypatch.setenv("HANDRAIL_MASTER_KEY", "canary-7f3a")
    _, run = await hand(_bound(hostile("who")))
    told = (await run("echo", {"text": "x"})).content[0]["text"]
    assert '"text": "x"' in told, "the control"
    assert "canary-7f3a" not in told
    assert "secret-step-credential" not in told


async def test_a_hang_in_the_jail_ends_at_the_deadline(hand):
    _, run = await hand(_bound(hostile("hang")))
    with pytest.raises(HandError) as caught:
        await run("echo", {"text": "x"}, deadline_seconds=0.5)
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_TIMEOUT, HandFailure.UNKNOWN)


@pytest.mark.parametrize("mode", ["flood", "flood_line", "half", "crash"])
async def test_a_flood_or_crash_in_the_jail_leaves_nothing_running(hand, mode):
    _, run = await hand(_bound(hostile(mode)))
    with pytest.raises(HandError) as caught:
        await run("echo", {"text": "x"})
    assert caught.value.failure is HandFailure.UNKNOWN


async def test_a_module_that_is_not_installed_is_named_to_the_operator(hand):
    with pytest.raises(HandError) as caught:
        await hand(HandSettings(adapter="mcp", command=("python", "-m", "no_such_server")))
    assert caught.value.failure is HandFailure.NOT_EXECUTED
    assert "no_such_server" in caught.value.detail


def _bound(settings: HandSettings) -> HandSettings:
    """The hostile script, shown to the jail."""
    script = Path(settings.command[1])
    return HandSettings(
        adapter="mcp",
        command=("python", "/servers/hostile.py", *settings.command[2:]),
        binds=({"source": script.parent, "target": "/servers"},),
    )
