"""The toolset of a self-hosted environment as the page declares it: each session in the jail and in its own files."""

import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.managed_agents.stand_in import ASK, Session, StandIn, toolset
from tests.managed_agents.world import POLICY, World, opened
from tests.meta.tree import ROOT
from tests.until import until

PAGE = (ROOT / "docs" / "managed-agents.md").read_text(encoding="utf-8")
[DECLARED] = [
    tomllib.loads(text)
    for text in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if "agent_toolset" in text
]
ENVIRONMENT: dict[str, Any] = DECLARED["managed_agents"]["claude"]["environment"] | {
    "id": "env_own",
    "key": "environment",
}
OPEN = POLICY.replace('"write": "ask"', '"write": "allow"').replace('"edit": "deny"', '"edit": "allow"')
OPEN = OPEN.replace('"run": "allow"', '"run": "allow", "glob": "allow", "grep": "allow"')


def bench(workspaces: Path) -> dict[str, Any]:
    """The page's hand, whose directory is elsewhere."""
    hand = DECLARED["hands"]["bench"]
    return {"bench": hand | {"python": hand["python"] | {"workspaces": workspaces}}}


@pytest.fixture
def workspaces(tmp_path: Path) -> Path:
    place = tmp_path / "workspaces"
    place.mkdir()
    return place


@pytest.fixture
async def world(tmp_path: Path, service: StandIn, workspaces: Path) -> AsyncIterator[World]:
    service.agent("agent_own", toolset(ASK))
    async with working(tmp_path / "one", service, workspaces) as here:
        yield here


def working(home: Path, service: StandIn, workspaces: Path) -> Any:
    return opened(
        home,
        service,
        policy=OPEN,
        more_hands=bench(workspaces),
        environment=ENVIRONMENT,
        toolset_hand=None,
        timeout_seconds=30.0,
    )


async def served(world: World, name: str) -> Session:
    session = world.service.session("agent_own", name)
    work = world.service.queue_work(session)
    await until(lambda: session.streams and work["state"] == "active")
    return session


async def ran(world: World, session: Session, tool: str, **arguments: Any) -> str:
    """What the session was told of a call."""
    use = world.service.use(session, "agent.tool_use", name=tool, input=arguments)
    world.service.idle(session)
    await until(lambda: len(world.service.answers(session, use)) == 2)
    _, result = world.service.answers(session, use)
    return str(result["content"][0]["text"])


async def test_a_session_works_in_files_of_its_own(world: World, workspaces: Path) -> None:
    session = await served(world, "sesn_one")
    assert "wrote 12" in await ran(world, session, "write", file_path="src/a.py", content="print('one')")
    assert "edited" in await ran(world, session, "edit", file_path="src/a.py", old_string="one", new_string="two")
    assert "two\n/workspace/src\n" in await ran(world, session, "bash", command="cd src && python3 a.py && pwd")
    assert "/workspace/src\n" in await ran(world, session, "bash", command="pwd")
    assert "/workspace/src/a.py" in await ran(world, session, "glob", pattern="**/*.py")
    assert "/workspace/src/a.py:1:print('two')" in await ran(world, session, "grep", pattern="t.o")
    assert "no such file" in await ran(world, session, "read", file_path="b.py")
    other = await served(world, "sesn_two")
    assert await ran(world, other, "glob", pattern="**/*.py") != await ran(world, session, "glob", pattern="**/*.py")
    found = await ran(world, other, "bash", command="ls -A; ls -A / /srv 2>&1; cat /workspace/../../etc/shadow; id -u")
    assert "a.py" not in found
    assert str(workspaces.name) not in found
    assert "root:" not in found
    assert len(list(workspaces.iterdir())) == 2


async def test_a_session_that_goes_on_after_a_restart_finds_its_files(
    tmp_path: Path, service: StandIn, workspaces: Path
) -> None:
    service.agent("agent_own", toolset(ASK))
    async with working(tmp_path / "one", service, workspaces) as world:
        session = await served(world, "sesn_one")
        await ran(world, session, "write", file_path="kept.txt", content="Forty-two.")
    async with working(tmp_path / "one", service, workspaces) as world:
        world.service.queue_work(session)
        assert "Forty-two." in await ran(world, session, "read", file_path="kept.txt")
