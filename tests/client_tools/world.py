"""A real gateway with hands that clients run, for the tests of docs/client-tools.md."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from gateway.cli import client_hand
from hand_adapters.client_presets import CLAUDE_CODE
from tests.cli import real
from tests.meta.tree import ROOT
from tests.policy.support import SHIPPED

PAGE = (ROOT / "docs" / "client-tools.md").read_text(encoding="utf-8")


def block(language: str, number: int = 0) -> str:
    """A fenced block of the page."""
    return str(re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[number])


@dataclass(frozen=True)
class World:
    """A running gateway.

    Attributes:
        keys: principal -> API key.
    """

    home: Path
    url: str
    keys: dict[str, str]

    def get(self, path: str, who: str = "ada") -> Any:
        answer = httpx2.get(f"{self.url}{path}", headers={"authorization": f"Bearer {self.keys[who]}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, who: str = "ada") -> httpx2.Response:
        return httpx2.post(f"{self.url}{path}", json=body, headers={"authorization": f"Bearer {self.keys[who]}"})

    def entries(self, kind: str) -> list[Any]:
        """Entries of a type, oldest first."""
        found = self.get(f"/v1/audit/entries?type={kind}&limit=500", "eve")["entries"]
        return sorted(found, key=lambda one: one["index"])

    def steps(self, context: str) -> list[Any]:
        """Every step of a context, in the order in which their plans came."""
        received = [one for one in self.entries("PLNRCV") if one["entry"]["context_id"] == context]
        return [step for one in received for step in self.get(f"/v1/plans/{one['entry']['plan_id']}", "eve")["steps"]]

    def approve(self) -> None:
        """Approve the newest request."""
        request, *_ = self.get("/v1/approvals?status=open", "bob")["approvals"]
        done = real.invoke(self.home, "approvals", "approve", request["id"], "--yes", "--as", "bob")
        assert done.exit_code == 0, done.output


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """The hands of the page and of the preset, pinned, and the shipped rules with the page's grants."""
    preset = "\n".join(client_hand.lines("claude-code", CLAUDE_CODE))
    preset = preset.replace("# labels = ", "labels = ").replace("/home/me/project", str(directory.parent))
    bundle = directory / "policies"
    shutil.copytree(SHIPPED, bundle)
    grants = bundle / "handrail" / "grants" / "data.json"
    data = json.loads(grants.read_text())
    grants.write_text(json.dumps({**data, "table": [*data["table"], *json.loads(block("json"))]}))
    declared = f'{block("toml")}{preset}\n[policy]\nbundle = "{bundle}"\n'
    config = real.CONFIG + declared.replace("{", "{{").replace("}", "}}")
    people = {"ada": "agent", "mallory": "agent", "bob": "approver", "eve": "auditor"}
    with real.gateway(directory, config, people, signer="ada", issuer="ada-laptop") as home:
        for hand in ("office", "claude-code"):
            pinned = real.invoke(home, "hands", "pin", hand, "--yes", "--as", "admin")
            assert pinned.exit_code == 0, pinned.output
        stored = json.loads((home / "cli.json").read_text())
        keys = {name: one["api_key"] for name, one in stored["principals"].items()}
        yield World(home, stored["url"], keys)
