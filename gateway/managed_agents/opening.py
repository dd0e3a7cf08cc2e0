"""The connectors of a configuration."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx2

from gateway.managed_agents.api import SessionsApi
from gateway.managed_agents.connector import Connector
from gateway.managed_agents.connectors import ManagedAgents
from gateway.managed_agents.environment import SUFFIX, Environment
from gateway.managed_agents.following import Parts, Reports
from gateway.pipeline import Pipeline
from gateway.ports import SecretValue
from gateway.ports.managed_agents import Records
from gateway.settings import EnvironmentSettings, ManagedAgentsSettings, Settings

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
    connectors: dict[str, Connector] = {}
    for name, one in settings.managed_agents.items():
        api = _api(f"managed_agents.{name}", one, transport, partial(_api_key, one, value))
        connectors[name] = Connector(name, one, api, parts)
        if one.environment is not None:
            where = f"managed_agents.{name}.environment"
            api = _api(where, one, transport, partial(_environment_key, one, one.environment, value))
            connectors[name + SUFFIX] = Environment(
                name + SUFFIX, one, api, parts, environment=one.environment, worker_id=records.owner
            )
    return ManagedAgents(connectors, records)


async def _api_key(one: ManagedAgentsSettings, value: Value) -> Mapping[str, str]:
    return {API_KEY_HEADER: (await value(one.store, one.tenant, one.api_key)).value}


async def _environment_key(
    one: ManagedAgentsSettings, environment: EnvironmentSettings, value: Value
) -> Mapping[str, str]:
    return {"authorization": f"Bearer {(await value(one.store, one.tenant, environment.key)).value}"}


def _api(where: str, one: ManagedAgentsSettings, transport: Transport, credential: Any) -> SessionsApi:
    sent = transport(where, one, credential)
    return SessionsApi.open(one.url, sent, timeout=one.timeout_seconds, quiet=one.quiet_seconds)
