"""Who plays: an administrator, an agent that signs plans, and a person who approves with a key of their own."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from handrail import Client, HandrailProblem, SigningKey

from gateway import setup
from gateway.cli.demo.ground import Ground
from gateway.cli.exits import Stop
from gateway.cli.saving import save_json

AGENT: Final = "demo-agent"
APPROVER: Final = "robin"
"""The named demonstration approver."""
HANDS_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Player:
    """One principal with its connection and, where it signs, its key."""

    name: str
    client: Client
    token: str
    key: SigningKey | None = None


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody."""

    admin: Player
    agent: Player
    approver: Player


def first_principal(ground: Ground) -> None:
    """Make keys, tables and the administrator, and remember its API key in ``cli.json``."""
    done = setup.run(ground.settings)
    file = ground.home / "cli.json"
    if done.token is not None:
        principals = {setup.FIRST_PRINCIPAL: {"api_key": done.token}}
        _store(ground, {"url": ground.url, "default": setup.FIRST_PRINCIPAL, "principals": principals})
    elif not file.exists():
        raise Stop(
            f"{ground.home} has principals, but {file} with their API keys is gone",
            "Restore the file, or choose another HANDRAIL_HOME.",
        )
    else:
        _store(ground, {**_read(ground), "url": ground.url})


def gather(ground: Ground) -> Cast:
    """Connect everybody, adding whom the gateway does not know yet."""
    known = _read(ground)
    admin = _player(ground, setup.FIRST_PRINCIPAL, known["principals"][setup.FIRST_PRINCIPAL])
    agent = _join(ground, admin, AGENT, ["agent"], enrol=False)
    approver = _join(ground, admin, APPROVER, ["approver"], enrol=True)
    if agent.key is None:
        raise Stop("the agent has no key", f"Remove {ground.home} to begin anew.")
    if AGENT not in {issuer["id"] for issuer in admin.client.issuers()}:
        admin.client.add_issuer(AGENT, agent.key.public)
    return Cast(admin, agent, approver)


def pin_hands(admin: Player) -> dict[str, dict[str, Any]]:
    """Look at what each hand offers and pin it, as an operator would; returns the hands as they are now."""
    deadline = time.monotonic() + HANDS_SECONDS
    hands = admin.client.hands()
    while time.monotonic() < deadline and any(hand["state"] == "asking" for hand in hands):
        time.sleep(0.2)
        hands = admin.client.hands()
    for hand in hands:
        if hand["state"] in {"unpinned", "drifted"}:
            admin.client.pin_hand(hand["id"], hand["offered_digest"])
    return {hand["id"]: hand for hand in admin.client.hands()}


def _join(ground: Ground, admin: Player, name: str, roles: list[str], *, enrol: bool) -> Player:
    """A player whose API key still works, or a new one."""
    known = _read(ground)
    file = f"{name}.jwk.json"
    if not (ground.home / file).exists():
        SigningKey.generate().save(ground.home / file)
    key = SigningKey.load(ground.home / file)
    entry = known["principals"].get(name)
    if entry is not None:
        player = _player(ground, name, entry)
        try:
            player.client.me()
        except HandrailProblem:
            player.client.close()
        else:
            return player
    added = admin.client.add_principal(name, roles, approval_key=key.public if enrol else None)
    entry = {"api_key": added["api_key"]["token"], "jwk_file": file}
    if not enrol:
        entry["issuer"] = name
    known["principals"][name] = entry
    _store(ground, known)
    return _player(ground, name, entry)


def _player(ground: Ground, name: str, entry: dict[str, str]) -> Player:
    key = SigningKey.load(ground.home / entry["jwk_file"]) if "jwk_file" in entry else None
    return Player(name, Client(ground.url, entry["api_key"]), entry["api_key"], key)


def _store(ground: Ground, known: dict[str, Any]) -> None:
    save_json(ground.home / "cli.json", known, force=True, private=True)


def _read(ground: Ground) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ground.home / "cli.json").read_text(encoding="utf-8"))
    return document
