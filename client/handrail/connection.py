"""What a connection to the gateway is made with, and requests and replies as the HTTP client knows them."""

import ipaddress
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from handrail.errors import ClientError, Unreachable, Unverified
from handrail.exchange import Reply, Request

TIMEOUT_SECONDS: Final = 30.0


def base_url(url: str) -> str:
    """The gateway's URL without a trailing slash.

    Raises:
        ClientError: where it is no URL of a gateway.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ClientError("the gateway's URL must look like https://HOST[:PORT]")
    return url.rstrip("/")


def settings(
    base: str,
    api_key: str | None,
    ca_file: Path | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
) -> dict[str, Any]:
    """How both clients connect to ``base``: the API key goes there and nowhere else.

    Raises:
        ClientError: for an API key that is none, or files of TLS that cannot be used or would not be.
    """
    chosen = {
        "base_url": base,
        "headers": _headers(api_key),
        "trust_env": not _is_loopback(base),
        "follow_redirects": False,
    }
    if base.startswith("http:"):
        # Reading the system's CA certificates takes tens of milliseconds. Over plain HTTP nothing is verified with
        # them; this context knows none and would refuse every certificate.
        chosen["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca_file is not None or client_cert is not None or client_key is not None:
            raise ClientError("certificates go with https:// alone: over http:// nobody is verified")
    elif ca_file is not None or client_cert is not None or client_key is not None:
        chosen["verify"] = tls_context(ca_file, client_cert, client_key)
    return chosen


def tls_context(
    ca_file: Path | None, client_cert: Path | None = None, client_key: Path | None = None
) -> ssl.SSLContext:
    """The gateway is verified in any case; ``ca_file`` says by whose word instead of the system's authorities.

    Raises:
        ClientError: for a file that cannot be used.
    """
    if client_key is not None and client_cert is None:
        raise ClientError("the client's key goes with its certificate")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ClientError(f"{ca_file}: no authorities in PEM: {exc.strerror or type(exc).__name__}") from None
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_password)
        except (OSError, ValueError) as exc:
            where = client_cert if client_key is None else f"{client_cert}, {client_key}"
            raise ClientError(f"{where}: no certificate with its key: {getattr(exc, 'strerror', exc)}") from None
    return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _is_loopback(url: str) -> bool:
    """Loopback is never reached through a proxy from the environment."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key or not api_key:
        raise ClientError("the API key has characters that no API key has")
    return {"Authorization": f"Bearer {api_key}"}


def arguments(request: Request, timeout_seconds: float) -> dict[str, Any]:
    """``request`` as arguments of an HTTP client."""
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.query) or None,
        "content": request.body,
        "headers": {"Content-Type": request.media_type} if request.media_type else {},
        "timeout": timeout_seconds + request.wait_seconds,
    }


def reply_of(response: httpx2.Response) -> Reply:
    """``response``, its body read, as operations know it."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Reply(response.status_code, media_type, response.content)


def unreachable(url: httpx2.URL, reason: Exception | None) -> Unreachable:
    """The error for a gateway at ``url`` that did not answer, or whose stream ended too soon (no ``reason``)."""
    refused = _unverified(reason)
    if refused is not None:
        return Unverified(f"{url} is not trusted: its certificate does not verify: {refused.verify_message}")
    what = type(reason).__name__ if reason is not None else "the event stream ends before the plan is done"
    return Unreachable(f"no answer from {url}: {what}")


def _unverified(reason: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that an HTTP client's error was raised from."""
    while reason is not None and not isinstance(reason, ssl.SSLCertVerificationError):
        reason = reason.__cause__ or reason.__context__
    return reason
