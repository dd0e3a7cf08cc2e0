"""Whom the gateway knows, and how they show who they are."""

from collections.abc import Callable, Mapping

from sqlalchemy import Engine

from audit.log import Log
from gateway.callers import Callers
from gateway.dual_control import Thresholds
from gateway.identity.bearers import Bearers
from gateway.identity.login import IssuerLogin, PendingLogins
from gateway.identity.provider import Provider
from gateway.settings import Settings
from gateway.telemetry import Metrics
from gateway.trust_journal import TrustJournal
from hand_adapters.fetcher import HttpFetcher
from keys.keyset import Keyset
from keys.stores.root import Derives


def directory(
    settings: Settings,
    engine: Engine,
    log: Log,
    root: Derives,
    keyset: Keyset,
    metrics: Metrics,
    clock: Callable[[], float],
) -> Callers:
    """Principals, issuers and their keys."""
    known = Callers(engine, log, root.derive("directory rows"), log.names, clock)
    known.open(keyset, Bearers(_providers(settings, metrics), known), settings.server)
    known.remember(TrustJournal(settings.home, log.origin))
    known.thresholds = Thresholds(settings.proposals.principals_threshold, settings.proposals.issuers_threshold)
    return known


def logins(bearers: Bearers, key: bytes, clock: Callable[[], float]) -> Mapping[str, IssuerLogin]:
    """The issuers at which people log in to the pages, by name."""
    pending = PendingLogins(key, clock)
    return {
        one.name: IssuerLogin(one, one.settings.login, pending)
        for one in bearers.providers
        if one.settings.login is not None
    }


def _providers(settings: Settings, metrics: Metrics) -> list[Provider]:
    """The issuers whose access tokens are believed."""
    return [
        Provider(
            name,
            one,
            HttpFetcher(f"identity.{name}", private_network=one.private_network, ca_file=one.ca_file),
            metrics,
        )
        for name, one in settings.identity.items()
    ]
