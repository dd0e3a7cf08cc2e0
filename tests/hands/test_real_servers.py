"""Real MCP servers, in the real jail."""

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
SERVERS = Path(__file__).parents[2] / ".tools/mcp-servers/node_modules"


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


def npm(name: str, *arguments: str, **more) -> HandSettings:
    """A reference server of npm, as ``handrail hands import --packages`` declares it."""
    services.require(SERVERS.is_dir(), "npm's MCP servers", "make tools installs them.")
    script = SERVERS / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
    binds = ({"source": SERVERS}, *more.pop("binds", ()))
    return HandSettings(adapter="mcp", command=(need("node"), str(script), *arguments), binds=binds, **more)


async def test_the_filesystem_server_reads_its_directory_and_no_other(hand, jail, tmp_path):
    notes = tmp_path / "home" / "work" / "notes"
    notes.mkdir(parents=True)
    (notes / "a.txt").write_text("chairs: 3\n")
    jail.adopt(notes)
    manifest, run = await hand(npm("filesystem", "/notes", binds=({"source": notes, "target": "/notes"},)))
    assert {"read_text_file", "list_directory", "write_file"} <= set(manifest.actions)
    read = await run("read_text_file", {"path": "/notes/a.txt"})
    assert not read.is_error
    assert "chairs: 3" in read.content[0]["text"]
    listed = await run("list_directory", {"path": "/notes"})
    assert "[FILE] a.txt" in listed.content[0]["text"]
    for path in ("/etc/passwd", "/notes/../etc/passwd"):
        assert (await run("read_text_file", {"path": path})).is_error
    written = await run("write_file", {"path": "/notes/b.txt", "content": "x"})
    assert written.is_error, "the bind is read-only, whatever the server thinks"
    assert not (notes / "b.txt").exists()


async def test_the_memory_server_keeps_what_one_principal_said_from_another(hand):
    _, run = await hand(npm("memory", env={"MEMORY_FILE_PATH": "/tmp/memory.jsonl"}))
    entity = {"name": "Ana", "entityType": "person", "observations": ["likes chairs"]}
    assert not (await run("create_entities", {"entities": [entity]})).is_error
    mine = await run("read_graph", {})
    assert "likes chairs" in mine.content[0]["text"]
    theirs = await run("read_graph", {}, principal_id="bob")
    assert "likes chairs" not in theirs.content[0]["text"]


async def test_the_reference_server_is_spoken_with_over_its_pipes(hand):
    manifest, run = await hand(npm("everything"))
    assert {"echo", "get-sum"} <= set(manifest.actions)
    assert "trigger-sampling-request" not in manifest.actions, "no capability of the client is announced"
    assert "5" in (await run("get-sum", {"a": 2, "b": 3})).content[0]["text"]
    environment = await run("get-env", {})
    assert "HANDRAIL" not in environment.content[0]["text"]


async def test_a_tool_that_is_a_task_only_is_followed_to_its_result(hand):
    _, run = await hand(npm("everything"))
    found = await run("simulate-research-query", {"topic": "chairs"})
    assert not found.is_error
    assert "# Research Report: chairs" in found.content[0]["text"]


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
