"""The connectors of a configuration."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx2
from sqlalchemy import Engine

from gateway.managed_agents.connector import Connector
from gateway.managed_agents.connectors import ManagedAgents
from gateway.managed_agents.environment import SUFFIX, Environment
from gateway.managed_agents.following import Parts, Reports
from gateway.pipeline import Pipeline
from gateway.ports import SecretValue
from gateway.settings import EnvironmentSettings, ManagedAgentsSettings
from gateway.store.managed_sessions import SqlManagedSessions

if TYPE_CHECKING:
    from gateway.managed_agents.api import SessionsApi

API_KEY_HEADER: Final = "x-api-key"
LABEL: Final = "managed agents rows"
"""What the key of the rows is derived for."""

Value = Callable[[str, str, str], Awaitable[SecretValue]]
"""Store, tenant and name of a secret -> its value as it is now. Raises ``secret.missing``, ``secret.unavailable``."""
Transport = Callable[[str, ManagedAgentsSettings, Any], httpx2.AsyncBaseTransport]


def open_connectors(
    pipeline: Pipeline,
    engine: Engine,
    owner: str,
    derive: Callable[[str], bytes],
    reports: Reports,
    value: Value,
    transport: Transport,
) -> ManagedAgents:
    """Connectors that follow nothing yet.

    Args:
        owner: this gateway's id.
        derive: label -> 32 bytes from outside the database.

    Raises:
        SettingsError: a file of authorities cannot be used.
    """
    records = SqlManagedSessions(engine, owner, derive(LABEL))
    parts = Parts(pipeline, records, reports, pipeline.clock)
    connectors: dict[str, Connector] = {}
    for name, one in pipeline.settings.managed_agents.items():
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


def _api(where: str, one: ManagedAgentsSettings, transport: Transport, credential: Any) -> "SessionsApi":
    from gateway.managed_agents.api import SessionsApi  # noqa: PLC0415 - its SDK is slow to import, and few gateways have a connector

    sent = transport(where, one, credential)
    return SessionsApi.open(one.url, sent, timeout=one.timeout_seconds, quiet=one.quiet_seconds)
