"""Verify a message of a gateway's webhook (Standard Webhooks): that the gateway sent exactly this body, just now."""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from handrail.errors import WebhookError
from handrail.strict import parse

TOLERANCE_SECONDS: Final = 300
_SIGNATURES_MAX: Final = 16


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    now: float | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> dict[str, Any]:
    """The message, after making sure that it is genuine, whole and fresh.

    A message is sent at least once: remember its ``webhook-id`` for as long as the tolerance to tell a repetition.

    Args:
        headers: of the request, in any case.
        body: exactly as received.
        secret: ``whsec_<base64>`` (shared), or ``whpk_<base64>``, the public half of the gateway's Ed25519 key.
        now: seconds since the epoch; the clock where ``None``.

    Raises:
        WebhookError: it is not; the text says why.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as exc:
        raise WebhookError(f"the header {exc.args[0]} is missing") from None
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 12:
        raise WebhookError("webhook-timestamp is no time")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_seconds:
        raise WebhookError("the message is too old, or from the future")
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    if not any(_holds(one, signed, secret) for one in signatures.split(" ")[:_SIGNATURES_MAX]):
        raise WebhookError("no signature verifies")
    message = parse(body)
    if not isinstance(message, dict):
        raise WebhookError("the body is not a JSON object")
    return message


def _holds(signature: str, signed: bytes, secret: str) -> bool:
    version, _, encoded = signature.partition(",")
    try:
        raw = base64.b64decode(encoded, validate=True)
        if version == "v1" and secret.startswith("whsec_"):
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            return hmac.compare_digest(hmac.digest(key, signed, "sha256"), raw)
        if version == "v1a" and secret.startswith("whpk_"):
            public = base64.b64decode(secret.removeprefix("whpk_"), validate=True)
            Ed25519PublicKey.from_public_bytes(public).verify(raw, signed)
            return True
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return False
