"""Transit engines of a real OpenBao, fresh for each test."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.meta.tree import ROOT
from tests.openbao import Answered, OpenBao, serving

PAGE = (ROOT / "docs" / "key-stores.md").read_text(encoding="utf-8")
(SHOWN_POLICY,) = re.findall(r"^```hcl\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
POLICY = SHOWN_POLICY.replace("transit/", "MOUNT/")
"""What the gateway may: the page's own policy, with the name of the mount left open."""


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
