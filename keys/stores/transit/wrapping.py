"""The data root wrapped by a key of Transit, which an operator made: AES-256-GCM, the root's context being associated
data."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.canonical import canonical
from keys.errors import KeyUnavailable, SealBroken
from keys.stores.transit import KIND
from keys.stores.transit.api import RequestRefused, Transit

_WRAPPED: Final = re.compile(r"vault:v([1-9][0-9]{0,9}):[A-Za-z0-9+/]+={0,2}")
_TYPES: Final = frozenset({"aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
"""Those that authenticate a context."""
_WRAPPED_MAX: Final = 700


class TransitWrapper:
    """A key of Transit as a ``Wrapper``; the name of the key is the operator's."""

    kind = KIND

    def __init__(self, transit: Transit, mount: str, name: str) -> None:
        self._transit, self._mount, self._name = transit, mount, name
        self.place = f"the key {mount}/{name} of {transit.where}"

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        """See ``Wrapper.wrap``. The key is looked at first: Transit makes one that is not there, if it lets us."""
        self._described()
        body = {"plaintext": base64.b64encode(secret).decode(), "associated_data": _bound(context)}
        wrapped = self._transit.write(f"{self._mount}/encrypt/{self._name}", body).get("ciphertext")
        if not isinstance(wrapped, str) or len(wrapped) > _WRAPPED_MAX or not _WRAPPED.fullmatch(wrapped):
            raise KeyUnavailable(f"{self.place}: the answer is no ciphertext")
        return wrapped

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> bytes:
        """See ``Wrapper.unwrap``."""
        if not _WRAPPED.fullmatch(wrapped):
            raise SealBroken("the wrapping is unreadable")
        body = {"ciphertext": wrapped, "associated_data": _bound(context)}
        try:
            plain = self._transit.write(f"{self._mount}/decrypt/{self._name}", body).get("plaintext")
        except RequestRefused as exc:
            raise SealBroken(f"{self.place} does not open it: {exc.detail}") from None
        try:
            return base64.b64decode(plain, validate=True) if isinstance(plain, str) else b""
        except binascii.Error:
            raise KeyUnavailable(f"{self.place}: the answer is no plaintext") from None

    def is_newest(self, wrapped: str) -> bool:
        """See ``Wrapper.is_newest``."""
        found = _WRAPPED.fullmatch(wrapped)
        return found is not None and int(found[1]) == self._described().get("latest_version")

    def rights(self) -> Mapping[str, tuple[str, ...]]:
        """Path -> what this caller has to be allowed there."""
        return {
            f"{self._mount}/keys/{self._name}": ("read",),
            f"{self._mount}/encrypt/{self._name}": ("update",),
            f"{self._mount}/decrypt/{self._name}": ("update",),
        }

    def _described(self) -> Mapping[str, Any]:
        """What Transit says of the key. Raises ``KeyUnavailable`` where the root is not to be wrapped by it."""
        said = self._transit.read(f"{self._mount}/keys/{self._name}")
        if said is None:
            raise KeyUnavailable(f"{self.place} is not there; make it: bao write -f {self._mount}/keys/{self._name}")
        if said.get("type") not in _TYPES or said.get("derived") is not False:
            raise KeyUnavailable(f"{self.place} is of type {said.get('type')!s:.32}; it has to be aes256-gcm96")
        if said.get("exportable") is not False or said.get("allow_plaintext_backup") is not False:
            raise KeyUnavailable(f"{self.place} can leave Transit (exportable, or allow_plaintext_backup)")
        return said


def _bound(context: Mapping[str, str]) -> str:
    return base64.b64encode(canonical(dict(context))).decode()
