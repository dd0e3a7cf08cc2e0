"""What the tests of hands share."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import HandCall
from gateway.canonical import canonical
from gateway.conversations import Unanswered
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import HandError
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


class Talk:
    """``Conversation`` with a client that can be asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = frozenset(answers)
        self.handshake = True
        self.cancelled = asyncio.Event()
        self.log_level = "debug"
        self.asked: list[Mapping[str, Any]] = []
        self.told: list[Any] = []
        self.answer: Mapping[str, Any] | None = {"action": "accept", "content": {}}

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(params)
        if self.answer is None:
            raise Unanswered
        return self.answer

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.told.append((progress, total, message))

    def log(self, level: str, logger: str | None, data: Any) -> None:
        self.told.append((level, logger, data))

    def visited(self, elicitation_id: str) -> None:
        self.told.append(elicitation_id)


async def refused(awaitable: Awaitable[Any]) -> tuple[Reason, HandFailure]:
    """Why a call gave no result, and whether the hand acted."""
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure
