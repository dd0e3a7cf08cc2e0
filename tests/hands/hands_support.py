"""What the tests of hands share."""

import os
import shutil
import sys
from pathlib import Path

from gateway.calls import HandCall
from gateway.canonical import canonical
from gateway.settings import HandSettings
from tests import services

HOSTILE = Path(__file__).parent / "servers" / "hostile.py"


def hostile(mode: str, *more: str, **settings) -> HandSettings:
    return HandSettings(adapter="mcp", command=(sys.executable, str(HOSTILE), mode, *more), **settings)


def call(hand: str, action: str, args: dict, digest: str, **changes) -> HandCall:
    values = {
        "tenant": "default",
        "principal_id": "ana",
        "context_id": "c",
        "plan_id": "p",
        "step_id": "s",
        "hand": hand,
        "action": action,
        "args": args,
        "args_bytes": canonical(args),
        "credential": "secret-step-credential",
        "prove": lambda method, url: f"proof {method} {url}",
        "manifest_digest": digest,
        "deadline_seconds": 20.0,
        "result_max_bytes": 65_536,
    }
    return HandCall(**{**values, **changes})


def need(program: str) -> str:
    """The path of a real program; where it is missing the test skips, and fails in CI."""
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    services.require(found, program, "make test installs it.")
    return str(found)
