"""Real gateways that follow what two people activated, people with real keys, bundles from a real repository."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from handrail import SigningKey
from handrail.proposals import new_binding, sign_act

from gateway.app import build
from gateway.canonical import sha256_canonical
from gateway.errors import HandrailError
from gateway.model import Decision, Principal
from gateway.policy import signed
from gateway.policy.git import revision
from gateway.ports import Typ
from gateway.proposals.acts import Said
from gateway.reasons import Reason
from gateway.service import Gateway
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.two_person import Kind
from keys import jws
from tests.lifecycle.repository import Repository
from tests.policy.support import OPEN, ask, step

NO_TESTS: Mapping[str, Any] = {"opa": None, "tests": None, "coverage": None}
ANN, OLI, KIM = (SigningKey(bytes([number]) * 32) for number in (11, 12, 13))
KEYS = {"ann": ANN, "oli": OLI, "kim": KIM}
PEOPLE = [
    NewPrincipal("ann", ["author"], approval_jwk=dict(ANN.public.public_jwk())),
    NewPrincipal("oli", ["operator"], approval_jwk=dict(OLI.public.public_jwk())),
    NewPrincipal("kim", ["author", "operator"], approval_jwk=dict(KIM.public.public_jwk())),
    NewPrincipal("sec", ["security_admin"]),
    NewPrincipal("bot", ["agent"]),
]


@dataclass
class Town:
    """One gateway and what its people do."""

    gateway: Gateway
    repository: Repository
    people: dict[str, Principal] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.gateway.policy.digest

    def bundle(self, files: Mapping[str, str] | None = None, *, by: str = "ann", **changes: Any) -> bytes:
        """A signed bundle of a new commit with these files in ``policies``."""
        self.repository.commit({f"policies/{name}": text for name, text in (files or {}).items()})
        found = revision(self.repository.path, "HEAD", "policies")
        raw = signed.payload(found, "policies", built_at=int(time.time()), signer=by, checks=NO_TESTS)
        raw = json.dumps({**json.loads(raw), **changes}).encode() if changes else raw
        key = KEYS[by]
        return jws.sign(key.sign, jws.protected(key.kid, Typ.BUNDLE), raw).encode()

    async def add(self, token: bytes, by: str = "ann") -> dict[str, Any]:
        return await self.gateway.lifecycle.add(self.people[by], token)

    async def propose(self, kept: Mapping[str, Any], by: str = "ann", **changes: Any) -> dict[str, Any]:
        document = {"digest": kept["digest"], "commit": kept["commit"], "replaces": self.digest or None, **changes}
        binding = new_binding("policy.activate", "default", document["digest"], document)
        act = sign_act("propose", binding, key=KEYS[by], by=by, audience=self.gateway.log.origin)
        proposals = self.gateway.proposals
        return await proposals.propose(self.people[by], Kind.POLICY_ACTIVATE, document, signed=act.encode())

    async def activate(self, proposal: Mapping[str, Any], by: str = "oli") -> dict[str, Any]:
        binding = {name: proposal[name] for name in ("id", "kind", "tenant", "subject", "document_sha256")}
        act = sign_act("activate", binding, key=KEYS[by], by=by, audience=self.gateway.log.origin)
        return await self.gateway.proposals.activate(
            proposal["id"], self.people[by], document_sha256=proposal["document_sha256"], said=Said(act.encode())
        )

    async def put_in_force(self, files: Mapping[str, str]) -> str:
        """Build, propose and activate; returns the digest."""
        proposal = await self.propose(await self.add(self.bundle(files)))
        await self.activate(proposal)
        return str(proposal["subject"])

    async def rollback(self, digest: str | None = None, by: str = "oli", **changes: Any) -> dict[str, Any]:
        """Go back as the command line does it: what is signed names the bundle."""
        chosen = digest or (await self.gateway.lifecycle.list(self.people[by]))["activations"][0]["digest"]
        document = {"digest": chosen, "replaces": self.digest, **changes}
        binding = new_binding("policy.rollback", "default", chosen, document)
        act = sign_act("rollback", binding, key=KEYS[by], by=by, audience=self.gateway.log.origin)
        return await self.gateway.lifecycle.rollback(self.people[by], chosen, act=act.encode())

    async def decide(self, hand: str = "known") -> Decision:
        return (await self.gateway.policy.decide(ask(step(hand=hand))))["s1"]

    def entries(self, *types: str) -> list[dict[str, Any]]:
        with self.gateway.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        found = [json.loads(row) for row in rows]
        return [entry for entry in found if not types or entry["type"] in types]


async def open_town(
    home: Path,
    repository: Repository,
    url: str | None = None,
    *,
    source: str = "signed",
    hands: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    **policy: Any,
) -> Town:
    """Start a gateway in ``home``; opening the same home again is a restart."""
    settings = Settings(
        home=home,
        database={"url": url},
        server={"port": 0, **(server or {})},
        hands=dict(hands or {}),
        policy={"source": source, "workers": 1, "deadline_milliseconds": 2000, **policy},
    )
    gateway = build(settings)
    await gateway.start()
    town = Town(gateway, repository)
    if not await _known(gateway):
        await gateway.directory.bootstrap(PEOPLE)
    for person in PEOPLE:
        town.people[person.id] = await gateway.directory.principal("default", person.id)
    return town


async def _known(gateway: Gateway) -> bool:
    with gateway.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM principals").scalar_one() > 0


def document_sha256(document: Mapping[str, Any]) -> str:
    return sha256_canonical(dict(document))


def flipped(token: bytes) -> bytes:
    """The token with another signature, of the same shape."""
    unsigned, _, signature = token.rpartition(b".")
    return unsigned + b"." + (b"B" if signature.startswith(b"A") else b"A") + signature[1:]


async def refusal(awaitable: Any) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await awaitable
    return caught.value.reason


def says(effect: str, note: str = "") -> dict[str, str]:
    return {"handrail/main.rego": OPEN.replace("EFFECT", effect) + note}


ALLOW, ASK = says("allow"), says("ask")
