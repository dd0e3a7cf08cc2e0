"""One gateway process: its parts, how they start and stop, and what it does without being asked."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Engine

import migrations
from audit.checkpoint import VerifierKey
from audit.epochs import EpochKeys
from audit.log import Log
from audit.post_quantum import PostQuantumKey
from audit.reader import Reader
from audit.witnesses import Witnesses
from gateway.activation.lifecycle import Lifecycle
from gateway.activation.pulling import Pulling
from gateway.activation.rollout import Rollout
from gateway.approvals.answers import Approvals
from gateway.approvals.upkeep import ApprovalUpkeep
from gateway.callers import Callers
from gateway.client_steps.known_calls import KnownCalls
from gateway.client_steps.reports import ClientReports
from gateway.connections.connections import Connections
from gateway.draining import Drain
from gateway.errors import HandrailError
from gateway.evidence import Evidence
from gateway.exports import Exports
from gateway.freezing import Freezing
from gateway.gauges.backups import BackupGauge
from gateway.identity.login import IssuerLogin
from gateway.ingress.claude_code import ClaudeCodeHooks
from gateway.ingress.client_calls import ClientCalls
from gateway.keyring.changes import KeyChanges
from gateway.keyring.history import KeyHistory
from gateway.keyring.stores import Revocations
from gateway.managed_agents.connectors import ManagedAgents
from gateway.menus import Menus
from gateway.model import DEFAULT_TENANT
from gateway.pipeline import Pipeline
from gateway.policy.reloading import ReloadingEngine
from gateway.ports import Append, Purpose
from gateway.privacy.requests import Privacy
from gateway.proposals.signing import SignedProposals
from gateway.proposals.trust import TrustChanges
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.remote_steps.claims import Claims
from gateway.remote_steps.results import Results
from gateway.remote_steps.upkeep import OfferUpkeep
from gateway.runs.service import Runs
from gateway.secrets.kept import SecretsKept
from gateway.settings import Settings
from gateway.settling import DeadLetters
from gateway.store.plans import forget_replays
from gateway.store.sessions import SqlSessions
from gateway.store.undelivered import NAMED_SECONDS, SqlUndelivered, forget_undelivered
from gateway.telemetry import Metrics, Tracer
from gateway.tls import ServerTls
from gateway.webhooks.delivery import Deliveries
from hand_adapters.jail import Jail
from hand_adapters.registry import Registry
from keys.keyset import Keyset

_log = structlog.get_logger("handrail.service")

SYSTEM_ACTOR = "system"

UPKEEP_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
KEYS_SECONDS = 1.0
"""How often what other processes did to the keys is taken in. A revocation must be everywhere within 5 s, so this waits
for nothing else's turn."""
PURGE_SECONDS = 60.0
ADMINS_SECONDS = 60.0
"""A home learns this often whom other gateways added as security admins."""
GRANTS_SECONDS = 5.0
"""How soon what a revoked person granted elsewhere is ended. Its servers may be slow, so that nothing waits for it."""
HEAR_SECONDS = 5.0
"""A gateway that nobody calls learns from the log this often what others erased, and empties its memory of it."""


