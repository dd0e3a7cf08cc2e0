"""The page about TLS: its settings load, and its commands do what it says, in its order, with openssl and real sockets.
nginx's block is run by ``test_nginx``."""

import asyncio
import os
import re
import shlex
import ssl
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.settings import ServerSettings
from tests.approvals.world import world
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_settings_on_the_page_are_good() -> None:
    found = [tomllib.loads(block)["server"] for language, block in BLOCKS if language == "toml"]
    assert len(found) == 4
    assert all(ServerSettings.model_validate(one) for one in found)


async def test_the_commands_on_the_page_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handrail.toml").write_text('[server]\ntls = {certificate = "tls.crt", key = "tls.key"}\n')
    for line in commands:
        if line.startswith("openssl "):
            subprocess.run(shlex.split(line), check=True, capture_output=True)
    verify = ssl.create_default_context(cafile="ca.pem")
    verify.check_hostname = False
    tls = {"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key", "client_ca": tmp_path / "ca.pem"}
    async with world(tmp_path / "home", server={"tls": tls}, verify=verify) as here:
        url = here.url.replace("localhost", "127.0.0.1")
        link = ""

        async def run(line: str) -> Result:
            words = shlex.split(line.replace("LINK", link))[1:]
            key = "" if "--client-cert" in words else here.keys["root"]
            environment = {
                **os.environ,
                "HANDRAIL_URL": url,
                "HANDRAIL_API_KEY": key,
                "HANDRAIL_CA_FILE": "ca.pem",
                "COLUMNS": "300",
            }
            return await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)

        for line in commands:
            if not line.startswith("handrail "):
                continue
            done = await run(line)
            if line.startswith("handrail doctor"):
                assert "TLS, certificate good for 30 days" in done.output
                continue
            assert done.exit_code == 0, (line, done.output)
            if " certificates list " in line:
                assert "spiffe://example.org/bot" in done.output
                link = re.findall(r"\b[0-9a-f]{16}\b", done.output)[0]
            if line.startswith("handrail hands list"):
                assert "mail" in done.output
        assert link
        calls = next(line for line in commands if "--client-cert" in line)
        assert "auth.invalid" in (await run(calls)).output, "one of what it is known by was removed"
