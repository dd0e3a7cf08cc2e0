"""The page about managed agents, done as it says, against the stand-in for Anthropic's API."""

import asyncio
import json
import re
import shlex
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from tests.cli import real
from tests.cli.real import CONFIG
from tests.managed_agents.stand_in import ALLOW, ASK, KEY, StandIn, custom, mcp_toolset, running, toolset
from tests.meta.tree import ROOT
from tests.until import PATIENCE_SECONDS

PAGE = (ROOT / "docs" / "managed-agents.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(toml|console)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SETTINGS, ENVIRONMENT = (text for kind, text in BLOCKS if kind == "toml")
COMMANDS = [shlex.split(line)[2:] for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]


@contextmanager
def serving() -> Iterator[StandIn]:
    """The stand-in in a thread of its own."""
    ready: Future[StandIn] = Future()
    stop = threading.Event()

    async def serve() -> None:
        async with running() as service:
            tools = (toolset(ASK, bash=ALLOW), mcp_toolset("github", ASK), custom("git__git_status"), custom("other"))
            service.agent("agent_support", *tools)
            ready.set_result(service)
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield ready.result(PATIENCE_SECONDS)
    finally:
        stop.set()
        thread.join()


def test_the_settings_of_the_page_are_settings() -> None:
    whole = tomllib.loads(SETTINGS + ENVIRONMENT)
    tools = whole["managed_agents"]["claude"]["environment"]["tools"]
    assert set(tools.values()) == {f"bench.{name}" for name in whole["hands"]["bench"]["actions"]}


def test_the_page_adopts_an_agent_and_follows_its_sessions(tmp_path: Path) -> None:
    with serving() as service:
        settings = SETTINGS.replace("[managed_agents.claude]", f'[managed_agents.claude]\nurl = "{service.url}"\n')
        settings = settings.replace("agents = ", "private_network = true\ndiscover_seconds = 3600\nagents = ", 1)
        config = CONFIG + "\n" + settings.replace("{", "{{").replace("}", "}}")
        people = {"helper": "agent", "op": "operator"}
        with real.gateway(tmp_path, config, people, signer="helper", issuer="helper-laptop") as home:
            (home / "anthropic.key").write_text(KEY)

            def run(*words: str, expect: int = 0) -> str:
                given = [str(home / word) if word.endswith(".key") else word for word in words]
                who = "admin" if words[0] in {"secrets", "hands"} else "op"
                result = real.invoke(home, *given, "--as", who)
                assert result.exit_code == expect, result.output
                return result.stdout

            secret, pin, pin_more, shown, written, *sessions = COMMANDS
            for command in (secret, pin, pin_more):
                run(*command)
            table = run(*shown, expect=1)
            assert re.search(r"toolset\s+bash\s+always_allow -> always_ask\s+claude-tools", table), table
            assert re.search(r"custom\s+git__git_status\s+has none\s+git.git_status", table), table
            assert re.search(r"custom\s+other\s+has none\s+denied", table), table
            assert "always_allow -> always_ask" in run(*written)
            assert service.agents["agent_support"]["version"] == 2
            run(*written)
            assert service.agents["agent_support"]["version"] == 2, "it changes nothing again"
            run(*shown)
            service.session("agent_support", "sesn_42")
            follow, listed, show, release = sessions
            run(*follow)
            assert "sesn_42" in run(*listed)
            assert "following" in run(*show)
            run(*release)
            again = real.invoke(home, *show, "--as", "op", "--json")
            assert json.loads(again.stdout)["state"] == "released"
            refused = real.invoke(home, *listed, "--as", "helper")
            assert "auth.forbidden" in refused.output
            for missing in ("agent_nobody", "../agents"):
                said = real.invoke(home, "agents", "adopt", missing, "--connector", "claude", "--as", "op")
                assert said.exit_code != 0
                assert "request.not_found" in said.output
