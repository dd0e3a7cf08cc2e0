"""A real OpenBao: its own program, over TLS, with its storage in memory."""

import asyncio
import contextlib
import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import services
from tests.authority import Authority
from tests.ports import free_port
from tests.until import until


class Answered(Exception):
    """The server said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass
class OpenBao:
    """A server.

    Attributes:
        root: its first token, which may do everything.
        unseal_key: the one share of the key that opens it.
    """

    url: str
    ca_file: Path
    root: str = field(repr=False, default="")
    unseal_key: str = field(repr=False, default="")

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str | None = None) -> Any:
        """What the API answers, as somebody with every right."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection(urlsplit(self.url).netloc, context=context, timeout=30)
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/v1/{path}", data, {"X-Vault-Token": self.root if token is None else token})
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= 400:
            raise Answered(answer.status, content.decode())
        return json.loads(content) if content else {}

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self.unseal_key})


def program() -> str:
    """Where ``bao`` is; skips without it, fails under ``.ci/run``."""
    found = shutil.which("bao")
    services.require(found, "OpenBao", "'make tools' puts it into .tools/bin.")
    return str(found)


@contextmanager
def serving(directory: Path) -> Iterator[OpenBao]:
    """A server that is initialised and open."""
    certificate, key = Authority(directory / "authority").issue("openbao")
    port = free_port()
    conf = directory / "server.json"
    listener = {"address": f"127.0.0.1:{port}", "tls_cert_file": str(certificate), "tls_key_file": str(key)}
    address = f"https://127.0.0.1:{port}"
    settings = {"storage": {"inmem": {}}, "listener": {"tcp": listener}, "api_addr": address, "disable_mlock": True}
    conf.write_text(json.dumps(settings))
    bao = OpenBao(address, directory / "authority" / "ca.pem")
    command = [program(), "server", f"-config={conf}"]
    environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            asyncio.run(until(lambda: _answers(bao)))
            made = bao.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            bao.root, bao.unseal_key = made["root_token"], made["keys"][0]
            bao.unseal()
            asyncio.run(until(lambda: _answers(bao, "sys/health")))
            yield bao
        finally:
            process.terminate()
            process.wait(30)


def _answers(bao: OpenBao, path: str = "sys/seal-status") -> bool:
    try:
        bao.call("GET", path)
    except (Answered, OSError):
        return False
    return True
