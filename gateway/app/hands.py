"""The hands as they are wired: what they name, what is kept and what is measured of them."""

from collections.abc import Callable

from sqlalchemy import Engine

from audit.history import newest_pin
from audit.log import Log
from gateway.cached_results import CachedResults
from gateway.callers import Callers
from gateway.connections.connections import Connections
from gateway.connections.opening import open_connections
from gateway.gauges.hands import Counting, measure
from gateway.objectives import Objectives
from gateway.reasons import Reason
from gateway.secrets.broker import Broker
from gateway.secrets.kept import SecretsKept
from gateway.secrets.opening import open_stores
from gateway.secrets.sealed import LABEL, SealedSecrets
from gateway.settings import ConnectionSettings, SecretStoreSettings, Settings
from gateway.telemetry import Metrics
from hand_adapters.egress.reports import Reports
from hand_adapters.fetcher import HttpFetcher
from hand_adapters.jail import Jail
from hand_adapters.pins import SqlPins
from hand_adapters.registry import Registry
from keys.stores.root import Derives


def hands(
    settings: Settings,
    jail: Jail,
    engine: Engine,
    log: Log,
    root: Derives,
    directory: Callers,
    metrics: Metrics,
    clock: Callable[[], float],
) -> tuple[Registry, SecretsKept, Connections]:
    """The hands, the secrets that they name, and what people let them do."""
    sealed = SealedSecrets(engine, log, root.derive(LABEL), clock)
    broker = Broker(
        open_stores(settings.secrets, sealed, _vault),
        log,
        fresh_seconds=settings.secrets.fresh_seconds,
        timeout_seconds=settings.secrets.timeout_seconds,
    )
    pins = SqlPins(engine, log, root.derive("pin rows"), newest_pin)
    reports, observer = Reports(log, metrics.count_egress), Counting(metrics)
    hands = Registry(settings.hands, jail, pins, secrets=broker, reports=reports, observer=observer)
    measure(metrics, hands.guards)
    connections = open_connections(
        settings, engine, log, root.derive, broker, hands.offered, directory.principal, _authorization_server, clock
    )
    return hands, SecretsKept(sealed, broker, hands.offered, settings.connections), connections


def cached(settings: Settings, hands: Registry, log: Log, metrics: Metrics) -> CachedResults:
    """What is kept of answers, until the log says something that outdates them."""
    sizes = settings.cache
    cached = CachedResults(hands, metrics, bytes_max=sizes.bytes_max, entries_max=sizes.entries_max)
    log.others.on_outdating(cached.empty)
    return cached


def objectives(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> Objectives:
    """What is measured of hands, with the gauges that say what is expected of them."""
    for name, hand in settings.hands.items():
        if hand.slo is not None and hand.slo.availability is not None:
            metrics.hand_objective.labels(name, "availability").set(hand.slo.availability)
        if hand.slo is not None and hand.slo.latency_seconds is not None:
            metrics.hand_objective.labels(name, "latency_quantile").set(hand.slo.latency_quantile)
    return Objectives(metrics, clock)


def _vault(name: str, one: SecretStoreSettings) -> HttpFetcher:
    """What sends requests to a Vault that keeps secrets."""
    where, reason = f"secrets.stores.{name}", Reason.SECRET_UNAVAILABLE
    return HttpFetcher(where, private_network=one.private_network, ca_file=one.ca_file, reason=reason)


def _authorization_server(name: str, one: ConnectionSettings) -> HttpFetcher:
    """What sends requests to the authorization server of a connection."""
    where, reason = f"connections.{name}", Reason.CONNECTION_UNAVAILABLE
    return HttpFetcher(where, private_network=one.private_network, ca_file=one.ca_file, reason=reason)
