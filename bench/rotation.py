"""Rotate every key of a running gateway while messages go on, and count those that a verifier refuses: none may be.

``python -m bench.rotation [MESSAGES]``: a real gateway (SQLite, key files) behind its ASGI application. Agents submit
signed plans and check the receipts; beside them, keys of every purpose sign without a pause. All of
it is verified by readers that fetch ``/.well-known/jwks.json`` and keep it for as long as it says they may, and never
fetch it for a key that they do not know: what they need must be in what they have. Prints one JSON document.
"""

import asyncio
import contextlib
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from handrail import Plan, Signer, SigningKey

from gateway.app import build
from gateway.errors import HandrailError, Refused
from gateway.model import DEFAULT_TENANT
from gateway.ports import Purpose, Typ
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from keys import jwk, jws
from keys.keyset import TYPES

ROTATIONS: Final = 3
PURPOSES: Final = tuple(one for one in Purpose if one is not Purpose.CHECKPOINT_PQ)
"""Those that readers verify by the JWKS."""
AGENTS: Final = 4
_MAX_AGE: Final = re.compile(r"max-age=([0-9]+)")
_PAUSE_SECONDS: Final = 0.05


class Failure(Exception):
    """A message was refused, or could not be made."""


class Reader:
    """Knows the gateway's keys as a careful verifier does: by a JWKS that it fetched, as long as that may be kept."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._until = 0.0
        self.keys: Mapping[str, Mapping[str, Any]] = {}

    async def refresh(self) -> None:
        """Fetch the key set again if it is too old."""
        if time.monotonic() < self._until:
            return
        asked = time.monotonic()
        answer = await self._http.get("/.well-known/jwks.json")
        matched = _MAX_AGE.search(answer.headers["cache-control"])
        if matched is None:
            raise Failure("the key set does not say for how long it may be kept")
        self.keys = {key["kid"]: key for key in answer.json()["keys"]}
        self._until = asked + int(matched[1])

    def key_for(self, purpose: Purpose, kid: str) -> Mapping[str, Any]:
        """The key that a message names, where it is of the purpose. Raises ``KeyError``."""
        found = self.keys[kid]
        if found["purpose"] != purpose:
            raise KeyError(kid)
        return found


@dataclass
class Load:
    """What was sent, and what went wrong."""

    wanted: int
    messages: Counter[str] = field(default_factory=Counter)
    rotations: Counter[str] = field(default_factory=Counter)
    kids: dict[str, set[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, kid: str) -> None:
        """One more message that its reader believed."""
        with self.lock:
            self.messages[what] += 1
            self.kids.setdefault(what, set()).add(kid)

    @property
    def done(self) -> bool:
        """Whether there were enough messages and rotations; or something failed."""
        rotated = all(self.rotations[purpose] >= ROTATIONS for purpose in PURPOSES)
        return bool(self.failures) or (rotated and self.messages.total() >= self.wanted)


async def agent(load: Load, http: httpx2.AsyncClient, origin: str, key: SigningKey, headers: Mapping[str, str]) -> None:
    """Submit plans, and check what the gateway signs about each. No such hand exists: refusals are receipted, too."""
    reader = Reader(http)
    signer = Signer("load", key, origin, DEFAULT_TENANT, "load")
    headers = {**headers, "content-type": "application/jose"}
    while not load.done:
        plan = Plan()
        plan.step("nowhere", "look", {})
        await reader.refresh()
        token = signer.sign(plan)
        answer = await http.post(
            "/v1/plans?wait=10", content=token, headers={**headers, "content-type": "application/jose"}
        )
        if answer.status_code not in {200, 202}:
            raise Failure(f"a plan was answered with {answer.status_code}")
        document = answer.json()
        for step in document["steps"]:
            _believed(load, reader, step["receipt"], Typ.RECEIPT, "receipt of a step")


async def tokens(load: Load, gateway: Gateway, http: httpx2.AsyncClient) -> None:
    """Have keys of every purpose sign without a pause, in a thread, and verify what they sign."""
    reader = Reader(http)
    while not load.done:
        await reader.refresh()
        await asyncio.to_thread(_round, load, gateway, reader)


def _round(load: Load, gateway: Gateway, reader: Reader) -> None:
    for purpose in PURPOSES:
        for typ in sorted(TYPES[purpose]):
            for _ in range(8):
                _believed(load, reader, gateway.keyset.sign(purpose, typ, b'{"v":1}'), typ, f"{purpose} {typ}", purpose)
        if not TYPES[purpose]:
            for number in range(8):
                _noted(load, reader, purpose, gateway.keyset.sign_raw(purpose, b"%d" % number), b"%d" % number)


def _believed(load: Load, reader: Reader, token: str, typ: Typ, what: str, purpose: Purpose = Purpose.RECEIPT) -> None:
    try:
        verified = jws.verify(token.encode("ascii"), typ, lambda kid: reader.key_for(purpose, kid))
    except HandrailError as error:
        raise Failure(f"{what}: {error.reason} {error.detail}") from None
    load.count(what, verified.kid)


def _noted(load: Load, reader: Reader, purpose: Purpose, signature: bytes, message: bytes) -> None:
    """A raw signature names no key: it must be one of those of its purpose."""
    for kid, key in reader.keys.items():
        if key["purpose"] == purpose:
            with contextlib.suppress(Exception):
                jwk.public(key).key.verify(signature, message)
                load.count(f"{purpose} note", kid)
                return
    raise Failure(f"{purpose}: a signature by no key that was published")


async def rotate(load: Load, gateway: Gateway) -> None:
    """Rotate every purpose as often as it goes, until each was rotated often enough."""
    while not load.done:
        for purpose in PURPOSES:
            try:
                await gateway.key_changes.make(gateway.keyset.rotate, purpose, DEFAULT_TENANT, "bench")
            except Refused as refusal:
                if refusal.reason is not Reason.REQUEST_CONFLICT:
                    raise
            else:
                load.rotations[purpose] += 1
        await asyncio.sleep(_PAUSE_SECONDS)


async def run(home: Path, messages: int) -> dict[str, Any]:
    """Send that many messages at least, over three rotations of every purpose; what came of it.

    Returns:
        ``{messages, kinds, rotations, keys, failures, seconds}``; ``keys`` is how many signed each kind of message.
    """
    load, started = Load(messages), time.monotonic()
    gateway = build(Settings(home=home, server={"port": 0}, keys={"jwks_lifetime_seconds": 1}))
    async with _serving(gateway) as http:
        key, headers = await _agents(gateway)
        origin = gateway.settings.log.origin
        work = [agent(load, http, origin, key, headers) for _ in range(AGENTS)]
        tasks = [asyncio.create_task(one) for one in (*work, tokens(load, gateway, http), rotate(load, gateway))]
        for task in tasks:
            task.add_done_callback(lambda done: _heard(load, done))
        await asyncio.wait(tasks)
    return {
        "messages": load.messages.total(),
        "kinds": dict(sorted(load.messages.items())),
        "rotations": {str(purpose): load.rotations[purpose] for purpose in PURPOSES},
        "keys": {what: len(kids) for what, kids in sorted(load.kids.items())},
        "failures": load.failures,
        "seconds": round(time.monotonic() - started, 1),
    }


def _heard(load: Load, done: "asyncio.Task[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        load.failures.append(f"{type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def _serving(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(gateway)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 5))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", timeout=60) as http:
            yield http


async def _agents(gateway: Gateway) -> tuple[SigningKey, dict[str, str]]:
    """The first principals, and an issuer that signs plans for one of them."""
    people = await gateway.directory.bootstrap(
        [NewPrincipal("admin", ["security_admin"]), NewPrincipal("load", ["agent"])]
    )
    admin = await gateway.directory.principal(DEFAULT_TENANT, "admin")
    key = SigningKey.generate()
    await gateway.directory.add_issuer(admin, "load", key.public.public_jwk())
    return key, {"authorization": f"Bearer {people[1]['api_key']['token']}"}


def main() -> int:
    """The command; its exit code."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as home:
        found = asyncio.run(run(Path(home) / "home", messages))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
