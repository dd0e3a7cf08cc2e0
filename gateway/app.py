"""The composition root: the only place where ports meet the code that implements them."""

import asyncio
import contextlib
import functools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Engine

import migrations
from audit.access import Access
from audit.checkpoint import VerifierKey
from audit.controls import load as load_controls
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.export.source import Source
from audit.history import newest_pin
from audit.log import Log
from audit.purge import Purge
from audit.reader import Reader
from audit.witnesses import Witnesses
from gateway import rollout, witness_gauges
from gateway.approval_upkeep import ApprovalUpkeep
from gateway.approvals import Approvals
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.evidence import Evidence
from gateway.exports import Exports
from gateway.files import make_directory, write
from gateway.key_changes import KeyChanges
from gateway.lifecycle import Lifecycle
from gateway.model import CONNECTOR_PREFIX, DEFAULT_TENANT, Issuer
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.policy.contexts import Contexts
from gateway.policy.engine import bundle_directory, load_engine
from gateway.policy.recall import Recall
from gateway.policy.reloading import EventKind, PolicyEvent, ReloadingEngine
from gateway.ports import Append, Purpose
from gateway.privacy import Privacy
from gateway.proposals import Proposals
from gateway.pulling import Pulling
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.rollout import Rollout
from gateway.settings import Settings
from gateway.store.bundles import SqlBundles
from gateway.store.directory import SqlDirectory
from gateway.store.outbox import SqlOutbox
from gateway.store.past import SqlPast
from gateway.store.personal import Personal
from gateway.store.plans import SqlPlans, forget_replays
from gateway.store.proposals import SqlProposals
from gateway.store.receipts import SqlReceipts
from gateway.store.sessions import SqlSessions
from gateway.store.trials import SqlTrials
from gateway.telemetry import Metrics, Tracer, tracer
from gateway.two_person import Kind
from gateway.webhooks.delivery import Deliveries, Webhook
from gateway.webhooks.messages import listeners
from hand_adapters.courier import courier
from hand_adapters.jail import Jail
from hand_adapters.pins import SqlPins
from hand_adapters.registry import Registry
from keys import jws
from keys.credentials import StepCredentials
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore
from keys.stores.master import MasterKey

_log = structlog.get_logger("handrail.app")

SYSTEM_ACTOR = "system"

UPKEEP_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
PURGE_SECONDS = 60.0
HEAR_SECONDS = 5.0
"""A gateway that nobody calls learns from the log this often what others erased, and empties its memory of it."""


class Callers(SqlDirectory):
    """The directory, plus the gateway's own ingresses as issuers."""

    connectors: Keyset

    async def attests_request(self, tenant: str, issuer_id: str) -> bool:
        """Whether an issuer may attest a user's words, now; one that is gone may not."""
        try:
            return (await self.issuer(issuer_id, tenant)).attests_request
        except Refused:
            return False

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """See ``ports.Directory``."""
        if issuer_id.startswith(CONNECTOR_PREFIX):
            return self.connectors.issuer(issuer_id, tenant)
        return await super().issuer(issuer_id, tenant)


