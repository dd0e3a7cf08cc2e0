"""Secrets in Vault or OpenBao, in a KV secrets engine of version 2 (``GET /v1/MOUNT/data/PATH``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.ports import SecretValue
from gateway.secret_files import read_secret
from gateway.secrets.threads import StoreThreads
from gateway.secrets.values import missing, taken, unavailable
from gateway.settings import SecretStoreSettings, SettingsError

ANSWER_MAX_BYTES: Final = 65_536


class Asks(Protocol):
    """Sends a GET, over the one dialer."""

    async def ask(
        self, url: str, headers: Mapping[str, str], *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, bytes]:
        """Status and body; no redirect is followed. Raises ``secret.unavailable``."""

    async def close(self) -> None:
        """Close the connection."""


class VaultSecrets:
    """A ``SecretStore`` over one KV engine. The token is read anew for each request: an agent renews it in its file."""

    def __init__(self, settings: SecretStoreSettings, asks: Asks, timeout_seconds: float) -> None:
        self._base = f"{(settings.url or '').rstrip('/')}/v1/{settings.mount}/data/{settings.prefix}"
        self._namespace = {"X-Vault-Namespace": settings.namespace} if settings.namespace else {}
        self._token_file = settings.token_file or Path()
        self._field = settings.field
        self._asks = asks
        self._timeout_seconds = timeout_seconds
        self._threads = StoreThreads()

    async def read(self, tenant: str, name: str) -> SecretValue:
        """See ``SecretStore``. The version is the engine's."""
        try:
            token = await self._threads.run(read_secret, self._token_file, "token_file")
        except SettingsError as exc:
            raise unavailable(exc.detail) from None
        path = f"{tenant}/{name}"
        status, body = await self._asks.ask(
            self._base + path,
            {"X-Vault-Token": token, "X-Vault-Request": "true", **self._namespace},
            timeout_seconds=self._timeout_seconds,
            answer_max_bytes=ANSWER_MAX_BYTES,
        )
        if status == 404:  # never written, deleted or destroyed
            raise missing(f"vault: nothing at {path}")
        if status != 200:
            raise unavailable(f"vault: answers {status} for {path}")
        return self._read(body, path)

    async def close(self) -> None:
        """Close the connection."""
        await self._asks.close()
        self._threads.end()

    def _read(self, body: bytes, path: str) -> SecretValue:
        try:
            data = _member(parse(body), "data")
            fields, metadata = _member(data, "data"), _member(data, "metadata")
        except (Refused, TypeError):
            raise unavailable(f"vault: what it answers for {path} is no secret of KV version 2") from None
        version = metadata.get("version")
        if type(version) is not int or metadata.get("destroyed") or metadata.get("deletion_time"):
            raise missing(f"vault: nothing at {path}")
        value = fields.get(self._field)
        if not isinstance(value, str):
            raise missing(f"vault: {path} has no text in {self._field}")
        return taken(value, str(version), f"vault: {path}")


def _member(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, Mapping):
        raise TypeError(name)
    return found
