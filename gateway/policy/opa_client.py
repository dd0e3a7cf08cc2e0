"""The client of an OPA server: ``opa-python-client`` as it is, but with one bounded connection pool, fast JSON, no
redirects, bounded answers, and TLS that is verified against the authorities and with the certificate that the operator
names.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from opa_client.opa_async import AsyncOpaClient

from gateway.policy.bundle import ROOT
from gateway.secret_files import read_secret
from gateway.settings import PolicySettings, SettingsError

ANSWER_MAX_BYTES: Final = 4_194_304
CONNECTIONS: Final = 32


class OpaClient(AsyncOpaClient):  # type: ignore[misc]  # the package has no types
    """One server, for the life of the engine.

    Args:
        url: scheme, host and port.
        token: bearer token, where the server wants one.
        tls: the context of an ``https`` server; ``None`` for ``http``.
        timeout_seconds: for one request where nobody sets a tighter deadline.
    """

    def __init__(self, url: str, token: str | None, tls: ssl.SSLContext | None, timeout_seconds: float) -> None:
        host, port, secure = _address(url)
        super().__init__(host=host, port=port, ssl=secure, token=token, retries=0, timeout=timeout_seconds)
        self._tls = tls

    async def _init_session(self) -> None:
        context = self._tls or ssl.create_default_context()
        self._session = aiohttp.ClientSession(
            headers=self.headers,
            connector=aiohttp.TCPConnector(ssl=context if self.ssl else False, limit=CONNECTIONS),
            json_serialize=lambda value: orjson.dumps(value).decode(),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        )

    @asynccontextmanager
    async def _request(self, method: str, url: str, **kwargs: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with super()._request(method, url, allow_redirects=False, **kwargs) as response:
            if (response.content_length or 0) > ANSWER_MAX_BYTES:
                raise aiohttp.ClientPayloadError("the answer is too large")
            yield response

    async def policies(self) -> dict[str, tuple[str, str]]:
        """Policy id -> (package, source) of everything the server holds."""
        async with self._request("GET", f"{self.root_url}/policies") as response:
            response.raise_for_status()
            listed = (await response.json())["result"]
        return {item["id"]: (_package(item), item["raw"]) for item in listed}

    async def remove_documents(self) -> bool:
        """Take out whatever data documents stand under the bundle's name; whether there were any."""
        async with self._request("DELETE", f"{self.root_url}/data/{ROOT}") as response:
            if response.status != HTTPStatus.NOT_FOUND:
                response.raise_for_status()
            return response.status != HTTPStatus.NOT_FOUND


def _package(item: Mapping[str, Any]) -> str:
    return ".".join(str(part["value"]) for part in item["ast"]["package"]["path"][1:])


def _address(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    plain = not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise SettingsError("policy.opa_url must be http(s)://HOST[:PORT] and nothing more")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host, parts.port or (443 if parts.scheme == "https" else 8181), parts.scheme == "https"


def read_token(path: Path | None) -> str | None:
    """The bearer token in ``path``.

    Raises:
        SettingsError: the file cannot be read, or holds no token.
    """
    return None if path is None else read_secret(path, "policy.opa_token_file")


def tls_context(settings: PolicySettings) -> ssl.SSLContext:
    """How an ``https`` OPA server is verified, and what is shown to it.

    Raises:
        SettingsError: a file that is named cannot be read, or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=_text(settings.opa_ca_file))
        if settings.opa_certificate_file is not None:
            context.load_cert_chain(settings.opa_certificate_file, settings.opa_certificate_key_file)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(f"policy: the TLS files for OPA cannot be used: {type(exc).__name__}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
