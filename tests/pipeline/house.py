"""A gateway's pipeline for tests: the real log, keys and rows on SQLite; hands, policy and directory are simulated
ports, so that a test can make them slow, hostile or absent at will."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jws as jose
from joserfc.jwk import OKPKey
from sqlalchemy import Engine, create_engine

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.approvals.answers import Approvals
from gateway.approvals.upkeep import ApprovalUpkeep
from gateway.cached_results import CachedResults
from gateway.calls import HandCall, HandResult
from gateway.client_steps.collecting import Collecting
from gateway.client_steps.reports import ClientReports
from gateway.errors import Refused
from gateway.evidence import Evidence
from gateway.freeze_journal import FreezeJournal
from gateway.freezing import Freezing
from gateway.ingress.client_calls import ISSUER as CLIENT_CALLS
from gateway.ingress.client_calls import ClientCalls
from gateway.keyring import stores as key_stores
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.model import (
    RETRIES,
    Decision,
    DecisionReason,
    Effect,
    Issuer,
    IssuerKey,
    Obligations,
    Principal,
    Role,
    UnverifiedPlan,
)
from gateway.objectives import Objectives
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.policy.contexts import Contexts
from gateway.policy.recall import Recall
from gateway.ports import Standing
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.remote_steps.claims import Claims
from gateway.remote_steps.results import Results
from gateway.remote_steps.upkeep import OfferUpkeep
from gateway.settings import KeySettings, Settings
from gateway.store.administrators import nobody_changed
from gateway.store.client_calls import SqlClientCalls
from gateway.store.freezes import SqlFreezes
from gateway.store.letters import SqlLetters
from gateway.store.offers import SqlOffers
from gateway.store.outbox import SqlOutbox
from gateway.store.past import SqlPast
from gateway.store.plans import SqlPlans
from gateway.telemetry import Metrics, Tracer
from hand_adapters.contract import HandError
from hand_adapters.schemas import Checker, normalise
from keys import jws
from keys.credentials import StepCredentials
from keys.dpop import HandProofs
from keys.keyset import Keyset
from keys.proof import ProofKey
from keys.stores.file import FileKeyStore
from tests.until import until

ORIGIN = "handrail.test/log"
AGENT = Principal("ada", "default", "p-ada", frozenset({Role.AGENT}))
OTHER = Principal("eve", "default", "p-eve", frozenset({Role.AGENT}))
APPROVER = Principal("bob", "default", "p-bob", frozenset({Role.APPROVER}))
SECOND = Principal("cy", "default", "p-cy", frozenset({Role.APPROVER}))
AUDITOR = Principal("dee", "default", "p-dee", frozenset({Role.AUDITOR}))
FOREIGNER = Principal("ada", "other", "p-foreign", frozenset({Role.AGENT, Role.APPROVER, Role.AUDITOR}))

ECHO_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {"type": "number"}},
    "required": ["text"],
    "additionalProperties": False,
}
MANIFEST = Manifest(
    hand="tool",
    adapter="simulated",
    actions={
        "echo": ActionManifest("echo", "Says it back.", ECHO_SCHEMA, side_effects=SideEffects.NONE),
        "write": ActionManifest("write", "Changes something.", ECHO_SCHEMA, side_effects=SideEffects.REVERSIBLE),
        "typed": ActionManifest("typed", "Answers by schema.", ECHO_SCHEMA, result_schema={"type": "object"}),
        "small": ActionManifest("small", "Answers little.", ECHO_SCHEMA, result_max_bytes=256),
    },
)

Behaviour = Callable[[HandCall], Awaitable[HandResult]]


async def echo(call: HandCall) -> HandResult:
    text = str(call.args["text"])
    return HandResult(({"type": "text", "text": text},), {"said": text})


@dataclass
class SimulatedHands:
    """``ports.Hands``; counts every call that reaches it."""

    manifests: dict[str, Manifest] = field(default_factory=lambda: {"tool": MANIFEST})
    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    analyses: dict[str, Any] = field(default_factory=dict)
    """Action -> its analysis, or the refusal of one."""
    calls: list[HandCall] = field(default_factory=list)
    rested: list[str] = field(default_factory=list)

    def manifest(self, tenant: str, hand: str) -> Manifest | None:
        return self.manifests.get(hand) if tenant == "default" else None

    async def confirm(self, tenant: str, hand: str) -> Manifest | None:
        return self.manifest(tenant, hand)

    def listed(self, principal: Principal) -> Sequence[Manifest]:
        return [manifest for manifest in self.manifests.values() if principal.may_use(manifest.hand)]

    def check_args(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        return Checker(normalise(self.manifests[hand].actions[action].args_schema, close=True)).problems(args)

    def analyse(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if isinstance(self.analyses.get(action), Refused):
            raise self.analyses[action]
        return self.analyses.get(action)

    def check_result(self, tenant: str, hand: str, action: str, structured: Any) -> Sequence[Mapping[str, str]]:
        schema = self.manifests[hand].actions[action].result_schema
        return [] if schema is None else Checker(normalise(schema, close=False)).problems(structured)

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        return {"tier": "jail", "profile_sha256": "f" * 64}

    async def run(self, call: HandCall) -> HandResult:
        self.calls.append(call)
        return await self.behaviour.get(call.action, echo)(call)

    async def rest(self, hand: str) -> None:
        self.rested.append(hand)

    async def close(self) -> None:
        """Nothing runs here."""


@dataclass
class SimulatedPolicy:
    """``ports.PolicyEngine``: ``echo`` and the like are allowed, ``write`` is asked."""

    digest: str = "d" * 64
    epoch: int = 0
    obligations: Obligations = field(default_factory=Obligations)
    effects: dict[str, Effect] = field(default_factory=lambda: {"write": Effect.ASK})
    reason: DecisionReason | None = None
    """Given in place of the usual one."""
    inputs: list[Mapping[str, Any]] = field(default_factory=list)

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        self.inputs.append(policy_input)
        return {
            step["id"]: Decision(
                step["id"],
                self.effects.get(step["action"], Effect.ALLOW),
                (self.reason or DecisionReason("test.rule", f"about {step['action']}"),),
                self.digest,
                self.obligations,
            )
            for step in policy_input["steps"]
        }

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:
        return decision.policy_digest == self.digest

    def locate(self, code: str, digest: str) -> Mapping[str, Any] | None:
        if (code, digest) != ("test.rule", self.digest):
            return None
        return {"file": "test.rego", "line": 7, "rule": "test", "title": "A test rule"}

    async def ready(self) -> None:
        """Always."""

    async def close(self) -> None:
        """Nothing to stop."""


class SimulatedDirectory:
    """``ports.Directory`` over a few fixed people and issuers."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self.people = {(p.tenant, p.id): p for p in (AGENT, OTHER, APPROVER, SECOND, AUDITOR, FOREIGNER)}
        self.named = {(person.tenant, person.pseudonym): person.id for person in self.people.values()}
        self.issuers = {(issuer.tenant, issuer.id): issuer for issuer in issuers}

    async def authenticate(self, token: str, now: float) -> Principal:
        raise Refused(Reason.AUTH_INVALID)

    async def has_key(self, tenant: str, pseudonym: str) -> bool:
        return False

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        try:
            return self.people[tenant, principal_id]
        except KeyError:
            raise Refused(Reason.REQUEST_NOT_FOUND) from None

    async def person(self, tenant: str, pseudonym: str) -> Principal:
        for person in self.people.values():
            if (person.tenant, person.pseudonym) == (tenant, pseudonym):
                return person
        raise Refused(Reason.REQUEST_NOT_FOUND)

    async def standing(self, tenant: str, pseudonyms: Collection[str]) -> Standing:
        found = [one for one in self.people.values() if one.tenant == tenant and one.pseudonym in pseudonyms]
        return Standing({one.pseudonym: one for one in found}, nobody_changed(tenant, 2**62))

    async def names(self, tenant: str, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """Also of who was taken out since the last call: revoked, not erased."""
        self.named |= {(person.tenant, person.pseudonym): person.id for person in self.people.values()}
        return {one: self.named[tenant, one] for one in pseudonyms if (tenant, one) in self.named}

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        try:
            return self.issuers[tenant, issuer_id]
        except KeyError:
            raise Refused(Reason.VERIFY_UNKNOWN_ISSUER) from None


class Brain:
    """Signs plans, well or badly. Uses joserfc directly: the library that the gateway's own reader must agree with."""

    def __init__(self, issuer: str = "brain") -> None:
        self.issuer = issuer
        self.key = OKPKey.generate_key("Ed25519")
        self.kid = self.key.thumbprint()

    def registration(self, **changes: Any) -> Issuer:
        jwk = {**self.key.as_dict(private=False), "kid": self.kid, "alg": "Ed25519"}
        key = IssuerKey(self.kid, jwk, 0, **changes.pop("key", {}))
        return Issuer(self.issuer, "default", {self.kid: key}, **changes)

    def payload(self, *actions: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "v": 1,
            "iss": self.issuer,
            "sub": AGENT.id,
            "aud": ORIGIN,
            "tenant": "default",
            "context_id": f"ctx-{uuid.uuid4().hex}",
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + 120,
            "nonce": uuid.uuid4().hex,
            "actions": list(actions) or [step("a")],
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not ...}

    def sign(self, payload: Mapping[str, Any] | bytes, *, key: OKPKey | None = None, **header: Any) -> bytes:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        protected = {"alg": "Ed25519", "kid": self.kid, "typ": "plan+jws", **header}
        return jose.serialize_compact(protected, raw, key or self.key, algorithms=["Ed25519"]).encode()


def step(name: str, action: str = "echo", hand: str = "tool", **changes: Any) -> dict[str, Any]:
    return {"id": name, "hand": hand, "action": action, "args": {"text": name}, **changes}


@dataclass
class House:
    """Everything a test of the pipeline touches."""

    settings: Settings
    log: Log
    keyset: Keyset
    store: SqlPlans
    hands: SimulatedHands
    policy: SimulatedPolicy
    directory: SimulatedDirectory
    brain: Brain
    pipeline: Pipeline
    approvals: Approvals
    approval_upkeep: ApprovalUpkeep
    evidence: Evidence
    freezing: Freezing
    claims: Claims
    results: Results
    offer_upkeep: OfferUpkeep
    client_reports: ClientReports
    client_calls: ClientCalls

    async def submit(
        self, plan: Mapping[str, Any] | bytes, *, caller: Principal = AGENT, wait: float = 30.0, at: float | None = None
    ) -> dict[str, Any]:
        raw = plan if isinstance(plan, bytes) else self.brain.sign(plan)
        return await self.pipeline.submit(UnverifiedPlan(raw, caller, at or time.time()), wait_seconds=wait)

    async def plan(self, *actions: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Sign and submit; wait until it is done or nothing moves."""
        return await self.submit(self.brain.payload(*actions, **changes))

    async def until_settled(self, plan_id: str) -> dict[str, Any]:
        """Follow a plan until this process has nothing left to do on it."""
        while (live := self.pipeline._live.get(plan_id)) is not None:
            await live.settled.wait()
        return (await self.pipeline.load(plan_id)).view()

    def entries(self) -> list[dict[str, Any]]:
        """Every entry of the log, oldest first."""
        with self.log._engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [json.loads(row) for row in rows]

    def codes(self) -> list[str]:
        return [entry["type"] for entry in self.entries()]


async def open_house(
    home: Path,
    *,
    brain: Brain | None = None,
    start: bool = True,
    gateway: str = "gw-test",
    origin: str = ORIGIN,
    journal: Path | None = None,
    **settings: Any,
) -> House:
    """Build and start a house in ``home``; opening the same directory again is a restart, and with another ``gateway``
    it is a second gateway on the same database."""
    configured = Settings(home=home, log={"origin": origin}, **settings)
    brain = brain or Brain()
    root = key_stores.open_root(configured, make=True)
    keyset = Keyset(FileKeyStore(home / "keys", root), KeySettings())
    await asyncio.to_thread(keyset.ensure)
    engine = make_engine(configured.database_url)
    await asyncio.to_thread(migrations.upgrade, engine)
    log = Log(engine, configured.log, keyset, EpochKeys(home / "epochs", root.derive("epoch")), gateway)
    await log.start()
    directory = SimulatedDirectory(
        [brain.registration(), keyset.issuer(RETRIES, "default"), keyset.issuer(CLIENT_CALLS, "default")]
    )
    hands, policy = SimulatedHands(), SimulatedPolicy()
    store = SqlPlans(
        engine, gateway, root.derive("step rows"), SqlOutbox(engine, gateway, {}, root.derive("outbox rows"))
    )
    freezing = Freezing(
        log=log,
        payloads=log,
        store=SqlFreezes(engine, root.derive("freezes"), gateway),
        journal=FreezeJournal(journal or home),
        directory=directory,
        metrics=(metrics := Metrics()),
        declared=lambda tenant, hand: hands.manifest("default", hand) is not None,
        rest=hands.rest,
    )
    await freezing.start()
    pipeline = Pipeline(
        settings=configured,
        log=log,
        payloads=log,
        store=store,
        signer=keyset,
        credentials=StepCredentials(keyset, origin, ProofKey()),
        directory=directory,
        hands=hands,
        engine=policy,
        jws=jws,
        metrics=metrics,
        tracer=Tracer(),
        contexts=remembering(configured, engine, log, hands, store, directory),
        freezes=freezing,
        offers=SqlOffers(engine, gateway, root.derive("offer rows")),
        letters=SqlLetters(engine),
        objectives=Objectives(metrics, time.time),
        cached=CachedResults(hands, metrics, bytes_max=1_000_000, entries_max=100),
    )
    freezing.wake, freezing.resume = pipeline.wake, pipeline.settle
    log.others.on_outdating(pipeline.cached.empty)
    locks = PlanLocks()
    house = House(
        configured,
        log,
        keyset,
        store,
        hands,
        policy,
        directory,
        brain,
        pipeline,
        Approvals(pipeline, locks),
        ApprovalUpkeep(pipeline, locks),
        Evidence(pipeline),
        freezing,
        Claims(pipeline, locks, HandProofs(root.derive("proof nonces"), None)),
        Results(pipeline, locks),
        OfferUpkeep(pipeline, locks),
        ClientReports(pipeline, locks),
        ClientCalls(pipeline, Collecting(pipeline, SqlClientCalls(engine))),
    )
    pipeline.offered = house.claims.ring
    if start:
        await recover(pipeline, first=True)
    return house


def remembering(
    settings: Settings, engine: Engine, log: Log, hands: SimulatedHands, store: SqlPlans, directory: SimulatedDirectory
) -> Contexts:
    """Contexts of a process that knows nothing yet."""

    async def attests(tenant: str, issuer: str) -> bool:
        return (await directory.issuer(issuer, tenant)).attests_request

    return Contexts(Recall(SqlPast(engine), log, hands, attests), settings.provenance, store.knows_context, log.others)


async def close_house(house: House) -> None:
    await house.pipeline.close()
    await house.freezing.close()
    await house.log.close()
    engine: Any = house.log._engine
    # A thread whose caller was cancelled still reads. What it has out when the pool ends is closed by nobody.
    await until(lambda: engine.pool.checkedout() == 0)
    engine.dispose()


def crash(reason: Reason, failure: Any) -> Behaviour:
    """A hand that ends every call with this error."""

    async def fail(call: HandCall) -> HandResult:
        raise HandError(reason, failure)

    return fail


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Another program holds the database: every write waits until its deadline."""
    engine = create_engine(house.settings.database_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        yield
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()
