"""The stores that the settings name."""

from collections.abc import Callable

from gateway.ports import SecretStore
from gateway.secrets.aws import AwsSecrets
from gateway.secrets.environment import EnvironmentSecrets
from gateway.secrets.files import FileSecrets
from gateway.secrets.sealed import SealedSecrets
from gateway.secrets.vault import Asks, VaultSecrets
from gateway.settings import SEALED, SecretSettings, SecretStoreSettings, SettingsError

Connect = Callable[[str, SecretStoreSettings], Asks]
"""The name of a store and its settings -> what sends its requests."""


def open_stores(settings: SecretSettings, sealed: SealedSecrets, connect: Connect) -> dict[str, SecretStore]:
    """Every store by name; none is asked anything yet. Raises ``SettingsError``."""
    stores: dict[str, SecretStore] = {SEALED: sealed}
    for name, one in settings.stores.items():
        stores[name] = _open(name, one, settings.timeout_seconds, connect)
    return stores


def _open(name: str, one: SecretStoreSettings, timeout_seconds: float, connect: Connect) -> SecretStore:
    if one.kind == "environment":
        return EnvironmentSecrets(one.variables)
    if one.kind == "files" and one.directory is not None:
        return FileSecrets(one.directory)
    if one.kind == "vault":
        return VaultSecrets(one, connect(name, one), timeout_seconds)
    if one.kind == "aws":
        return AwsSecrets.open(one, timeout_seconds)
    raise SettingsError(f"secrets.stores.{name}: incomplete")
