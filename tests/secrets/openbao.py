"""A real OpenBao with a KV engine of version 2, its storage in memory: its own program, fresh for each test."""

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests import services
from tests.until import until

POLICY = 'path "secret/data/handrail/*" { capabilities = ["read"] }'
"""What the gateway may: the page's own policy."""


@dataclass
class OpenBao:
    """A server.

    Attributes:
        token_file: holds a token that may what the gateway may.
    """

    url: str
    token_file: Path
    http: httpx2.AsyncClient

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers, as somebody with every right."""
        answer = await self.http.request(method, f"{self.url}/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}

    async def token(self) -> None:
        """Have the gateway use a new token, as an agent beside it would."""
        made = await self.call("POST", "auth/token/create", {"policies": ["handrail"], "ttl": "10m"})
        self.token_file.write_text(made["auth"]["client_token"] + "\n")


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[OpenBao]:
    """A server; skips without its program, fails under ``.ci/run``."""
    program = shutil.which("bao")
    services.require(program, "OpenBao", "'make tools' puts it into .tools/bin.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = "root-token-of-the-test"
    command = [
        str(program), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={root}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
    with (directory / "openbao.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        async with httpx2.AsyncClient(headers={"X-Vault-Token": root}, timeout=30) as http:
            server = OpenBao(f"http://127.0.0.1:{port}", directory / "token", http)
            await until(lambda: _up(server))
            await server.call("PUT", "sys/policies/acl/handrail", {"policy": POLICY})
            await server.token()
            yield server
    finally:
        process.terminate()
        process.wait(30)


async def _up(server: OpenBao) -> bool:
    try:
        # Its KV engine is upgraded to version 2 a moment after it listens.
        answer = await server.http.get(f"{server.url}/v1/secret/config")
    except httpx2.TransportError:
        return False
    return answer.status_code == 200
