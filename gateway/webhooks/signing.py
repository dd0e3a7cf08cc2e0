"""Signatures of webhook messages, after Standard Webhooks (standard-webhooks 1.0): over id, time and body, so that a
receiver can tell a message from a forged, changed or repeated one.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.secret_files import read_secret
from gateway.settings import SettingsError

_HMAC: Final = "whsec_"
_ED25519: Final = "whsk_"
_HMAC_BYTES: Final = range(24, 65)
_SEED_BYTES: Final = 32


class MessageSigner:
    """Signs with the one secret of a webhook. Its ``repr`` shows nothing."""

    __slots__ = ("_ed25519", "_hmac")

    def __init__(self, secret: str) -> None:
        """Take ``whsec_<base64>`` (24 to 64 bytes, HMAC-SHA256) or ``whsk_<base64>`` (32 bytes, Ed25519).

        Raises:
            ValueError: for anything else; never with the secret in it.
        """
        self._hmac: bytes | None = None
        self._ed25519: Ed25519PrivateKey | None = None
        prefix = next((known for known in (_HMAC, _ED25519) if secret.startswith(known)), None)
        if prefix is None:
            raise ValueError("a secret begins with whsec_ or whsk_")
        try:
            raw = base64.b64decode(secret.removeprefix(prefix), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the secret is not base64") from None
        if prefix == _HMAC:
            if len(raw) not in _HMAC_BYTES:
                raise ValueError("a whsec_ secret has 24 to 64 bytes")
            self._hmac = raw
        else:
            if len(raw) != _SEED_BYTES:
                raise ValueError("a whsk_ secret has 32 bytes")
            self._ed25519 = Ed25519PrivateKey.from_private_bytes(raw)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
        """The three headers of one attempt."""
        signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
        if self._ed25519 is not None:
            version, signature = "v1a", self._ed25519.sign(signed)
        else:
            version, signature = "v1", hmac.digest(self._hmac or b"", signed, "sha256")
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"{version},{base64.b64encode(signature).decode()}",
        }


def signer_of(file: Path, what: str) -> MessageSigner:
    """The signer of a webhook's secret file.

    Raises:
        SettingsError: where the file or the secret cannot be used.
    """
    try:
        return MessageSigner(read_secret(file, what))
    except ValueError as exc:
        raise SettingsError(f"{what}: {file}: {exc}") from None
