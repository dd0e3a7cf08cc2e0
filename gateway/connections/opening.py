"""The connections that the settings name."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from sqlalchemy import Engine

from gateway.connections.connections import Connections
from gateway.connections.consents import Consents
from gateway.connections.grants import LABEL, Grants
from gateway.connections.server import AuthorizationServer, Fetcher
from gateway.connections.tokens import PeoplesTokens
from gateway.manifest import Manifest
from gateway.model import DEFAULT_TENANT, Principal
from gateway.ports import AuditLog
from gateway.secrets.broker import Broker
from gateway.settings import ConnectionSettings, Settings

PAGE: Final = "/connections"
"""The page of a person's connections."""
Connect = Callable[[str, ConnectionSettings], Fetcher]
"""The name of a connection and its settings -> what sends its requests."""


def open_connections(
    settings: Settings,
    engine: Engine,
    log: AuditLog,
    derive: Callable[[str], bytes],
    broker: Broker,
    offered: Callable[[str], Iterable[Manifest]],
    principal: Callable[[str, str], Awaitable[Principal]],
    connect: Connect,
    clock: Callable[[], float],
) -> Connections:
    """Every connection, and the broker told of them; no server is asked anything yet.

    Args:
        derive: purpose -> 32 bytes from outside the database.
        principal: tenant and id -> one that is not revoked.
    """
    servers = {name: _server(name, one, broker, connect, clock) for name, one in settings.connections.items()}
    grants = Grants(engine, log, derive(LABEL), clock)
    page = f"{settings.public_url}{PAGE}"
    tokens = broker.people = PeoplesTokens(grants, servers, page, clock)
    return Connections(servers, grants, Consents(derive("consents"), clock), tokens, broker, page, offered, principal)


def _server(
    name: str, one: ConnectionSettings, broker: Broker, connect: Connect, clock: Callable[[], float]
) -> AuthorizationServer:
    async def secret() -> str:
        return (await broker.value(one.client_secret_store, DEFAULT_TENANT, one.client_secret or "")).value

    return AuthorizationServer(name, one, connect(name, one), secret, clock)
