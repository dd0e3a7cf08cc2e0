"""Private halves in Transit: made there, used there, and never anywhere else. One named key for each, version 1 of it.

``kept`` is ``MOUNT/NAME``, so that a key is used and destroyed where it was made whatever is configured later.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from gateway.canonical import b64url_decode
from gateway.ports import Purpose
from keys import jwk
from keys.errors import KeyRefused, KeyUnavailable
from keys.rotation import KeyRecord
from keys.stores.halves import NewHalf, Sign
from keys.stores.transit import KIND
from keys.stores.transit.api import RequestRefused, Transit

_KEPT: Final = re.compile(r"([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)/([A-Za-z0-9_.-]+)")
_VERSION: Final = 1
"""A key is never rotated in Transit: a new key of ours is a new name there, which can be destroyed by itself."""
_SIGNATURE: Final = f"vault:v{_VERSION}:"
_PROBE: Final = b"handrail: is this the private half?"


class TransitHalves:
    """See ``Halves``. Thread-safe.

    Args:
        prefix: what names of keys begin with, which the server's policy can go by.
    """

    kind = KIND

    def __init__(self, transit: Transit, mount: str, prefix: str) -> None:
        self._transit, self._mount, self._prefix = transit, mount, prefix

    def make(self, purpose: Purpose) -> NewHalf:
        """See ``Halves.make``. A key that was made otherwise than asked is destroyed and refused."""
        name = f"{self._prefix}-{purpose}-{secrets.token_hex(8)}"
        asked = {"type": "ed25519", "exportable": False, "allow_plaintext_backup": False, "derived": False}
        self._transit.write(f"{self._mount}/keys/{name}", asked)
        kept = f"{self._mount}/{name}"
        try:
            public = self._public(self._mount, name)
            sign = self._signs(self._mount, name, public)
            sign(_PROBE)
        except (ValueError, KeyUnavailable) as exc:
            self._destroy_quietly(kept)
            raise KeyUnavailable(
                exc.detail if isinstance(exc, KeyUnavailable) else f"{self._of(name)}: {exc}"
            ) from None
        return NewHalf(public, kept, sign)

    def use(self, record: KeyRecord, kept: str) -> Sign:
        """See ``Halves.use``: Transit has to say that the key is the record's, and that it cannot leave."""
        mount, name = _place(kept)
        public = b64url_decode(record.x)
        if self._public(mount, name) != public:
            raise ValueError("the halves do not match")
        return self._signs(mount, name, public)

    def destroy(self, kept: str) -> None:
        """See ``Halves.destroy``."""
        mount, name = _place(kept)
        path = f"{mount}/keys/{name}"
        if self._transit.read(path) is None:
            return
        try:
            self._transit.write(f"{path}/config", {"deletion_allowed": True})
            self._transit.delete(path)
        except RequestRefused:
            if self._transit.read(path) is not None:  # another gateway was not faster
                raise

    def rights(self) -> Mapping[str, tuple[str, ...]]:
        """Path -> what this caller has to be allowed there."""
        name = f"{self._prefix}-any"
        return {
            f"{self._mount}/keys/{name}": ("create", "read", "update", "delete"),
            f"{self._mount}/keys/{name}/config": ("update",),
            f"{self._mount}/sign/{name}": ("update",),
        }

    def _public(self, mount: str, name: str) -> bytes:
        """The public half as Transit gives it. Raises ``ValueError`` where the key is not what is made here."""
        said = self._transit.read(f"{mount}/keys/{name}")
        if said is None:
            raise KeyUnavailable(f"{self._of(name)}: it is not there")
        if said.get("type") != "ed25519" or said.get("derived") is not False:
            raise ValueError("not an Ed25519 key")
        # What an older server does not say was not done: it has no imported keys.
        if (
            said.get("exportable") is not False
            or said.get("allow_plaintext_backup") is not False
            or said.get("imported_key", False) is not False
        ):
            raise ValueError("the private half can leave Transit, or came from elsewhere")
        versions = said.get("keys")
        version = versions.get(str(_VERSION)) if isinstance(versions, dict) else None
        if version is None:
            raise KeyUnavailable(f"{self._of(name)}: version {_VERSION} is not to be used (min_decryption_version?)")
        return _raw(version)

    def _signs(self, mount: str, name: str, public: bytes) -> Sign:
        try:
            verifier = jwk.from_raw(public).key
        except KeyRefused as exc:
            raise ValueError(exc.detail) from None

        def sign(message: bytes) -> bytes:
            """What Transit answers is held against the public key before it leaves."""
            body = {"input": base64.b64encode(message).decode(), "key_version": _VERSION}
            answer = self._transit.write(f"{mount}/sign/{name}", body).get("signature")
            if not isinstance(answer, str) or not answer.startswith(_SIGNATURE):
                raise KeyUnavailable(f"{self._of(name)}: the answer is no signature by version {_VERSION}")
            try:
                signature = base64.b64decode(answer.removeprefix(_SIGNATURE), validate=True)
                verifier.verify(signature, message)
            except (binascii.Error, ValueError, InvalidSignature):
                raise KeyUnavailable(f"{self._of(name)}: the signature is not this key's") from None
            return signature

        return sign

    def _destroy_quietly(self, kept: str) -> None:
        """Destroy what was made in vain; where that fails too, nothing uses it."""
        try:
            self.destroy(kept)
        except KeyUnavailable:
            return

    def _of(self, name: str) -> str:
        return f"{self._transit.where}: key {name}"


def _place(kept: str) -> tuple[str, str]:
    found = _KEPT.fullmatch(kept)
    if found is None:
        raise ValueError("not the name of a key in Transit")
    return found[1], found[2]


def _raw(version: Any) -> bytes:
    public = version.get("public_key") if isinstance(version, dict) else None
    try:
        raw = base64.b64decode(public, validate=True) if isinstance(public, str) else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise ValueError("not an Ed25519 key")
    return raw
