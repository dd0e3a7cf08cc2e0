"""The page about identity: its settings load, and its commands do what it says, with a token of a real provider."""

import asyncio
import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.settings import IdentitySettings
from tests.identity.town import both
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "identity.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_settings_on_the_page_are_good() -> None:
    found = [tomllib.loads(block)["identity"]["company"] for language, block in BLOCKS if language == "toml"]
    assert len(found) == 3
    assert all(IdentitySettings.model_validate(one) for one in found)


async def test_the_commands_on_the_page_do_what_it_says(tmp_path: Path) -> None:
    link, links, unlink, proposals = (
        line.removeprefix("handrail ") for language, block in BLOCKS if not language for line in block.splitlines()
    )
    async with both(tmp_path) as (here, provider):
        token = (await provider.person("ada"))["access_token"]

        async def run(words: str, credential: str) -> Result:
            environment = {"HANDRAIL_URL": here.url, "HANDRAIL_API_KEY": credential, "COLUMNS": "200"}
            return await asyncio.to_thread(CliRunner().invoke, app, words.split(), env=environment)

        assert "auth.forbidden" in (await run(proposals, token)).output
        assert (await run(link, here.keys["root"])).exit_code == 0
        listed = await run(links, here.keys["root"])
        assert provider.issuer in listed.output
        [link_id] = re.findall(r"\b[0-9a-f]{16}\b", listed.output)
        assert (await run(proposals, token)).exit_code == 0
        assert (await run(unlink.replace("LINK", link_id), here.keys["root"])).exit_code == 0
        assert "auth.invalid" in (await run(proposals, token)).output
