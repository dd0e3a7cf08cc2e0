"""Hands that their client runs, for tests of the pipeline."""

from pathlib import Path
from typing import Any

from gateway.calls import HandResult
from gateway.manifest import ActionManifest, ArgumentRole, Manifest, PersonalData, SideEffects
from gateway.model import Principal
from gateway.state import Reported
from tests.pipeline.house import AGENT, ECHO_SCHEMA, MANIFEST, House, open_house, step

COMMAND = {
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
    "additionalProperties": False,
}
SHELL = Manifest(
    hand="shell",
    adapter="client",
    actions={
        "Bash": ActionManifest("Bash", "Runs a command.", COMMAND, roles={"/command": ArgumentRole.PATH}),
        "Fetch": ActionManifest("Fetch", "Reads a page.", ECHO_SCHEMA, side_effects=SideEffects.NONE),
        "write": ActionManifest("write", "Asks first.", ECHO_SCHEMA, side_effects=SideEffects.REVERSIBLE),
        "small": ActionManifest("small", "Is told little.", ECHO_SCHEMA, result_max_bytes=128),
        "private": ActionManifest("private", "Redacts.", ECHO_SCHEMA, personal_data=PersonalData.REDACT),
    },
)


async def client_house(home: Path, **changes: Any) -> House:
    house = await open_house(home, **changes)
    equip(house)
    return house


def equip(house: House) -> None:
    house.hands.manifests = {"tool": MANIFEST, "shell": SHELL}


def run(name: str, action: str = "Fetch", **changes: Any) -> dict[str, Any]:
    return step(name, action, hand="shell", **changes)


def bash(name: str, command: str = "ls", **changes: Any) -> dict[str, Any]:
    return {**step(name, "Bash", hand="shell", **changes), "args": {"command": command}}


def said(text: str, *, failed: bool = False) -> HandResult:
    return HandResult(({"type": "text", "text": text},), None, failed)


async def report(house: House, view: dict[str, Any], text: str, who: Principal = AGENT, step_id: str = "") -> Reported:
    return await house.client_reports.report(who, view["plan_id"], step_id or view["steps"][0]["id"], said(text))
