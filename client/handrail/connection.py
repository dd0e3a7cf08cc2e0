"""What a connection to the gateway is made with, and requests and replies as the HTTP client knows them."""

import ipaddress
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from handrail.errors import CertificateRefused, ClientError, Unreachable, Unverified
from handrail.exchange import Reply, Request

TIMEOUT_SECONDS: Final = 30.0
_REFUSALS: Final = {
    "CERTIFICATE_REQUIRED": "takes nobody without a certificate of theirs",
    "UNKNOWN_CA": "does not know the authority that issued your certificate",
    "CERTIFICATE_EXPIRED": "refuses your certificate: its time is over, or has not begun",
    "CERTIFICATE_REVOKED": "refuses your certificate: it was revoked",
    "CERTIFICATE_UNKNOWN": "refuses your certificate",
    "BAD_CERTIFICATE": "refuses your certificate: it does not verify there",
    "UNSUPPORTED_CERTIFICATE": "refuses your certificate: not one for clients, or of a kind that it does not take",
    "ACCESS_DENIED": "refuses your certificate",
}
"""Alert of TLS -> what the gateway does, in words."""
_CLOSED: Final = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


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
        why = "holds no certificates in PEM" if isinstance(exc, ssl.SSLError) else exc.strerror
        raise ClientError(f"{ca_file}: {why}") from None
    if client_cert is not None:
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_password)
        except (OSError, ValueError) as exc:
            raise ClientError(_no_pair(client_cert, client_key, exc)) from None
    return context


def _no_pair(certificate: Path, key: Path | None, reason: Exception) -> str:
    """Why two files are no certificate with its key. OpenSSL's own words name neither file nor cause."""
    holder = certificate if key is None else key
    try:
        held, keys = certificate.read_bytes(), holder.read_bytes()
    except OSError as exc:
        return f"{exc.filename}: {exc.strerror}"
    if b"-----BEGIN CERTIFICATE-----" not in held:
        return f"{certificate}: holds no certificate in PEM"
    if b"PRIVATE KEY-----" not in keys and key is None:
        return f"{certificate}: holds no private key; give the file of its key too (--client-key, client_key)"
    if b"PRIVATE KEY-----" not in keys:
        return f"{holder}: holds no private key in PEM"
    if not isinstance(reason, ssl.SSLError):
        return f"{holder}: the key is encrypted; give one without a password"
    if reason.reason == "KEY_VALUES_MISMATCH":
        return f"{holder}: not the key of {certificate}"
    return f"{certificate}, {holder}: not a certificate with its key"


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
    refused = _tls_error(reason)
    if isinstance(refused, ssl.SSLCertVerificationError):
        return Unverified(f"{url} is not trusted: its certificate does not verify: {refused.verify_message}")
    if refused is not None and (said := _REFUSALS.get(_alert(refused))) is not None:
        return CertificateRefused(f"{url} {said}")
    what = type(reason).__name__ if reason is not None else "the event stream ends before the plan is done"
    if url.scheme == "https" and isinstance(reason, _CLOSED):
        # Servers on asyncio, the gateway's own among them, close a failed handshake without an alert.
        what = "the connection was closed; so does a gateway that does not take your certificate, or wants one"
    return Unreachable(f"no answer from {url}: {what}")


def _tls_error(reason: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS that an HTTP client's error was raised from."""
    while reason is not None and not isinstance(reason, ssl.SSLError):
        reason = reason.__cause__ or reason.__context__
    return reason


def _alert(error: ssl.SSLError) -> str:
    """Which alert the other side sent (RFC 8446, section 6.2), as OpenSSL calls it; empty for none."""
    _, _, name = str(error.reason or "").partition("_ALERT_")
    return name
