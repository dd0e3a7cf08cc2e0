"""The composition root: the only place where ports meet the code that implements them."""

import contextlib
import functools
import os
import time
from collections.abc import Callable

from sqlalchemy import Engine

from audit.access import Access
from audit.controls import shipped as shipped_controls
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.eraser import make_eraser
from audit.erasure import Erasures
from audit.export.source import LogSource
from audit.log import Log
from audit.purge import Purge
from audit.reader import Reader
from audit.witnesses import Witnesses
from gateway.activation import rollout
from gateway.activation.lifecycle import Lifecycle
from gateway.activation.pulling import Pulling
from gateway.app import hands as wired_hands
from gateway.app import people
from gateway.approvals.answers import Approvals
from gateway.approvals.upkeep import ApprovalUpkeep
from gateway.callers import Callers
from gateway.client_steps.collecting import Collecting
from gateway.client_steps.known_calls import KnownCalls
from gateway.client_steps.reports import ClientReports
from gateway.connections.connections import Connections
from gateway.draining import Drain
from gateway.entries import EntryDraft, EntryType
from gateway.evidence import Evidence
from gateway.exports import Exports
from gateway.files import make_directory, write
from gateway.freeze_journal import FreezeJournal
from gateway.freezing import Freezing
from gateway.gauges.backups import BackupGauge
from gateway.gauges.witnesses import measure
from gateway.ingress.claude_code import ClaudeCodeHooks
from gateway.ingress.client_calls import ClientCalls
from gateway.keyring import stores as key_stores
from gateway.keyring.changes import KeyChanges
from gateway.keyring.history import KeyHistory
from gateway.keyring.stores import Revocations
from gateway.managed_agents.opening import open_connectors
from gateway.menus import Menus
from gateway.model import DEFAULT_TENANT
from gateway.pipeline import Pipeline
from gateway.plan_locks import PlanLocks
from gateway.policy.contexts import Contexts
from gateway.policy.engine import bundle_directory, load_engine
from gateway.policy.recall import Recall
from gateway.policy.reloading import EventKind, PolicyEvent
from gateway.ports import Append
from gateway.privacy.requests import Privacy
from gateway.proposals.acts import Acts
from gateway.proposals.signing import SignedProposals
from gateway.proposals.trust import TrustChanges
from gateway.remote_steps.claims import Claims
from gateway.remote_steps.results import Results
from gateway.remote_steps.upkeep import OfferUpkeep
from gateway.runs.parts import Parts
from gateway.runs.service import Runs
from gateway.service import Gateway, trust_document
from gateway.settings import Settings
from gateway.settling import DeadLetters
from gateway.store.bundles import SqlBundles
from gateway.store.client_calls import SqlClientCalls
from gateway.store.freezes import SqlFreezes
from gateway.store.leases import LeaseKind, SqlLeases
from gateway.store.letters import SqlLetters
from gateway.store.offers import SqlOffers
from gateway.store.outbox import SqlOutbox
from gateway.store.past import SqlPast
from gateway.store.personal import Personal
from gateway.store.plans import SqlPlans
from gateway.store.proposal_signatures import SqlSignatures
from gateway.store.proposals import SqlProposals
from gateway.store.receipts import SqlReceipts
from gateway.store.runs import SqlRuns
from gateway.store.sessions import SqlSessions
from gateway.store.trials import SqlTrials
from gateway.store.undelivered import SqlUndelivered
from gateway.telemetry import Metrics, tracer
from gateway.tls import ServerTls
from gateway.two_person import Kind
from gateway.webauthn import relying_party
from gateway.webhooks.delivery import Deliveries, Webhook
from gateway.webhooks.messages import listeners
from hand_adapters.courier import courier
from hand_adapters.jail import Jail
from hand_adapters.service_transport import service_transport
from keys import jws
from keys.credentials import StepCredentials
from keys.dpop import HandProofs
from keys.keyset import Keyset
from keys.proof import ProofKey


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Gateway:
    """Join the parts; nothing is opened or started yet.

    Raises:
        HandrailError: a part cannot be built from these settings.
    """
    home = settings.home
    make_directory(home)
    root = key_stores.open_root(settings, make=True)
    engine = make_engine(settings.database_url)
    revocations = Revocations(engine)
    keyset = Keyset(
        key_stores.open_store(settings, root, lambda: engine, revocations),
        settings.keys,
        clock,
        post_quantum=settings.log.post_quantum,
    )
    metrics = Metrics()
    gateway_id = _gateway_id(settings)
    epochs = EpochKeys(settings.epochs_directory, root.derive("epoch"))
    log = Log(engine, settings.log, keyset, epochs, gateway_id, clock)
    key_history = KeyHistory(log, keyset, clock)
    witnesses = Witnesses.open(settings.log, log, log.cosigned, courier, clock)
    measure(metrics, witnesses)
    directory = people.directory(settings, engine, log, root, keyset, metrics, clock)
    jail = Jail(settings.jail, home)
    hands, secrets, connections = wired_hands.hands(settings, jail, engine, log, root, directory, metrics, clock)

    followed = settings.policy.source == "signed"

    async def policy_changed(event: PolicyEvent) -> None:
        """A bundle takes effect only once that is on record; a refused one is as loud as it is harmless."""
        refused = event.kind is EventKind.REJECTED
        # That two people activated it is on record already; this gateway now follows.
        taken = EntryType.POLICY_LOADED if followed else EntryType.POLICY_ACTIVATED
        kind = EntryType.POLICY_REJECTED if refused else taken
        facts: dict[str, str | int] = {"digest": event.digest, "active": event.active, "problems": len(event.problems)}
        await log.append(Append([EntryDraft(kind, DEFAULT_TENANT, facts=facts)]))

    bundles = SqlBundles(engine, root.derive("policy rows"))
    policy = load_engine(settings.policy, policy_changed, bundles)
    for purpose in keyset.purposes:
        metrics.key_age.labels(str(purpose)).set_function(functools.partial(keyset.age, purpose))
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
    trust_changes = TrustChanges(directory)
    freezing = Freezing(
        log=log,
        payloads=log,
        store=SqlFreezes(engine, root.derive("freezes"), gateway_id),
        journal=FreezeJournal(home),
        directory=directory,
        metrics=metrics,
        declared=hands.declared,
        rest=hands.rest,
        clock=clock,
    )
    directory.check_acts, directory.look = freezing.check_acts, freezing.refresh
    proposals = trust_changes.proposals = SignedProposals(
        log=log,
        store=SqlProposals(engine, root.derive("proposal rows")),
        directory=directory,
        acts=Acts(log, directory, keyset, jws, relying_party(settings.server.public_url)),
        ttl_seconds=settings.proposals.ttl_seconds,
        clock=clock,
        check_acts=freezing.check_acts,
        handlers={Kind.POLICY_ACTIVATE: lifecycle, Kind.FREEZE_LIFT: freezing},
        signatures=SqlSignatures(engine, root.derive("signature rows")),
        payloads=log,
        changing=trust_changes,
        refresh_freezes=freezing.refresh,
    )
    staged = rollout.build(
        policy,
        lifecycle,
        SqlTrials(engine, root.derive("trial rows"), gateway_id),
        root.derive("canary draw"),
        proposals,
        hands,
        reader,
        settings,
        clock,
        metrics,
    )
    outbox = SqlOutbox(engine, listeners(settings), root.derive("outbox rows"))
    undelivered = SqlUndelivered(engine, log, gateway_id, root.derive("undelivered rows"))
    store = SqlPlans(engine, gateway_id, root.derive("step rows"), outbox, undelivered)
    runs = SqlRuns(engine, gateway_id, root.derive("run rows"))
    pipeline = Pipeline(
        settings=settings,
        log=log,
        payloads=log,
        store=store,
        signer=keyset,
        credentials=StepCredentials(keyset, settings.log.origin, ProofKey(clock)),
        directory=directory,
        hands=hands,
        engine=staged.engine,
        jws=jws,
        metrics=metrics,
        tracer=tracer(settings.telemetry),
        contexts=Contexts(
            Recall(SqlPast(engine), log, hands, directory.attests_request),
            settings.provenance,
            store.knows_context,
            log.others,
        ),
        freezes=freezing,
        offers=SqlOffers(engine, gateway_id, root.derive("offer rows")),
        letters=SqlLetters(engine),
        cached=wired_hands.cached(settings, hands, log, metrics),
        objectives=wired_hands.objectives(settings, metrics, clock),
        scanner=settings.results.scanner(),
        turns=runs,
        clock=clock,
    )
    menus = Menus(staged.engine, settings.policy.environment)
    locks = PlanLocks()
    approvals = Approvals(pipeline, locks)
    client_reports = ClientReports(pipeline, locks)
    client_calls = ClientCalls(pipeline, Collecting(pipeline, SqlClientCalls(engine)))
    claims = Claims(pipeline, locks, HandProofs(root.derive("proof nonces"), settings.server.public_url, clock))
    drain = _introduce(freezing, pipeline, claims)
    eraser = make_eraser(settings.eraser_url)
    privacy = _privacy(settings, log, reader, epochs, eraser, engine, directory, connections, pipeline, clock)
    return Gateway(
        settings=settings,
        engine=engine,
        log=log,
        reader=reader,
        witnesses=witnesses,
        keyset=keyset,
        revocations=revocations,
        key_changes=KeyChanges(log),
        key_history=key_history,
        directory=directory,
        sessions=SqlSessions(engine, log, root.derive("session rows"), clock),
        logins=people.logins(directory.bearers, root.derive("logins"), clock),
        hands=hands,
        secrets=secrets,
        connections=connections,
        policy=policy,
        pipeline=pipeline,
        undelivered=undelivered,
        approvals=approvals,
        approval_upkeep=ApprovalUpkeep(pipeline, locks),
        claims=claims,
        results=Results(pipeline, locks),
        managed_agents=open_connectors(
            pipeline, engine, gateway_id, root.derive, client_reports, secrets.broker.value, service_transport
        ),
        client_reports=client_reports,
        client_calls=client_calls,
        known_calls=KnownCalls(client_calls.collecting, client_reports),
        hooks=ClaudeCodeHooks(client_calls, client_reports, settings.public_url),
        runs=Runs(Parts(settings, pipeline, runs, locks, menus, gateway_id, clock, directory.check_shown)),
        offer_upkeep=OfferUpkeep(pipeline, locks),
        deliveries=Deliveries(
            webhooks={name: Webhook.open(name, one, courier) for name, one in settings.webhooks.items()},
            outbox=outbox,
            leases=SqlLeases(engine, LeaseKind.WEBHOOK, gateway_id),
            log=log,
            look=lambda message: approvals.of(message.tenant, message.approval_id),
            metrics=metrics,
            page_url=settings.public_url,
            clock=clock,
        ),
        proposals=proposals,
        trust_changes=trust_changes,
        rollout=staged,
        freezing=freezing,
        lifecycle=lifecycle,
        menus=menus,
        pulling=Pulling.open(settings.policy.remote, home / "policy-remote", lifecycle, log, metrics, clock),
        evidence=Evidence(pipeline),
        dead_letters=DeadLetters(pipeline),
        privacy=privacy,
        eraser=eraser,
        epochs=epochs,
        exports=Exports(
            log=log,
            source=LogSource(reader),
            receipts=SqlReceipts(engine),
            bundles=bundles,
            signer=keyset,
            trust=functools.partial(trust_document, log, keyset),
            history=key_history.signed,
            directory=None if followed else bundle_directory(settings.policy),
            controls={str(kind): ids for kind, ids in shipped_controls().ids.items()},
            clock=clock,
        ),
        backup_gauge=BackupGauge(log, metrics),
        metrics=metrics,
        tracer=pipeline.tracer,
        clock=clock,
        jail=jail,
        tls=_tls(settings, metrics, clock),
        drain=drain,
    )


