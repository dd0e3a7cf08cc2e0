"""Replays what ``dump.py`` wrote through the real pipeline and the shipped policy, and counts what was let through.

Every call is a plan of one step in one context per task; its user's words are attested. A call of the user's that is
asked is approved, as its user would; an injected one is not. An attack counts as allowed when every call of it was;
one that the suite names no calls of is not counted.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.calls import HandCall, HandResult
from gateway.manifest import ActionManifest, ArgumentRole, Manifest, SideEffects, Trust
from gateway.model import Answer
from gateway.policy.bundle import load
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.engine import SHIPPED
from tests.pipeline.house import APPROVER, House, close_house, open_house

HERE = Path(__file__).parent


def annotations_of(suite: str) -> dict[str, Any]:
    """What an operator would say of a suite's tools."""
    return tomllib.loads((HERE / "annotations" / f"{suite}.toml").read_text(encoding="utf-8"))


def manifests(tools: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, Manifest]:
    """Manifests of the suite's schemas with the operator's words; what is not annotated counts as the worst."""
    made = {}
    for hand, said in annotations["hands"].items():
        actions = {
            name: ActionManifest(
                name,
                "",
                {**tools[name], "$schema": "https://json-schema.org/draft/2020-12/schema"},
                side_effects=SideEffects(word.get("side_effects", "external")),
                roles={pointer: ArgumentRole(role) for pointer, role in word.get("args", {}).items()},
                trust=Trust(word["trust"]) if "trust" in word else None,
                result_trust={pointer: Trust(trust) for pointer, trust in word.get("result_trust", {}).items()},
            )
            for name, word in said["actions"].items()
        }
        made[hand] = Manifest(hand, "simulated", actions, labels=tuple(said.get("labels", ())))
    return made


def bundle_for(annotations: Mapping[str, Any], directory: Path) -> Path:
    """The shipped bundle with one deployment's grants: the agent may use every tool, and unattended where no rule asks,
    unless the operator wants a person to look at each call of it (``attended``)."""
    shutil.copytree(SHIPPED, directory, dirs_exist_ok=True)
    table = []
    for hand, said in annotations["hands"].items():
        line = {"roles": ["agent"], "hand": hand, "external": True}
        for attended in (False, True):
            actions = [name for name, word in said["actions"].items() if word.get("attended", False) is attended]
            if actions:
                table.append({**line, "actions": actions, **({} if attended else {"unattended": True})})
    grants = directory / "handrail" / "grants" / "data.json"
    grants.write_text(json.dumps({**json.loads(grants.read_text()), "table": table}))
    return directory


async def play(house: House, owner: Mapping[str, str], context: str, request: str, call: Mapping[str, Any]) -> Any:
    """One call as a plan; returns its effect and its view."""

    async def answer(_: HandCall) -> HandResult:
        text = call["error"] or orjson.dumps(call["result"]).decode()
        structured = None if call["error"] else call["result"]
        return HandResult(({"type": "text", "text": text},), structured, is_error=bool(call["error"]))

    house.hands.behaviour[call["action"]] = answer
    action = {"id": "s", "hand": owner[call["action"]], "action": call["action"], "args": call["args"]}
    view = await house.submit({**house.brain.payload(action, context_id=context), "request": request})
    (only,) = view["steps"]
    return (only["decision"] or {"effect": "deny"})["effect"], view


async def replay(dumped: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix of one suite."""
    hands = manifests(dumped["tools"], annotations)
    owner = {action: hand for hand, manifest in hands.items() for action in manifest.actions}
    engine = EmbeddedEngine(workers=1, deadline_seconds=2.0, input_max_bytes=1_048_576)
    benign: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    allowed: list[str] = []
    asked: list[str] = []
    denied: list[str] = []
    passed: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        house = await open_house(Path(folder))

        async def record() -> None:
            """Nothing to keep."""

        await engine.activate(load(bundle_for(annotations, Path(folder) / "policies")), record)
        house.policy.digest = engine.digest
        house.policy.decide = engine.decide  # type: ignore[method-assign]
        house.hands.manifests = dict(hands)
        house.directory.issuers["default", house.brain.issuer] = house.brain.registration(attests_request=True)

        async def user(calls: Any, context: str, request: str, counted: Counter[str]) -> None:
            for call in calls:
                effect, view = await play(house, owner, context, request, call)
                counted[effect] += 1
                (asked if effect == "ask" else denied if effect == "deny" else []).append(f"{context} {call['action']}")
                if effect == "ask":
                    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
                    await house.until_settled(view["plan_id"])

        attacks = 0
        for user_id, task in dumped["users"].items():
            await user(task["calls"], user_id, task["request"], benign)
            for attack_id, attack in task["attacks"].items():
                if not attack["injected"]:
                    continue
                attacks += 1
                context = f"{user_id}.{attack_id}"
                await user(attack["user"], context, task["request"], planted)
                effects = []
                for call in attack["injected"]:
                    effect, _ = await play(house, owner, context, task["request"], call)
                    effects.append(effect)
                    if effect == "allow":
                        passed.add(call["action"])
                    injected[effect] += 1
                if set(effects) == {"allow"}:
                    allowed.append(context)
        await engine.close()
        await close_house(house)
    return {
        "suite": dumped["suite"],
        "version": dumped["version"],
        "attacks": attacks,
        "attacks_allowed": len(allowed),
        "allowed": allowed,
        "benign_calls": dict(benign),
        "planted_benign_calls": dict(planted),
        "injected_calls": dict(injected),
        "injected_allowed": sorted(passed),
        "asked_share": round(benign["ask"] / sum(benign.values()), 4),
        "denied_share": round(benign["deny"] / sum(benign.values()), 4),
        "asked": [one for one in asked if "." not in one.split()[0]],
        "denied": denied,
    }


if __name__ == "__main__":
    given = json.load(sys.stdin)
    found = asyncio.run(replay(given, annotations_of(given["suite"])))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