@dataclass(slots=True)
class Gateway:
    """One gateway process and everything it is made of."""

    settings: Settings
    engine: Engine
    log: Log
    reader: Reader
    witnesses: Witnesses
    keyset: Keyset
    key_changes: KeyChanges
    directory: Callers
    sessions: SqlSessions
    hands: Registry
    policy: ReloadingEngine
    pipeline: Pipeline
    approvals: Approvals
    approval_upkeep: ApprovalUpkeep
    deliveries: Deliveries
    proposals: Proposals
    rollout: Rollout
    lifecycle: Lifecycle
    pulling: Pulling
    evidence: Evidence
    privacy: Privacy
    eraser: Engine
    epochs: EpochKeys
    exports: Exports
    metrics: Metrics
    tracer: Tracer
    clock: Callable[[], float]
    jail: Jail
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _purge_at: float = 0.0
    _messages_at: float = 0.0
    _hear_at: float = 0.0

    async def prepare(self) -> None:
        """Make missing keys and tables, and open the log: what every use of a home needs.

        Raises:
            HandrailError: a part cannot be made or opened; ``detail`` says why.
        """
        changed = await asyncio.to_thread(self.keyset.ensure)
        await asyncio.to_thread(migrations.upgrade, self.engine)
        await self.log.start()
        self.key_changes.note(changed, DEFAULT_TENANT, SYSTEM_ACTOR)
        await self.key_changes.settle()

    async def start(self) -> None:
        """Prepare, load the policy, ask the hands who they are, and pick up what was left.

        Raises:
            HandrailError: the gateway cannot serve safely; ``detail`` says why.
        """
        # The log's writer takes the interpreter's lock again after every database call. At Python's 5 ms a busy event
        # loop starves it: durable appends fall to less than half (docs/adr/0003-log-storage.md).
        sys.setswitchinterval(SWITCH_SECONDS)
        await self.prepare()
        self.log.others.on_forgetting(self._forgetting(asyncio.get_running_loop()))
        await self.policy.start()
        await self.rollout.start()
        await self.hands.start()
        await recover(self.pipeline, first=True)
        self.deliveries.start()
        self.pulling.start()
        self.witnesses.start()
        self._tasks.append(asyncio.create_task(self._every(UPKEEP_SECONDS, self._upkeep)))

    async def close(self) -> None:
        """Stop taking plans forward, then stop everything in the reverse order of :meth:`start`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pulling.close()
        await self.deliveries.close()
        await self.pipeline.close()
        await self.hands.close()
        await self.jail.close()
        await self.rollout.close()
        await self.policy.close()
        await self.key_changes.close()
        await self.witnesses.close()
        await self.log.close()
        self.tracer.close()
        self.engine.dispose()
        self.eraser.dispose()

    def verifier_keys(self) -> list[str]:
        """The log's verifier keys (C2SP signed-note ``name+hash+key``), newest first."""
        return _verifier_keys(self.log, self.keyset)

    def trust(self) -> dict[str, Any]:
        """What an offline verifier needs to know of this gateway."""
        return _trust(self.log, self.keyset)

    async def ready(self) -> dict[str, str]:
        """Each part's state, ``ok`` or a reason code."""
        checks: dict[str, str] = {}
        for name, check in (("log", self.log.ready), ("policy", self.policy.ready)):
            try:
                await check()
                checks[name] = "ok"
            except HandrailError as error:
                checks[name] = str(error.reason)
        if self.settings.log.witness_lag == "unready" and self.witnesses.lags:
            checks["log"] = str(Reason.LOG_UNWITNESSED) if checks["log"] == "ok" else checks["log"]
        try:
            self.keyset.active_jwk(Purpose.STEP)
            checks["keys"] = "ok"
        except HandrailError as error:
            checks["keys"] = str(error.reason)
        return checks

    def notices(self) -> dict[str, str]:
        """What keeps nobody from being served and must be seen all the same: part -> reason code."""
        found = {"policy": str(Reason.POLICY_BUNDLE)} if self.policy.problem is not None else {}
        if (witnesses := self.witnesses.problem()) is not None:
            found["log_witnesses"] = str(witnesses)
        if self.pulling.problem is not None:
            found["policy_remote"] = str(self.pulling.problem.reason)
        return found | self.rollout.notices()

    def _forgetting(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """For the log's writer to call, when something was erased."""

        def forget() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all that was remembered
                loop.call_soon_threadsafe(self.pipeline.contexts.forget_all)

        return forget

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

    async def _upkeep(self) -> None:
        """What has to happen without anybody asking. A part that fails keeps none of the others from its turn."""
        parts: dict[str, Callable[[], Awaitable[object]]] = {
            "expire approvals": self.approval_upkeep.expire,
            "expire proposals": self.proposals.expire,
            "judge waiting steps anew": self.approval_upkeep.redecide,
            "follow the rollout": self.rollout.refresh,
            "settle half-done plans": self._recover,
            "age keys": self._age_keys,
            "record key changes": self.key_changes.settle,
            "purge replays": self._purge,
            "hear of erasures": self._hear,
            "erase": self.privacy.advance,
            "purge payloads": self.privacy.purge,
            "look after messages": self._look_after_messages,
        }
        for name, part in parts.items():
            try:
                await part()
            except HandrailError as error:
                _log.warning("upkeep failed", part=name, reason=str(error.reason), detail=error.detail)
            except Exception:  # noqa: BLE001
                _log.exception("upkeep failed", part=name)

    async def _recover(self) -> None:
        if self.pipeline.stalled or self.pipeline.overtaken:
            await self.log.ready()
            await recover(self.pipeline)

    async def _age_keys(self) -> None:
        if not self.key_changes.full:
            self.key_changes.note(await asyncio.to_thread(self.keyset.tick), DEFAULT_TENANT, SYSTEM_ACTOR)

    async def _purge(self) -> None:
        now = self.clock()
        if now >= self._purge_at:
            await self.log.append(Append((), [forget_replays(now)]))
            self._purge_at = now + PURGE_SECONDS

    async def _hear(self) -> None:
        """Learn from the log what other gateways erased, also where nobody calls this one."""
        now = self.clock()
        if now >= self._hear_at:
            await self.log.catch_up()
            self._hear_at = now + HEAR_SECONDS

    async def _look_after_messages(self) -> None:
        now = self.clock()
        if now >= self._messages_at:
            await self.deliveries.upkeep()
            self._messages_at = now + PURGE_SECONDS


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Gateway:
    """Join the parts; nothing is opened or started yet.

    Raises:
        HandrailError: a part cannot be built from these settings.
    """
    home = settings.home
    make_directory(home)
    master = MasterKey.load(settings.keys.master_key_file or home / "master.key")
    keyset = Keyset(FileKeyStore(home / "keys", master), settings.keys, clock)
    engine = make_engine(settings.database_url)
    metrics = Metrics()
    gateway_id = _gateway_id(settings)
    epochs = EpochKeys(settings.epochs_directory, master.derive("epoch"))
    log = Log(engine, settings.log, keyset, epochs, gateway_id, clock)
    witnesses = Witnesses.open(settings.log, log, log.cosigned, courier, clock)
    witness_gauges.measure(metrics, witnesses)
    directory = Callers(engine, log, master.derive("directory rows"), clock)
    directory.connectors = keyset
    jail = Jail(settings.jail, home)
    hands = Registry(settings.hands, jail, SqlPins(engine, log, master.derive("pin rows"), newest_pin))

    followed = settings.policy.source == "signed"

    async def policy_changed(event: PolicyEvent) -> None:
        """A bundle takes effect only once that is on record; a refused one is as loud as it is harmless."""
        refused = event.kind is EventKind.REJECTED
        # That two people activated it is on record already; this gateway now follows.
        taken = EntryType.POLICY_LOADED if followed else EntryType.POLICY_ACTIVATED
        kind = EntryType.POLICY_REJECTED if refused else taken
        facts: dict[str, str | int] = {"digest": event.digest, "active": event.active, "problems": len(event.problems)}
        await log.append(Append([EntryDraft(kind, DEFAULT_TENANT, facts=facts)]))

    bundles = SqlBundles(engine, master.derive("policy rows"))
    policy = load_engine(settings.policy, policy_changed, bundles)
    metrics.policy_problem.set_function(lambda: policy.problem is not None)
    lifecycle = Lifecycle(
        log=log,
        bundles=bundles,
        directory=directory,
        keys=keyset,
        jws=jws,
        follows=followed,
        reload=policy.reload,
        clock=clock,
    )
    reader = Reader(engine)
    proposals = Proposals(
        log=log,
        store=SqlProposals(engine, master.derive("proposal rows")),
        directory=directory,
        signer=keyset,
        jws=jws,
        ttl_seconds=settings.proposals.ttl_seconds,
        clock=clock,
        handlers={Kind.POLICY_ACTIVATE: lifecycle},
    )
    staged = rollout.build(
        policy,
        lifecycle,
        SqlTrials(engine, master.derive("trial rows"), gateway_id),
        master.derive("canary draw"),
        proposals,
        hands,
        reader,
        settings,
        clock,
        metrics,
    )
    spans = tracer(settings.telemetry)
    outbox = SqlOutbox(engine, gateway_id, listeners(settings), master.derive("outbox rows"))
    store = SqlPlans(engine, gateway_id, master.derive("step rows"), outbox)
    pipeline = Pipeline(
        settings=settings,
        log=log,
        payloads=log,
        store=store,
        signer=keyset,
        credentials=StepCredentials(keyset, settings.log.origin),
        directory=directory,
        hands=hands,
        engine=staged.engine,
        jws=jws,
        metrics=metrics,
        tracer=spans,
        contexts=Contexts(
            Recall(SqlPast(engine), log, hands, directory.attests_request),
            settings.provenance,
            store.knows_context,
            log.others,
        ),
        clock=clock,
    )
    locks = PlanLocks()
    approvals = Approvals(pipeline, locks)
    eraser = make_eraser(settings.eraser_url)
    personal = Personal(engine, master.derive("directory rows"), master.derive("step rows"))
    privacy = Privacy(
        log=log,
        reader=reader,
        access=Access(reader, epochs),
        erasures=Erasures(log, reader, eraser, epochs, clock, personal.aliases),
        purge=Purge(log, reader, eraser, epochs, personal.aliases, clock),
        personal=personal,
        directory=directory,
        payload_days=settings.privacy.payload_days,
        clock=clock,
    )
    webhooks = {name: Webhook.open(name, one, courier) for name, one in settings.webhooks.items()}
    deliveries = Deliveries(
        webhooks=webhooks,
        outbox=outbox,
        log=log,
        look=lambda message: approvals.of(message.tenant, message.approval_id),
        metrics=metrics,
        page_url=settings.public_url,
        clock=clock,
    )
    return Gateway(
        settings=settings,
        engine=engine,
        log=log,
        reader=reader,
        witnesses=witnesses,
        keyset=keyset,
        key_changes=KeyChanges(log),
        directory=directory,
        sessions=SqlSessions(engine, log, master.derive("session rows"), clock),
        hands=hands,
        policy=policy,
        pipeline=pipeline,
        approvals=approvals,
        approval_upkeep=ApprovalUpkeep(pipeline, locks),
        deliveries=deliveries,
        proposals=proposals,
        rollout=staged,
        lifecycle=lifecycle,
        pulling=Pulling.open(settings.policy.remote, home / "policy-remote", lifecycle, log, metrics, clock),
        evidence=Evidence(pipeline),
        privacy=privacy,
        eraser=eraser,
        epochs=epochs,
        exports=Exports(
            log=log,
            source=Source(reader),
            receipts=SqlReceipts(engine),
            bundles=bundles,
            signer=keyset,
            trust=functools.partial(_trust, log, keyset),
            directory=None if followed else bundle_directory(settings.policy),
            controls={str(kind): ids for kind, ids in load_controls().ids.items()},
            clock=clock,
        ),
        metrics=metrics,
        tracer=spans,
        clock=clock,
        jail=jail,
    )


def _verifier_keys(log: Log, keyset: Keyset) -> list[str]:
    """Newest first, then those of the names that the log had before a restore."""
    keys = keyset.public_bytes(Purpose.CHECKPOINT)
    return [str(VerifierKey(name, key.raw)) for name in (log.origin, *log.former) for key in keys]


def _trust(log: Log, keyset: Keyset) -> dict[str, Any]:
    return {"v": 1, "origin": log.origin, "jwks": keyset.trust_jwks(), "log": _verifier_keys(log, keyset)}


def _gateway_id(settings: Settings) -> str:
    """The gateway's stable random name, in its home; entries and plans carry it."""
    file = settings.home / "gateway-id"
    with contextlib.suppress(FileExistsError):
        write(file, f"gw-{os.urandom(8).hex()}\n".encode(), replace=False)
    return file.read_text(encoding="ascii").strip()
