"""A real gateway in a process of its own, set up through the command line alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner, Result

from gateway import setup
from gateway.cli.main import app
from gateway.cli.saving import save_json
from gateway.settings import load
from tests.client.stand_in import HOSTILE, serving

SERVE = [sys.executable, "-c", "from gateway.cli.main import run; run()", "serve", "--json"]


@contextmanager
def gateway(directory: Path, config: str, people: Mapping[str, str], *, signer: str, issuer: str) -> Iterator[Path]:
    """The home of a running gateway, with people, an issuer and a pinned hand ``git``.

    Args:
        config: text of ``handrail.toml``; ``{url}`` is the tool behind the hand.
        people: principal -> role; an approver's key is enrolled.
        signer: whose key is the issuer's.
    """
    home, file = directory / "home", directory / "handrail.toml"
    routes = [Route("/{path:path}", _tool, methods=["GET", "POST"])]
    with serving(Starlette(routes=routes)) as url:
        file.write_text(config.format(url=url))
        environment = {**os.environ, "HANDRAIL_HOME": str(home), "HANDRAIL_CONFIG": str(file)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HANDRAIL_HOME", str(home))
            token = str(setup.run(load(file)).token)
        with subprocess.Popen(SERVE, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                stored = {"url": listening(process), "default": signer, "principals": {"admin": {"api_key": token}}}
                populate(home, stored, people, signer, issuer)
                yield home
            finally:
                process.terminate()
                process.wait(30)


def invoke(home: Path, *args: str, stdin: str | None = None) -> Result:
    """Run a command at home."""
    environment = {"HANDRAIL_HOME": str(home), "HANDRAIL_CONFIG": str(home.parent / "handrail.toml"), "COLUMNS": "200"}
    return CliRunner().invoke(app, list(args), input=stdin, env=environment)


ENROLLED = {"approver", "author", "operator"}


def _tool(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "text": HOSTILE})


def listening(process: subprocess.Popen[str]) -> str:
    """The URL of a gateway that starts."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            return str(json.loads("".join(lines))["listening"][0])
    raise RuntimeError(f"the gateway did not start: {lines}")


def populate(home: Path, stored: dict[str, Any], people: Mapping[str, str], signer: str, issuer: str) -> None:
    """Add people, an issuer, and the pin of ``git`` to a running gateway."""

    def call(*args: str) -> Any:
        save_json(home / "cli.json", stored, force=True, private=True)
        result = invoke(home, *args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    for name, role in people.items():
        call("keys", "new", "--out", str(home / f"{name}.jwk"))
        enrolled = ("--approval-key", str(home / f"{name}.jwk")) if role in ENROLLED else ()
        made = call("principals", "add", name, "--role", role, *enrolled, "--as", "admin")
        entry = {"api_key": made["api_key"]["token"], "jwk_file": f"{name}.jwk", "issuer": issuer}
        stored["principals"][name] = entry
    call("issuers", "add", issuer, "--key", str(home / f"{signer}.jwk"), "--as", "admin")
    call("hands", "pin", "git", "--yes", "--as", "admin")
    call("keys", "trust", "--out", str(home / "trust.json"))


CONFIG = """
[server]
port = 0
[log]
origin = "handrail.test/replay"
[hands.git]
adapter = "http"
base_url = "{url}"
private_network = true
[hands.git.actions.git_status]
method = "GET"
path = "/status"
side_effects = "none"
args_schema = {{ type = "object", properties = {{ q = {{ type = "string" }} }}, additionalProperties = false }}
[hands.git.actions.git_commit]
method = "POST"
path = "/commit"
side_effects = "reversible"
args_schema = {{ type = "object", properties = {{ message = {{ type = "string" }} }}, additionalProperties = false }}
[hands.git.actions.git_tag]
method = "POST"
path = "/tag"
side_effects = "reversible"
args_schema = {{ type = "object", additionalProperties = false }}
[hands.git.actions.git_push]
method = "POST"
path = "/push"
side_effects = "external"
args_schema = {{ type = "object", additionalProperties = false }}
"""
