"""Which gateway a command speaks to, and as whom.

In this order: ``--url``/``--api-key``, ``HANDRAIL_URL``/``HANDRAIL_API_KEY``, then ``HANDRAIL_HOME/cli.json``
(``{url, ca_file?, default, principals: {name: {api_key, jwk_file?, issuer?}}}``), where ``--as NAME`` chooses the
principal. A client certificate stands for an API key where no other is given.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from gateway.cli.exits import Code, Stop
from gateway.cli.output import Output
from gateway.files import bounded, reading

if TYPE_CHECKING:
    from handrail import Client

_FILE_MAX_BYTES: Final = 1_048_576
DEFAULT_URL: Final = "http://127.0.0.1:8080"
TLS_VARIABLES: Final = {
    "ca_file": "HANDRAIL_CA_FILE",
    "client_cert": "HANDRAIL_CLIENT_CERT",
    "client_key": "HANDRAIL_CLIENT_KEY",
}
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class TlsFiles(TypedDict, total=False):
    """What a connection by TLS is made with: arguments of the client."""

    ca_file: Path
    client_cert: Path
    client_key: Path


@dataclass(frozen=True, slots=True)
class Connection:
    """A gateway and a caller.

    Attributes:
        key_file, issuer: what the caller signs with, where the file says so.
        tls: as far as they are given.
    """

    url: str
    api_key: str | None
    name: str | None = None
    key_file: Path | None = None
    issuer: str | None = None
    tls: TlsFiles = field(default_factory=TlsFiles)

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, name={self.name!r})"


class Session:
    """What a command that speaks to a gateway is given."""

    def __init__(self, out: Output, connection: Connection) -> None:
        self.out = out
        self.connection = connection

    @cached_property
    def client(self) -> "Client":
        """The connection, made at first use."""
        from handrail import Client  # noqa: PLC0415 - an HTTP client is loaded only by commands that use one

        return Client(self.connection.url, self.connection.api_key, **self.connection.tls)

    def close(self) -> None:
        """Close the connection, where one was made."""
        if "client" in self.__dict__:
            self.client.close()


def home(environ: Mapping[str, str]) -> Path:
    """``HANDRAIL_HOME``, or ``./.handrail`` where it is not set, or empty."""
    return Path(environ.get("HANDRAIL_HOME") or ".handrail")


def resolve(
    url: str | None,
    api_key: str | None,
    as_name: str | None,
    tls: Mapping[str, Path | None] = MappingProxyType({}),
    environ: Mapping[str, str] = os.environ,
) -> Connection:
    """Put a connection together.

    Args:
        tls: option of :data:`TLS_VARIABLES` -> what was given for it.

    Raises:
        Stop: for a file that others can read, an unknown name, or a stored key that belongs to another gateway.
    """
    files = _tls_files(tls, environ)
    connection = _resolved(url, api_key, as_name, environ, by_certificate="client_cert" in files)
    return replace(connection, tls={**connection.tls, **files})


def _tls_files(given: Mapping[str, Path | None], environ: Mapping[str, str]) -> TlsFiles:
    """The files of TLS, by the name of the client's argument."""
    found = {name: given.get(name) or environ.get(variable) for name, variable in TLS_VARIABLES.items()}
    files = cast("TlsFiles", {name: Path(file) for name, file in found.items() if file})
    key = files.get("client_key")
    if key is not None and key.is_file() and key.stat().st_mode & _OPEN_TO_OTHERS:
        raise Stop(f"{key}: other users can read the key", f"Run: chmod 600 {key}")
    return files


def _resolved(
    url: str | None, api_key: str | None, as_name: str | None, environ: Mapping[str, str], *, by_certificate: bool
) -> Connection:
    if api_key and as_name:
        raise Stop("--api-key and --as exclude each other", "Give one of them.")
    file = home(environ) / "cli.json"
    chosen_url = url or environ.get("HANDRAIL_URL") or None
    chosen_key = api_key or (None if as_name else environ.get("HANDRAIL_API_KEY")) or None
    if chosen_key is not None:
        return Connection(chosen_url or _stored_url(file) or DEFAULT_URL, chosen_key)
    if by_certificate and not as_name:
        return Connection(chosen_url or _stored_url(file) or DEFAULT_URL, None)
    stored = _read(file)
    if stored is None:
        if as_name:
            raise Stop(f"--as {as_name}: there is no {file}", "Set HANDRAIL_HOME to the directory that has cli.json.")
        return Connection(chosen_url or DEFAULT_URL, None)
    stored_url = stored.get("url")
    if not isinstance(stored_url, str):
        raise Stop(f"{file}: no url", 'It should hold {"url", "default", "principals"}.')
    if chosen_url is not None and chosen_url.rstrip("/") != stored_url.rstrip("/"):
        raise Stop(
            f"{file} holds keys for {stored_url}, which are not sent to {chosen_url}",
            "Give --api-key or HANDRAIL_API_KEY for that gateway.",
        )
    return _principal(file, stored, stored_url, as_name)


def _principal(file: Path, stored: Mapping[str, Any], url: str, as_name: str | None) -> Connection:
    principals = stored.get("principals")
    name = as_name or stored.get("default")
    if not isinstance(principals, dict) or not isinstance(name, str):
        raise Stop(f"{file}: no principals, or no default", "Choose one with --as NAME, or give --api-key.")
    entry = principals.get(name)
    if name not in principals:
        raise Stop(f"{file}: no principal {name!r}", f"It has: {', '.join(sorted(map(str, principals)))}.")
    if not isinstance(entry, dict) or not isinstance(entry.get("api_key"), str):
        raise Stop(f"{file}: {name} has no api_key", 'It should hold {"api_key": "hr_..."}.')
    key_file, issuer, ca_file = entry.get("jwk_file"), entry.get("issuer"), stored.get("ca_file")
    return Connection(
        url,
        entry["api_key"],
        name,
        file.parent / key_file if isinstance(key_file, str) else None,
        issuer if isinstance(issuer, str) else None,
        {"ca_file": file.parent / ca_file} if isinstance(ca_file, str) else TlsFiles(),
    )


def _stored_url(file: Path) -> str | None:
    stored = _read(file)
    url = (stored or {}).get("url")
    return url if isinstance(url, str) else None


def _read(file: Path) -> dict[str, Any] | None:
    """The file's object; ``None`` where there is no file. It holds API keys, so nobody else may read it."""
    try:
        with reading(file) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = bounded(stream, _FILE_MAX_BYTES, file)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise Stop(f"{file}: {exc.strerror}", "Check HANDRAIL_HOME and the file's owner.", code=Code.FILE) from None
    if mode & _OPEN_TO_OTHERS:
        raise Stop(f"{file}: other users can read the API keys in it", f"Run: chmod 600 {file}")
    try:
        document = json.loads(content)
    except ValueError:
        raise Stop(f"{file}: not JSON", "Mend it, or give --url and --api-key.") from None
    if not isinstance(document, dict):
        raise Stop(f"{file}: not a JSON object", "Mend it, or give --url and --api-key.")
    return document