@dataclass(slots=True)
class Gateway:
    """One gateway process and everything it is made of."""

    settings: Settings
    engine: Engine
    log: Log
    reader: Reader
    witnesses: Witnesses
    keyset: Keyset
    revocations: Revocations
    key_changes: KeyChanges
    key_history: KeyHistory
    directory: Callers
    sessions: SqlSessions
    logins: Mapping[str, IssuerLogin]
    hands: Registry
    secrets: SecretsKept
    connections: Connections
    policy: ReloadingEngine
    pipeline: Pipeline
    undelivered: SqlUndelivered
    approvals: Approvals
    approval_upkeep: ApprovalUpkeep
    claims: Claims
    results: Results
    client_reports: ClientReports
    managed_agents: ManagedAgents
    client_calls: ClientCalls
    known_calls: KnownCalls
    hooks: ClaudeCodeHooks
    runs: Runs
    offer_upkeep: OfferUpkeep
    deliveries: Deliveries
    proposals: SignedProposals
    trust_changes: TrustChanges
    rollout: Rollout
    freezing: Freezing
    lifecycle: Lifecycle
    pulling: Pulling
    menus: Menus
    evidence: Evidence
    dead_letters: DeadLetters
    privacy: Privacy
    eraser: Engine
    epochs: EpochKeys
    exports: Exports
    backup_gauge: BackupGauge
    metrics: Metrics
    tracer: Tracer
    clock: Callable[[], float]
    jail: Jail
    tls: ServerTls | None = None
    drain: Drain = field(default_factory=Drain)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _purge_at: float = 0.0
    _messages_at: float = 0.0
    _hear_at: float = 0.0
    _admins_at: float = 0.0

    async def prepare(self) -> None:
        """Make missing tables and keys, and open the log: what every use of a home needs.

        Raises:
            HandrailError: a part cannot be made or opened; ``detail`` says why.
        """
        await asyncio.to_thread(migrations.upgrade, self.engine)
        self.revocations.listen()
        changed = await asyncio.to_thread(self.keyset.ensure)
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
        await self.freezing.start()
        await self.policy.start()
        await self.rollout.start()
        await self.hands.start()
        await asyncio.to_thread(self.pipeline.scanner.start)
        await recover(self.pipeline, first=True)
        self.runs.start()
        self.drain.on_begin(self.runs.leave)
        self.deliveries.start()
        self.pulling.start()
        self.witnesses.start()
        self.managed_agents.start()
        self.drain.on_begin(self.managed_agents.leave)
        self._tasks.append(asyncio.create_task(self._every(UPKEEP_SECONDS, self._upkeep)))
        self._tasks.append(asyncio.create_task(self._every(KEYS_SECONDS, self._follow_keys)))
        self._tasks.append(asyncio.create_task(self._every(GRANTS_SECONDS, self._follow_people)))

    async def close(self) -> None:
        """Stop taking plans forward, then stop everything in the reverse order of :meth:`start`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.managed_agents.close()
        await self.pulling.close()
        await self.deliveries.close()
        await self.runs.close()
        await self.menus.close()
        await self.pipeline.close()
        await asyncio.to_thread(self.pipeline.scanner.close)
        await self.freezing.close()
        await self.hands.close()
        await self.connections.close()
        await self.secrets.broker.close()
        await self.jail.close()
        await self.rollout.close()
        await self.policy.close()
        await self.key_changes.close()
        await self.witnesses.close()
        await self.directory.bearers.close()
        await self.log.close()
        self.tracer.close()
        self.engine.dispose()
        self.eraser.dispose()

    async def finish(self) -> None:
        """Once nothing new is taken: returns when nothing that was taken is under way here any more."""
        await self.runs.close()  # told when the drain began: their next turns are taken elsewhere, or after a start
        await self.pipeline.finish()

    def verifier_keys(self) -> list[str]:
        """The log's verifier keys (C2SP signed-note ``name+hash+key``), newest first."""
        return verifier_keys(self.log, self.keyset)

    def trust(self) -> dict[str, Any]:
        """What an offline verifier needs to know of this gateway."""
        return trust_document(self.log, self.keyset)

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
        if self.tls is not None and self.tls.unusable:
            found["tls"] = str(Reason.TLS_CERTIFICATE)
        if self.drain.announced:
            found["stop"] = str(Reason.DRAINING)
        if self.freezing.now.in_force:
            found["freeze"] = str(Reason.FREEZE_ACTIVE)
        return found | self.rollout.notices()

    def _forgetting(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """For the log's writer to call, when something was erased."""

        def forget() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all that was remembered
                loop.call_soon_threadsafe(self.pipeline.contexts.forget_all)
                loop.call_soon_threadsafe(self.directory.forget)

        return forget

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

    async def _upkeep(self) -> None:
        """What has to happen without anybody asking. A part that fails keeps none of the others from its turn."""
        await self._each(
            {
                "expire approvals": self.approval_upkeep.expire,
                "end offers that are over": self.offer_upkeep.expire,
                "end offers that are frozen": self.offer_upkeep.stop,
                "go on where others stopped": self.offer_upkeep.go_on,
                "expire proposals": self.proposals.expire,
                "judge waiting steps anew": self.approval_upkeep.redecide,
                "follow the rollout": self.rollout.refresh,
                "settle half-done plans": self._recover,
                "record key changes": self.key_changes.settle,
                "purge replays": self._purge,
                "hear of erasures": self._hear,
                "remember security admins": self._remember_admins,
                "erase": self.privacy.advance,
                "purge payloads": self.privacy.purge,
                "look after messages": self._look_after_messages,
                "forget secrets": self._forget_secrets,
                "look for backups": self._look_for_backups,
            }
        )

    async def _follow_keys(self) -> None:
        await self._each({"age keys": self._age_keys, "take new certificate files": self._follow_tls})

    async def _follow_people(self) -> None:
        await self._each({"end what revoked people granted": self.connections.settle})

    async def _follow_tls(self) -> None:
        if self.tls is not None:
            await asyncio.to_thread(self.tls.refresh)

    async def _each(self, parts: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
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
            longest = max(NAMED_SECONDS, 2 * self.settings.plans.approval_ttl_seconds)
            await self.log.append(Append((), [forget_replays(now), forget_undelivered(now - longest)]))
            self._purge_at = now + PURGE_SECONDS

    async def _hear(self) -> None:
        """Learn from the log what other gateways erased, also where nobody calls this one."""
        now = self.clock()
        if now >= self._hear_at:
            await self.log.catch_up()
            self._hear_at = now + HEAR_SECONDS

    async def _remember_admins(self) -> None:
        """Keep in the home whom other gateways added, also where nobody asks this one to change anything."""
        now = self.clock()
        if now >= self._admins_at:
            await self.directory.keep_administrators()
            self._admins_at = now + ADMINS_SECONDS

    async def _forget_secrets(self) -> None:
        self.secrets.broker.sweep()

    async def _look_for_backups(self) -> None:
        await self.backup_gauge.look(self.clock())

    async def _look_after_messages(self) -> None:
        now = self.clock()
        if now >= self._messages_at:
            await self.deliveries.upkeep()
            self._messages_at = now + PURGE_SECONDS


def verifier_keys(log: Log, keyset: Keyset) -> list[str]:
    """Newest first, then those of the names that the log had before a restore."""
    keys = keyset.public_bytes(Purpose.CHECKPOINT)
    return [str(VerifierKey(name, key.raw)) for name in (log.origin, *log.former) for key in keys]


def trust_document(log: Log, keyset: Keyset) -> dict[str, Any]:
    """The public keys by which anybody can check, offline, what this gateway and its log signed."""
    second = [key.raw for key in keyset.public_bytes(Purpose.CHECKPOINT_PQ)]
    document = {"v": 1, "origin": log.origin, "jwks": keyset.trust_jwks(), "log": verifier_keys(log, keyset)}
    if second:
        names = (log.origin, *log.former)
        document["log_post_quantum"] = [str(PostQuantumKey(name, raw)) for name in names for raw in second]
    return document
