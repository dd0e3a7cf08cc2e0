"""Private halves in AWS KMS: made there, used there, and never anywhere else. ``kept`` is the key's ARN.

KMS deletes no key at once: a half that is destroyed signs nothing from then on, and is gone after
:data:`DELETED_AFTER_DAYS`. Until then somebody who may (``kms:CancelKeyDeletion``) can bring it back; its record stays
done all the same.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.canonical import b64url_decode
from gateway.ports import Purpose
from keys import jwk
from keys.errors import KeyUnavailable
from keys.rotation import KeyRecord
from keys.stores.aws_kms import KIND
from keys.stores.aws_kms.client import Kms, KmsRefused
from keys.stores.halves import NewHalf, Sign

SPEC: Final = "ECC_NIST_EDWARDS25519"
ALGORITHM: Final = "ED25519_SHA_512"
"""Ed25519 of RFC 8032 over the message itself (``RAW``); KMS's other, over a digest, is another algorithm."""
MESSAGE_MAX_BYTES: Final = 4096
"""What ``Sign`` takes."""
DELETED_AFTER_DAYS: Final = 7
"""The shortest that KMS allows."""
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
_PROBE: Final = b"handrail: is this the private half?"
_TRIES: Final = 5
_BETWEEN_SECONDS: Final = 0.2


class KmsHalves:
    """See ``Halves``. Thread-safe."""

    kind = KIND

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def make(self, purpose: Purpose) -> NewHalf:
        """See ``Halves.make``. A key that was made otherwise than asked is destroyed and refused."""
        answer = self._kms.call(
            "create_key",
            KeySpec=SPEC,
            KeyUsage="SIGN_VERIFY",
            Origin="AWS_KMS",
            MultiRegion=False,
            Description=f"handrail {purpose}",
            Tags=[{"TagKey": "handrail", "TagValue": str(purpose)}],
        )
        arn = str(_member(answer, "KeyMetadata").get("Arn"))
        if not _ARN.fullmatch(arn):
            raise KeyUnavailable(f"{self._kms.where}: made a key without saying which")
        try:
            public = self._settled(arn)
            sign = self._signs(arn, public)
            sign(_PROBE)
        except (ValueError, KeyUnavailable) as exc:
            self._destroy_quietly(arn)
            said = exc.detail if isinstance(exc, KeyUnavailable) else f"{arn}: {exc}"
            raise KeyUnavailable(said) from None
        return NewHalf(public, arn, sign)

    def use(self, record: KeyRecord, kept: str) -> Sign:
        """See ``Halves.use``: KMS has to say that the key is the record's, and that it cannot leave."""
        self._here(kept)
        public = b64url_decode(record.x)
        if self._public(kept) != public:
            raise ValueError("the halves do not match")
        return self._signs(kept, public)

    def destroy(self, kept: str) -> None:
        """See ``Halves.destroy``."""
        self._here(kept)
        if self._is_gone(kept):
            return
        try:
            self._kms.call("schedule_key_deletion", KeyId=kept, PendingWindowInDays=DELETED_AFTER_DAYS)
        except KmsRefused:
            if not self._is_gone(kept):  # another gateway was not faster
                raise

    def _is_gone(self, arn: str) -> bool:
        try:
            return self._described(arn).get("KeyState") == "PendingDeletion"
        except KmsRefused as exc:
            if exc.code == "NotFoundException":
                return True
            raise

    def _here(self, kept: str) -> None:
        """Another region does not find the key either, and has not destroyed it."""
        found = _ARN.fullmatch(kept)
        if found is None:
            raise ValueError("not the ARN of a key in KMS")
        if found[1] != self._kms.region:
            raise KeyUnavailable(f"{kept}: it is in another region than {self._kms.where}")

    def _settled(self, arn: str) -> bytes:
        """The public half of a key that was just made, which KMS may not find at once everywhere."""
        for _ in range(_TRIES - 1):
            try:
                return self._public(arn)
            except KmsRefused as exc:
                if exc.code != "NotFoundException":
                    raise
                time.sleep(_BETWEEN_SECONDS)
        return self._public(arn)

    def _public(self, arn: str) -> bytes:
        """The public half as KMS gives it. Raises ``ValueError`` where the key is not what is made here."""
        said = self._described(arn)
        if (said.get("Arn"), said.get("KeySpec"), said.get("KeyUsage")) != (arn, SPEC, "SIGN_VERIFY"):
            raise ValueError("not an Ed25519 key that signs")
        if said.get("Origin") != "AWS_KMS" or said.get("MultiRegion") is not False:
            raise ValueError("the private half came from elsewhere, or is in several regions")
        if said.get("KeyState") != "Enabled":
            raise KeyUnavailable(f"{arn}: it is {said.get('KeyState')!s:.32}")
        der = self._kms.call("get_public_key", KeyId=arn).get("PublicKey")
        try:
            key = load_der_public_key(der) if isinstance(der, bytes) else None
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if isinstance(key, Ed25519PublicKey):
            return key.public_bytes_raw()
        raise ValueError("not an Ed25519 key")

    def _described(self, arn: str) -> Mapping[str, Any]:
        return _member(self._kms.call("describe_key", KeyId=arn), "KeyMetadata")

    def _signs(self, arn: str, public: bytes) -> Sign:
        verifier = jwk.from_raw(public).key

        def sign(message: bytes) -> bytes:
            """What KMS answers is held against the public key before it leaves."""
            if len(message) > MESSAGE_MAX_BYTES:
                raise KeyUnavailable(f"{arn}: KMS signs {MESSAGE_MAX_BYTES} bytes at most, not {len(message)}")
            answer = self._kms.call(
                "sign", once=True, KeyId=arn, Message=message, MessageType="RAW", SigningAlgorithm=ALGORITHM
            )
            signature = answer.get("Signature")
            try:
                verifier.verify(signature if isinstance(signature, bytes) else b"", message)
            except InvalidSignature:
                raise KeyUnavailable(f"{arn}: the signature is not this key's") from None
            return bytes(signature or b"")

        return sign

    def _destroy_quietly(self, arn: str) -> None:
        """Destroy what was made in vain; where that fails too, nothing uses it."""
        try:
            self.destroy(arn)
        except KeyUnavailable:
            return


def _member(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, dict) else {}
