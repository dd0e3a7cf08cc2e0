"""Private halves in a PKCS#11 token: made there, used there, never anywhere else.

A key is Ed25519 (PKCS#11 3.0: CKK_EC_EDWARDS, CKM_EDDSA), with CKA_SENSITIVE and without CKA_EXTRACTABLE. It is found
by a random CKA_ID that stands in its sealed record. Needs the extra ``pkcs11`` (python-pkcs11), imported only here.

One session, one call at a time: sessions of one process share their login, and a token does one thing at a time anyway.
A call into the module cannot be interrupted: how long it may hang is the module's own setting.
"""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.canonical import b64url_decode
from gateway.ports import Purpose
from keys import jwk
from keys.errors import KeyStoreAway, KeyUnavailable
from keys.rotation import KeyRecord
from keys.stores.halves import NewHalf, Sign

Result = TypeVar("Result")

_CURVE: Final = b"\x13\x0cedwards25519"
"""CKA_EC_PARAMS: the curve's name as a PrintableString (PKCS#11 3.0, section 2.3.5)."""
_ID_BYTES: Final = 16
_PROBE: Final = b"handrail: is this the private half?"


class Token:
    """A token, logged in to while it is used. Thread-safe.

    Args:
        module: the vendor's library.
        label: the token's.
        pin: of its user.
    """

    kind = "pkcs11"

    def __init__(self, module: Path, label: str, pin: str) -> None:
        try:
            import pkcs11  # noqa: PLC0415 - an extra
        except ImportError:
            raise KeyUnavailable("keys in a token need the extra: pip install 'handrail[pkcs11]'") from None
        self._api: Any = pkcs11
        self._module, self._label, self._pin = module, label, pin
        self._lock = threading.Lock()
        self._session: Any = None
        self._found: dict[bytes, Any] = {}
        self._looked_up: dict[bytes, bool] = {}
        """Keys whose handle in ``_found`` has not signed yet."""
        self._pin_refused = False

    def make(self, purpose: Purpose) -> NewHalf:
        """See ``Halves.make``. A key that the token made otherwise than asked is destroyed and refused."""
        id_ = secrets.token_bytes(_ID_BYTES)
        public = self._run(lambda: self._generate(id_, purpose))
        kept = id_.hex()
        try:
            sign = self._tried(id_, public)
        except ValueError as exc:
            self.destroy(kept)
            raise KeyUnavailable(f"token {self._label}: {exc}") from None
        return NewHalf(public, kept, sign)

    def use(self, record: KeyRecord, kept: str) -> Sign:
        """See ``Halves.use``: the key under this id is looked at, and has to sign what the record's key verifies."""
        return self._tried(bytes.fromhex(kept), b64url_decode(record.x))

    def destroy(self, kept: str) -> None:
        """See ``Halves.destroy``."""
        wanted = {self._api.Attribute.ID: bytes.fromhex(kept)}

        def destroy_all() -> None:
            self._found.clear()
            for found in list(self._session.get_objects(wanted)):
                found.destroy()

        self._run(self._anew)  # a token that was taken away shows no objects either
        self._run(destroy_all)

    def log_in(self) -> None:
        """Open the token; it is opened by itself when it is needed. Raises ``KeyUnavailable``."""
        self._run(lambda: None)

    def close(self) -> None:
        """Log out."""
        with self._lock:
            self._drop()

    def _generate(self, id_: bytes, purpose: Purpose) -> bytes:
        api, attribute = self._api, self._api.Attribute
        parameters = self._session.create_domain_parameters(
            api.KeyType.EC_EDWARDS, {attribute.EC_PARAMS: _CURVE}, local=True
        )
        public, _ = parameters.generate_keypair(
            mechanism=api.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            store=True,
            id=id_,
            label=f"handrail {purpose}",
            private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
        )
        return _point(public[attribute.EC_POINT])

    def _tried(self, id_: bytes, public: bytes) -> Sign:
        """The signing half under ``id_``. Raises ``ValueError`` where it is not what was made here."""
        verifier = jwk.from_raw(public).key

        def signed(message: bytes) -> bytes:
            """What the token answers is held against the public key: after a reset a handle may be another key's."""
            signature = self._sign(id_, message)
            try:
                verifier.verify(signature, message)
            except InvalidSignature:
                if not self._looked_up.pop(id_, False):
                    self._found.pop(id_, None)
                    raise self._api.exceptions.ObjectHandleInvalid from None
                raise ValueError("the halves do not match") from None
            self._looked_up.pop(id_, None)
            return signature

        def sign(message: bytes) -> bytes:
            try:
                return self._run(lambda: signed(message))
            except ValueError as exc:
                raise KeyUnavailable(f"token {self._label}: {exc}") from None

        self._run(lambda: self._must_be_guarded(id_))
        self._run(lambda: signed(_PROBE))
        return sign

    def _must_be_guarded(self, id_: bytes) -> None:
        attribute, key = self._api.Attribute, self._find(id_)
        if key.key_type is not self._api.KeyType.EC_EDWARDS:
            raise ValueError("not an Ed25519 key")
        if key[attribute.EXTRACTABLE] or not key[attribute.SENSITIVE] or not key[attribute.LOCAL]:
            raise ValueError("the private half can leave the token, or came from elsewhere")

    def _sign(self, id_: bytes, message: bytes) -> bytes:
        key = self._found.get(id_)
        if key is None:
            key = self._found[id_] = self._find(id_)
            self._looked_up[id_] = True
        return bytes(key.sign(message, mechanism=self._api.Mechanism.EDDSA))

    def _find(self, id_: bytes) -> Any:
        self._session.generate_random(8)  # a search in a session that was lost cannot be given up quietly
        wanted = {self._api.Attribute.CLASS: self._api.ObjectClass.PRIVATE_KEY, self._api.Attribute.ID: id_}
        found = list(self._session.get_objects(wanted))
        if len(found) > 1:
            raise ValueError("two keys under one id")
        if not found:
            raise self._api.exceptions.ObjectHandleInvalid
        return found[0]

    def _anew(self) -> None:
        self._drop()
        self._open(anew=True)

    def _run(self, work: Callable[[], Result]) -> Result:
        """``work`` with a session; once more with a new one where the token was reset or taken out meanwhile."""
        with self._lock:
            try:
                return self._once(work)
            except self._api.exceptions.PKCS11Error:
                self._drop()
            try:
                self._open(anew=True)
                return work()
            except self._api.exceptions.PKCS11Error as exc:
                self._drop()
                gone = isinstance(exc, self._api.exceptions.ObjectHandleInvalid)
                if gone:
                    raise KeyUnavailable(f"token {self._label}: the key is not in it") from None
                raise KeyStoreAway(f"token {self._label}: {str(exc) or type(exc).__name__}") from None

    def _once(self, work: Callable[[], Result]) -> Result:
        if self._session is None:
            self._open()
        return work()

    def _open(self, *, anew: bool = False) -> None:
        """Log in; ``anew`` lets the module look for its tokens again, which ends every session of this process."""
        if self._pin_refused:
            raise KeyUnavailable(
                f"token {self._label}: the PIN was refused; it is not tried again, which would lock it"
            )
        library = self._api.lib(str(self._module))
        if anew:
            library.reinitialize()
        token = library.get_token(token_label=self._label)
        try:
            self._session = token.open(rw=True, user_pin=self._pin)
        except self._api.exceptions.UserAlreadyLoggedIn:
            self._session = token.open(rw=True)  # the login is the process's
        except (self._api.exceptions.PinIncorrect, self._api.exceptions.PinLocked):
            self._pin_refused = True
            self._open()

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._found.clear()
        self._looked_up.clear()
        if session is not None:
            try:
                session.close()
            except self._api.exceptions.PKCS11Error:
                return  # it was lost already


def _point(value: bytes) -> bytes:
    """32 bytes from CKA_EC_POINT: bare, or in a DER OCTET STRING, as SoftHSM has it. Raises ``ValueError``."""
    raw = value[2:] if len(value) == 34 and value[:2] == b"\x04\x20" else value
    if len(raw) != 32:
        raise ValueError("not an Ed25519 point")
    Ed25519PublicKey.from_public_bytes(raw)
    return raw
