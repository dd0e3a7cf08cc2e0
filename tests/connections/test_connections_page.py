"""The page on connections: its commands given in their order to a real gateway, and its settings."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.connections.world import ACTION, World
from tests.identity.real import SECRET
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "connections.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
KEEP, PIN, CONNECT, REMOVE, END = (text.replace("tracker", "hub") for language, text in BLOCKS if language == "sh")
HANDRAIL = 'handrail() { "$PYTHON" -m gateway.cli "$@"; }\nset -eu\n'


async def run(world: World, who: str, script: str, home: Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
        "HANDRAIL_URL": world.url,
        "HANDRAIL_API_KEY": world.keys[who],
        "COLUMNS": "200",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", HANDRAIL + script],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


async def test_a_person_connects_and_takes_back_by_the_page_s_commands(world: World, tmp_path: Path) -> None:
    await world.gateway.secrets.remove(world.people["root"], "hub-client")
    (tmp_path / "hub-client.txt").write_text(SECRET)
    assert "is kept, version 2" in await run(world, "root", KEEP, tmp_path)
    assert "connections.hub" in await run(world, "root", "handrail secrets check", tmp_path)
    assert "hub is pinned" in await run(world, "op", PIN, tmp_path)
    said = await run(world, "ann", CONNECT, tmp_path)
    assert "none" in said
    assert f"{world.url}/connections" in said
    await world.connect("ann")
    assert await world.whose("ann") == "ann"
    assert "hub is taken back, and revoked there." in await run(world, "ann", REMOVE, tmp_path)
    assert await world.states("ann") == ["removed"]
    await world.connect("ann")
    said = await run(world, "root", END, tmp_path)
    assert "connected" in said
    assert "hub of ann is ended, and revoked there." in said


def test_the_page_s_settings_are_settings() -> None:
    [declared] = (tomllib.loads(text) for language, text in BLOCKS if language == "toml")
    declared["hands"]["tracker"]["actions"] = {"look": ACTION}
    settings = Settings(**declared)
    assert settings.connections["tracker"].origins == ("https://api.tracker.example:443",)
    for wrong, words in [
        ({"connection": "other"}, r"there is no \[connections.other\]"),
        ({"connection": "tracker", "targets": ["https://evil.example"]}, "not among the targets of the connection"),
        ({"connection": "tracker", "place": "basic", "username": "u"}, "place = 'bearer' alone"),
        ({"connection": "tracker", "store": "team"}, "connection goes with no store"),
    ]:
        declared["hands"]["tracker"]["secrets"]["tracker-token"] = wrong
        with pytest.raises(ValueError, match=words):
            Settings(**declared)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://login.tracker.example"}, "must be https"),
        ({"issuer": None}, "give issuer, or"),
        ({"token_endpoint": "https://login.tracker.example/token"}, "not both"),
        ({"issuer": None, "authorization_endpoint": "https://a.example"}, "give issuer, or"),
        ({"issuer": "https://user:pw@login.tracker.example"}, "no credentials"),
        ({"issuer": "https://login.tracker.example?x=1"}, "no query"),
        ({"client_secret": None}, "do not agree"),
        ({"client_authentication": "none"}, "do not agree"),
        ({"client_secret_store": "nowhere"}, r"no \[secrets.stores.nowhere\]"),
        ({"parameters": {"redirect_uri": "https://evil.example"}}, "the gateway's own"),
        ({"parameters": {"response_mode": "fragment"}}, "the gateway's own"),
        ({"targets": ["http://api.tracker.example"]}, "must be https"),
        ({"targets": []}, "targets"),
        ({"scopes": ["two words"]}, "scopes"),
    ],
)
def test_a_connection_that_could_not_be_kept_safe_stops_the_start(change: dict[str, object], words: str) -> None:
    [declared] = (tomllib.loads(text) for language, text in BLOCKS if language == "toml")
    del declared["hands"]
    declared["connections"]["tracker"] |= change
    with pytest.raises(ValueError, match=words):
        Settings(**declared)
