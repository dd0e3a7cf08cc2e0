"""A gateway that answers the web layer from memory, so that the web layer is what is tested."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.canonical import b64url_decode, b64url_encode
from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Refused
from gateway.model import ActionManifest, Manifest, Principal, Role, SideEffects, UnverifiedPlan
from gateway.ports import Append, Purpose, Typ
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.telemetry import Metrics

PLAN_ID = "ab" * 32
APPROVAL_ID = "apr-1"


def principal(name: str, *roles: Role, hands: frozenset[str] | None = None) -> Principal:
    return Principal(name, "default", f"pseudonym-of-{name}", frozenset(roles), hands)


PRINCIPALS = {f"hr_{role}_key": principal(str(role), role) for role in Role}
PRINCIPALS["hr_other_key"] = principal("other", Role.AGENT)
PRINCIPALS["hr_scoped_key"] = principal("scoped", Role.AGENT, hands=frozenset({"clock"}))


def token(role: Role | str) -> dict[str, str]:
    return {"authorization": f"Bearer hr_{role}_key"}


def manifest(hand: str, *actions: ActionManifest) -> Manifest:
    return Manifest(hand, "mcp", {action.name: action for action in actions})


def action(name: str, side_effects: SideEffects = SideEffects.NONE, **more: Any) -> ActionManifest:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    return ActionManifest(name, f"Does {name}.", schema, side_effects=side_effects, **more)


def step(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    decision = {
        "effect": "allow",
        "reasons": [{"code": "git.read", "message": "Reading is free."}],
        "policy_digest": "d",
    }
    return {"id": "call", "hand": "git", "action": "status", "status": status, "decision": decision, **more}


def view(status: str = "done", *steps: dict[str, Any]) -> dict[str, Any]:
    return {"plan_id": PLAN_ID, "context_id": "c", "status": status, "log_index": 1, "steps": list(steps)}


class testing_only_Log:  # noqa: N801
    origin = "handrail.test/log"

    def __init__(self) -> None:
        self.aggregated: list[tuple[EntryDraft, str]] = []
        self.appended: list[EntryDraft] = []
        self.unready: HandrailError | None = None

    def aggregate(self, entry: EntryDraft, source: str) -> None:
        self.aggregated.append((entry, source))

    async def append(self, item: Append) -> Sequence[int]:
        self.appended.extend(item.entries)
        return list(range(len(item.entries)))

    async def ready(self) -> None:
        if self.unready is not None:
            raise self.unready

    async def checkpoint(self) -> str:
        return "handrail.test/log\n1\nAAAA\n\n\u2014 handrail.test/log AAAA\n"


class testing_only_Directory:  # noqa: N801
    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.failure: Exception | None = None

    async def authenticate(self, presented: str, now: float) -> Principal:
        if self.failure is not None:
            raise self.failure
        if presented == "hr_expired_key":
            raise Refused(Reason.AUTH_EXPIRED, "yesterday")
        if presented not in PRINCIPALS or presented in self.revoked:
            raise Refused(Reason.AUTH_INVALID, "unknown")
        return PRINCIPALS[presented]


class testing_only_Pipeline:  # noqa: N801
    def __init__(self) -> None:
        self.submitted: list[tuple[UnverifiedPlan, float]] = []
        self.answer: dict[str, Any] | Exception = view("done", step(result={"content": [], "structured": None}))
        self.script: list[tuple[int, str, dict[str, Any]]] = []
        self.hold = asyncio.Event()
        self.holds = False
        self.following = 0
        self.pulled = 0

    async def submit(self, unverified: UnverifiedPlan, *, wait_seconds: float = 0.0) -> dict[str, Any]:
        self.submitted.append((unverified, wait_seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        if plan_id != PLAN_ID:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such plan")
        return view("done", step())

    async def events(
        self, plan_id: str, viewer: Principal, after: int = 0
    ) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        if plan_id != PLAN_ID:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such plan")
        self.following += 1
        try:
            for event in self.script:
                if event[0] > after:
                    self.pulled += 1
                    yield event
            if self.holds:
                await self.hold.wait()
        finally:
            self.following -= 1

    def claims(self, at: int = -1) -> dict[str, Any]:
        """The payload of a submitted plan."""
        return dict(orjson.loads(b64url_decode(self.submitted[at][0].raw.split(b".")[1].decode())))


class testing_only_Keyset:  # noqa: N801
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.signed: list[tuple[Purpose, Typ]] = []

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        self.signed.append((purpose, typ))
        head = b64url_encode(orjson.dumps({"alg": "Ed25519", "kid": "k", "typ": str(typ)}))
        text = f"{head}.{b64url_encode(payload)}"
        return f"{text}.{b64url_encode(self._key.sign(text.encode()))}"

    def jwks(self) -> Mapping[str, Any]:
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": "k"}]}

    def list(self) -> Sequence[Any]:
        return []


class testing_only_Hands:  # noqa: N801
    def __init__(self) -> None:
        self.manifests = [
            manifest("git", action("status"), action("commit", SideEffects.REVERSIBLE)),
            manifest("clock", action("now", idempotent=True), action("set", SideEffects.EXTERNAL)),
        ]

    def listed(self, caller: Principal) -> Sequence[Manifest]:
        return [known for known in self.manifests if caller.may_use(known.hand)]

    def states(self) -> dict[str, str]:
        return {"git": "pinned"}

    def describe(self) -> list[dict[str, Any]]:
        return [self.describe_one(known.hand) for known in self.manifests]

    def describe_one(self, hand: str) -> dict[str, Any]:
        return {"id": hand, "adapter": "mcp", "state": "pinned", "region": None, "trust": "untrusted", "actions": []}


class testing_only_Approvals:  # noqa: N801
    def __init__(self) -> None:
        self.answers: list[tuple[str, str, str | None, bytes | None]] = []

    async def list(self, viewer: Principal, status: str | None) -> list[dict[str, Any]]:
        return []

    async def show(self, approval_id: str, viewer: Principal) -> dict[str, Any]:
        return {"id": approval_id}

    async def answer(
        self, approval_id: str, approver: Principal, *, decision: str | None = None, signed: bytes | None = None
    ) -> dict[str, Any]:
        self.answers.append((approval_id, approver.id, decision, signed))
        return {"id": approval_id}


class testing_only_Gateway:  # noqa: N801
    """Everything the web layer asks of a gateway. ``started`` and ``closed`` count its life."""

    def __init__(self, **server: Any) -> None:
        self.settings = Settings(server={"port": 0, **server}, log={"origin": testing_only_Log.origin})
        self.log = testing_only_Log()
        self.directory = testing_only_Directory()
        self.pipeline = testing_only_Pipeline()
        self.keyset = testing_only_Keyset()
        self.hands = testing_only_Hands()
        self.approvals = testing_only_Approvals()
        self.metrics = Metrics()
        self.started = 0
        self.closed = 0
        self.readiness = {"log": "ok", "policy": "ok", "keys": "ok"}

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    async def ready(self) -> dict[str, str]:
        return self.readiness

    def trust(self) -> dict[str, Any]:
        return {"v": 1, "origin": self.log.origin, "jwks": {"keys": []}, "log": []}
