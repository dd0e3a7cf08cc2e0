"""A gateway between clients of the Messages API and the stand-in: a model's hand, and a hand of Claude Code's tools."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from gateway.app import build
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from tests.anthropic_api.server import StandIn
from tests.web.conftest import serving

TOOLS: Final = ("Bash", "Edit", "Glob", "Grep", "Read", "ToolSearch", "WebFetch", "Write")
"""The tools that the client's hand declares."""
READS: Final = frozenset({"Glob", "Grep", "Read", "ToolSearch"})

_POLICY: Final = """package handrail

decisions contains decision if {
	some step in input.steps
	input.hands[step.hand].actions[step.action]
	not denied[step.id]
	decision := {"step": step.id, "effect": "allow", "reasons": [], "obligations": {}}
}

decisions contains decision if {
	some id in object.keys(denied)
	decision := {
		"step": id, "effect": "deny", "obligations": {},
		"reasons": [{"code": "policy.denied", "rule": "test.forbidden", "data": {}}],
	}
}

denied[step.id] := true if {
	some step in input.steps
	step.hand == "workstation"
	contains(step.args.command, "forbidden")
}
"""


@dataclass(frozen=True, slots=True)
class House:
    """A gateway that serves.

    Attributes:
        url: its root; :attr:`base_url` is what a client is given.
        key: of the agent ``coder``.
    """

    gateway: Gateway
    url: str
    key: str

    @property
    def base_url(self) -> str:
        """The value of ``ANTHROPIC_BASE_URL``."""
        return f"{self.url}/anthropic"

    def entries(self, *kinds: str) -> list[Mapping[str, Any]]:
        """What the log holds of these types, in order."""
        with self.gateway.engine.connect() as connection:
            bodies = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [entry for body in bodies if (entry := orjson.loads(bytes(body)))["type"] in kinds]


@asynccontextmanager
async def governed(api: StandIn, home: Path, **sections: Any) -> AsyncIterator[House]:
    """The gateway, with the stand-in's key in its keeping.

    Args:
        home: an empty folder.
        sections: of its configuration, beside those that this needs.
    """
    policy = home / "policy"
    (policy / "handrail").mkdir(parents=True)
    (policy / "handrail" / "decisions.rego").write_text(_POLICY)
    model = {
        "adapter": "anthropic",
        "base_url": api.url,
        "private_network": True,
        "secrets": {"claude-key": {"place": "header", "parameter": "x-api-key"}},
    }
    tools = {name: {"side_effects": "none" if name in READS else "external"} for name in TOOLS}
    hands = {"claude": model, "workstation": {"adapter": "client", "actions": tools}}
    whole = {"server": {"port": 0}, "policy": {"bundle": policy}, "hands": hands, **sections}
    settings = Settings(home=home / "home", **whole)  # type: ignore[arg-type]
    gateway = build(settings)
    async with serving(create_app(gateway), settings) as port:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as answer:
            answer.raise_for_status()  # whoever comes early waits for the start
        made = await gateway.directory.bootstrap(
            [NewPrincipal("coder", ["agent"]), NewPrincipal("root", ["security_admin"])]
        )
        keys = {str(one["principal"]["id"]): str(one["api_key"]["token"]) for one in made}
        root = await gateway.directory.principal("default", "root")
        await gateway.secrets.set(root, "claude-key", api.key)
        await gateway.hands.settled()
        for hand in hands:
            await gateway.hands.pin(hand, gateway.hands.describe_one("default", hand)["offered_digest"], root)
        yield House(gateway, url, keys["coder"])
