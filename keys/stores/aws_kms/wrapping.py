"""The data root wrapped by a symmetric key of AWS KMS, which an operator made: the root's context is the encryption
context."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from keys.errors import KeyUnavailable, SealBroken
from keys.stores.aws_kms import KIND
from keys.stores.aws_kms.client import Kms, KmsRefused

_NOT_OPENED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class KmsWrapper:
    """A key of KMS as a ``Wrapper``. KMS chooses the version of the key, and its ciphertexts say which."""

    kind = KIND

    def __init__(self, kms: Kms, key: str) -> None:
        self._kms, self._key = kms, key
        self.place = f"the key {key} of {kms.where}"

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> str:
        """See ``Wrapper.wrap``."""
        self.look()
        answer = self._kms.call("encrypt", KeyId=self._key, Plaintext=secret, EncryptionContext=dict(context))
        blob = answer.get("CiphertextBlob")
        if not isinstance(blob, bytes) or not 0 < len(blob) <= 512:
            raise KeyUnavailable(f"{self.place}: the answer is no ciphertext")
        return base64.b64encode(blob).decode()

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> bytes:
        """See ``Wrapper.unwrap``. The key is named, or KMS would open what any key of the account wrapped."""
        try:
            blob = base64.b64decode(wrapped, validate=True)
        except (binascii.Error, ValueError):
            blob = b""
        if not blob or base64.b64encode(blob).decode() != wrapped:
            raise SealBroken("the wrapping is unreadable")
        try:
            answer = self._kms.call("decrypt", KeyId=self._key, CiphertextBlob=blob, EncryptionContext=dict(context))
        except KmsRefused as exc:
            if exc.code in _NOT_OPENED:
                raise SealBroken(f"{self.place} does not open it: {exc.code}") from None
            raise
        plain = answer.get("Plaintext")
        return plain if isinstance(plain, bytes) else b""

    def is_newest(self, wrapped: str) -> bool:  # noqa: ARG002 - KMS rotates inside of the key
        """See ``Wrapper.is_newest``."""
        return True

    def look(self) -> None:
        """Raises ``KeyUnavailable`` where the key is not one that may wrap the root."""
        said = self._kms.call("describe_key", KeyId=self._key).get("KeyMetadata")
        described = said if isinstance(said, dict) else {}
        if (described.get("KeySpec"), described.get("KeyUsage")) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
            said = f"{described.get('KeySpec')!s:.32} for {described.get('KeyUsage')!s:.32}"
            raise KeyUnavailable(f"{self.place} is {said}; it has to be symmetric, to encrypt and decrypt")
        if described.get("KeyState") != "Enabled":
            raise KeyUnavailable(f"{self.place} is {described.get('KeyState')!s:.32}")
