"""An adapter that keeps every promise: a shelf of texts in memory, whose tool takes a little time."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters import annotate
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.jail import Jail

LATENCY_SECONDS = 0.06
KEYS = ["a", "b"]
_KEYED = {"type": "object", "properties": {"key": {"enum": KEYS}}, "required": ["key"]}
TEXT = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 1500}}, "required": ["text"]}
SETTINGS: dict[str, Any] = {
    "adapter": "shelf",
    "secrets": {"token": {"place": "bearer", "targets": ["https://shelf.example"]}},
    "actions": {
        "echo": {
            "args_schema": TEXT,
            "result_schema": TEXT,
            "side_effects": "none",
            "idempotent": True,
        },
        "read": {"args_schema": _KEYED, "side_effects": "none", "idempotent": True},
        "put": {
            "args_schema": {
                "type": "object",
                "properties": {"key": {"enum": KEYS}, "text": {"type": "string", "maxLength": 40}},
                "required": ["key", "text"],
            },
            "side_effects": "reversible",
            "idempotent": True,
        },
        "burn": {"args_schema": _KEYED, "side_effects": "irreversible"},
    },
}


class Shelf:
    """What a tool of its own would be: texts under keys, for each caller the same."""

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self.settings = settings
        self.offered = annotate.declared(hand_id, settings)
        self.texts = dict.fromkeys(KEYS, "")

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        annotate.declared(hand_id, settings)

    async def manifest(self) -> Manifest:
        return self.offered

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"writes": action in {"put", "burn"}, "key": args.get("key")}

    async def run(self, call: HandCall) -> HandResult:
        self.compare(call)
        try:
            async with asyncio.timeout(call.deadline_seconds):
                await call.inject("https", "shelf.example", 443)
                await self.work()
        except TimeoutError:
            raise HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED) from None
        return self.within(call, self.answer(call.action, call.args))

    def compare(self, call: HandCall) -> None:
        if call.manifest_digest != self.offered.digest:
            raise HandDrifted(self.offered)

    async def work(self) -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(LATENCY_SECONDS, done.set)
        await done.wait()

    def answer(self, action: str, args: Mapping[str, Any]) -> Any:
        if action == "put":
            self.texts[args["key"]] = args["text"]
        elif action == "burn":
            self.texts[args["key"]] = ""
        return {"text": args["text"]} if action == "echo" else {"key": args["key"], "text": self.texts[args["key"]]}

    def within(self, call: HandCall, structured: Any) -> HandResult:
        if len(canonical(structured)) > call.result_max_bytes:
            raise HandError(Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED)
        return HandResult(({"type": "text", "text": "done"},), structured)

    async def close(self) -> None:
        """Nothing lives between calls."""
