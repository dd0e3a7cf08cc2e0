"""Bundles, inputs and engines for the policy tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.model import Decision
from gateway.policy.bundle import Bundle, load
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.faults import BundleError
from gateway.policy.inspection import inspect

SHIPPED = Path(__file__).resolve().parents[2] / "policies"

DENY_ALL = """package handrail

decisions contains {"step": step.id, "effect": "deny", "reasons": [{"code": "test.no", "message": "no"}]} if {
	some step in input.steps
}
"""
OPEN = """package handrail

decisions contains {"step": step.id, "effect": effect, "reasons": []} if {
	some step in input.steps
	effect := object.get({"known": "EFFECT"}, step.hand, "deny")
}
"""
"""Says EFFECT of every step on the hand ``known``, and denies the rest."""


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Put ``files`` (path -> text) into ``directory``."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def rego(body: str, package: str = "handrail") -> str:
    """A module with a harmless ``decisions`` rule besides ``body``."""
    head = f"package {package}\n\n"
    return head + (DENY_ALL.partition("\n\n")[2] if package == "handrail" else "") + "\n" + body + "\n"


def step(step_id: str = "s1", hand: str = "known", action: str = "do", **args: Any) -> dict[str, Any]:
    """One step of a policy input."""
    return {
        "id": step_id,
        "hand": hand,
        "action": action,
        "args": args,
        "args_sha256": "0" * 64,
        "data_subjects": [],
        "provenance": {},
    }


def ask(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A policy input, version 1, with the members that the gateway gives it."""
    return {
        "v": 1,
        "tenant": "default",
        "environment": "test",
        "now": "2026-11-26T12:00:00Z",
        "principal": {"id": "bot", "tenant": "default", "roles": ["agent"]},
        "plan": {"id": "0" * 64, "context_id": "c", "issuer": "i", "purpose": None},
        "steps": list(steps),
        "hands": GIT,
        "context": {
            "data_region": None,
            "taint": [],
            "principal_taint": [],
            "private": [],
            "personal_data": [],
            "spent": {},
            "history": [],
        },
        **members,
    }


def _action(side_effects: str, **roles: str) -> dict[str, Any]:
    pointers = {"/" + name.replace("__", "/"): role for name, role in roles.items()}
    return {"side_effects": side_effects, "idempotent": False, "args": pointers}


GIT: dict[str, Any] = {
    "git": {
        "region": None,
        "trust": "untrusted",
        "labels": ["root:/repo"],
        "manifest_digest": "0" * 64,
        "actions": {
            "git_status": _action("none", repo_path="path"),
            "git_log": _action("none", repo_path="path"),
            "git_add": {
                "side_effects": "reversible",
                "idempotent": False,
                "args": {"/repo_path": "path", "/files/*": "path"},
            },
            "git_commit": _action("reversible", repo_path="path", message="content"),
            "git_reset": _action("irreversible", repo_path="path"),
            "git_push": _action("external", repo_path="path"),
        },
    },
    "time": {
        "region": None,
        "trust": "trusted",
        "labels": [],
        "manifest_digest": "1" * 64,
        "actions": {"get_current_time": _action("none"), "convert_time": _action("none")},
    },
}


async def record() -> None:
    """An activation that nobody writes down."""


async def embedded(directory: Path, **changes: Any) -> EmbeddedEngine:
    """An embedded engine that holds the bundle in ``directory``, inspected as always."""
    bundle = await inspected(directory)
    engine = EmbeddedEngine(**{"workers": 1, "deadline_seconds": 2.0, "input_max_bytes": 1_048_576, **changes})
    await engine.activate(bundle, record)
    return engine


async def inspected(directory: Path) -> Bundle:
    """The bundle in ``directory`` where it passes the check."""
    return (await inspect(load(directory))).bundle


async def refused(directory: Path) -> list[str]:
    """Why the bundle in ``directory`` is refused, as people read it; empty where it is not."""
    try:
        await inspect(load(directory))
    except BundleError as exc:
        return [str(problem) for problem in exc.problems]
    return []


def said(decision: Decision) -> tuple[str, list[str]]:
    """Effect and codes."""
    return str(decision.effect), [reason.code for reason in decision.reasons]


def spelled(decisions: Mapping[str, Decision]) -> dict[str, Any]:
    """Decisions as JSON: the effect and the codes of each step, also of what was beaten."""
    return {
        name: {
            "effect": str(one.effect),
            "codes": [reason.code for reason in one.reasons],
            "beaten": [reason.code for reason in one.beaten],
        }
        for name, one in decisions.items()
    }


def canonical(decisions: Mapping[str, Decision]) -> str:
    """Decisions as text, to compare two engines' answers as a whole."""
    return json.dumps({name: repr(decision) for name, decision in decisions.items()}, sort_keys=True)


PACKAGES = sorted(path for path in SHIPPED.rglob("*.rego") if not path.name.endswith("_test.rego"))
DECIDING = [path for path in PACKAGES if "\ndecisions contains" in path.read_text() and path.parent.name != "handrail"]
