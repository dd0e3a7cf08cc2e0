"""Secrets in variables of the gateway's environment, of which it reads those that are listed."""

import os
from collections.abc import Mapping
from typing import Final

from gateway.model import DEFAULT_TENANT
from gateway.ports import SecretValue
from gateway.secrets.values import key_of, missing, taken

VERSION: Final = "process"
"""A process's environment stays as it was when it started."""


class EnvironmentSecrets:
    """A ``SecretStore`` over listed variables.

    Args:
        variables: ``NAME`` or ``TENANT.NAME`` -> variable.
    """

    def __init__(self, variables: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> None:
        self._variables = dict(variables)
        self._environment = environment

    async def read(self, tenant: str, name: str) -> SecretValue:
        """See ``SecretStore``."""
        variable = self._variables.get(key_of(tenant, name, DEFAULT_TENANT))
        if variable is None:
            raise missing("no variable is listed for it")
        value = self._environment.get(variable)
        if value is None:
            raise missing(f"the variable {variable} is not set")
        return taken(value, VERSION, f"the variable {variable}")

    async def close(self) -> None:
        """Nothing is open."""
