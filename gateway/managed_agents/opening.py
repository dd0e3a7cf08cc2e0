"""The connectors of a configuration."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2

from gateway.managed_agents.api import SessionsApi
from gateway.managed_agents.connector import Connector
from gateway.managed_agents.connectors import ManagedAgents
from gateway.managed_agents.following import Parts, Reports
from gateway.pipeline import Pipeline
from gateway.ports import SecretValue
from gateway.ports.managed_agents import Records
from gateway.settings import ManagedAgentsSettings, Settings

API_KEY_HEADER: Final = "x-api-key"

Value = Callable[[str, str, str], Awaitable[SecretValue]]
"""Store, tenant and name of a secret -> its value as it is now. Raises ``secret.missing``, ``secret.unavailable``."""
Transport = Callable[[str, ManagedAgentsSettings, Any], httpx2.AsyncBaseTransport]


def open_connectors(
    settings: Settings,
    pipeline: Pipeline,
    records: Records,
    reports: Reports,
    value: Value,
    transport: Transport,
    clock: Callable[[], float],
) -> ManagedAgents:
    """Connectors that follow nothing yet.

    Raises:
        SettingsError: a file of authorities cannot be used.
    """
    parts = Parts(pipeline, records, reports, clock)
    return ManagedAgents(
        {name: _opened(name, one, parts, value, transport) for name, one in settings.managed_agents.items()}, records
    )


def _opened(name: str, one: ManagedAgentsSettings, parts: Parts, value: Value, transport: Transport) -> Connector:
    async def credential() -> Mapping[str, str]:
        return {API_KEY_HEADER: (await value(one.store, one.tenant, one.api_key)).value}

    sent = transport(f"managed_agents.{name}", one, credential)
    api = SessionsApi.open(one.url, sent, timeout=one.timeout_seconds, quiet=one.quiet_seconds)
    return Connector(name, one, api, parts)