def _introduce(freezing: Freezing, pipeline: Pipeline, claims: Claims) -> Drain:
    """Have parts know each other that cannot be built in one order; returns what tells them of a stop."""
    freezing.wake, freezing.resume = pipeline.wake, pipeline.settle
    pipeline.offered = claims.ring
    drain = Drain()
    drain.on_begin(claims.leave)
    drain.on_begin(pipeline.patience.hurry)
    return drain


def _tls(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> ServerTls | None:
    """The listener's certificate, with the gauges that look at it."""
    if settings.server.tls is None:
        return None
    tls = ServerTls(settings.server.tls, clock)
    metrics.tls_ends.set_function(lambda: tls.certificate.ends_at)
    metrics.tls_problem.set_function(lambda: tls.unusable)
    return tls


def _gateway_id(settings: Settings) -> str:
    """The gateway's stable random name, in its home; entries and plans carry it."""
    file = settings.home / "gateway-id"
    with contextlib.suppress(FileExistsError):
        write(file, f"gw-{os.urandom(8).hex()}\n".encode(), replace=False)
    return file.read_text(encoding="ascii").strip()


def _privacy(
    settings: Settings,
    log: Log,
    reader: Reader,
    epochs: EpochKeys,
    eraser: Engine,
    engine: Engine,
    directory: Callers,
    connections: Connections,
    pipeline: Pipeline,
    clock: Callable[[], float],
) -> Privacy:
    """What is done about people's data."""
    personal = Personal(engine, log.names)
    return Privacy(
        log=log,
        reader=reader,
        access=Access(reader, epochs),
        erasures=Erasures(log, reader, eraser, epochs, clock, personal.aliases),
        purge=Purge(log, reader, eraser, epochs, personal.aliases, clock),
        personal=personal,
        directory=directory,
        payload_days=settings.privacy.payload_days,
        leave=connections.leave,
        settle=pipeline.settle,
        clock=clock,
    )
