"""A real OpenBao with a Transit engine, fresh for each test: its own program, over TLS, with its storage in memory."""

import asyncio
import contextlib
import http.client
import json
import re
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import services
from tests.authority import Authority
from tests.meta.tree import ROOT
from tests.until import until

PAGE = (ROOT / "docs" / "key-stores.md").read_text(encoding="utf-8")
(SHOWN_POLICY,) = re.findall(r"^```hcl\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
POLICY = SHOWN_POLICY.replace("transit/", "MOUNT/")
"""What the gateway may: the page's own policy, with the name of the mount left open."""


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


@dataclass
class Engine:
    """A Transit engine of its own on the server, and a token that may what the gateway may.

    Attributes:
        token_file: holds the token.
    """

    bao: OpenBao
    mount: str
    token_file: Path

    def key(self, name: str, **settings: Any) -> None:
        """Make a key."""
        self.bao.call("POST", f"{self.mount}/keys/{name}", settings)

    def config(self, name: str, **settings: Any) -> None:
        """Change a key's settings."""
        self.bao.call("POST", f"{self.mount}/keys/{name}/config", settings)

    def names(self) -> list[str]:
        """Of every key in it."""
        try:
            return list(self.bao.call("LIST", f"{self.mount}/keys")["data"]["keys"])
        except Answered as exc:
            if exc.status == 404:
                return []
            raise

    def policy(self, text: str = POLICY) -> str:
        """Name of a policy with this text."""
        name = f"p{secrets.token_hex(6)}"
        self.bao.call("PUT", f"sys/policies/acl/{name}", {"policy": text.replace("MOUNT", self.mount)})
        return name

    def token(self, policy: str | None = None, **settings: Any) -> str:
        """A token with a policy."""
        asked = {"policies": [policy or self.policy()], **settings}
        return str(self.bao.call("POST", "auth/token/create", asked)["auth"]["client_token"])

    def write_token(self, token: str) -> None:
        """Have the gateway use another token, as an agent beside it would."""
        fresh = self.token_file.with_name("fresh")
        fresh.write_text(token + "\n")
        fresh.chmod(0o600)
        fresh.replace(self.token_file)


def program() -> str:
    """Where ``bao`` is; skips without it, fails under ``.ci/run``."""
    found = shutil.which("bao")
    services.require(found, "OpenBao", "'make tools' puts it into .tools/bin.")
    return str(found)


@contextmanager
def serving(directory: Path) -> Iterator[OpenBao]:
    """A server that is initialised and open."""
    certificate, key = Authority(directory / "authority").issue("openbao")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for the process."""
    with serving(tmp_path_factory.mktemp("openbao")) as bao:
        yield bao


@pytest.fixture
def engine(openbao: OpenBao, tmp_path: Path) -> Engine:
    """A new engine with a key ``data-root`` that wraps, and a token in a file."""
    made = Engine(openbao, f"t{secrets.token_hex(6)}", tmp_path / "token")
    openbao.call("POST", f"sys/mounts/{made.mount}", {"type": "transit"})
    made.key("data-root", type="aes256-gcm96")
    made.write_token(made.token())
    return made
