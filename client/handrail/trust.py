"""The trust document: which keys sign receipts, and which sign the log. Obtain it once over a trusted channel."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from handrail.errors import MalformedError, TrustError
from handrail.keys import VerifyKey
from handrail.note import NO_QUORUM, LogKey, Quorum
from handrail.post_quantum import PostQuantumKey
from handrail.strict import parse

_FILE_MAX_BYTES: Final = 16_777_216


@dataclass(frozen=True, slots=True)
class Trust:
    """A checked trust document.

    Attributes:
        origin: the log's name.
        receipt_keys: kid -> key, for purpose ``receipt`` alone. A revoked key is not among them: whoever stole it
            could date a receipt back, so a receipt that it signed proves nothing (the log entry still does).
        log_keys: verifier keys of the log's checkpoints.
        approval_keys: kid -> key with which the gateway attests answers that nobody's own key signed.
        quorum: witnesses of the verifier's own choice that must have cosigned a checkpoint. No document of the gateway
            says which: put them there with :func:`dataclasses.replace`.
        post_quantum_keys: ML-DSA-44 verifier keys of the log's checkpoints, where it has any.
        required: those of them of which one must have signed each checkpoint, beside one of ``log_keys``; none unless
            the verifier says so (:meth:`both_required`).
    """

    origin: str
    receipt_keys: Mapping[str, VerifyKey]
    log_keys: tuple[LogKey, ...]
    approval_keys: Mapping[str, VerifyKey] = field(default_factory=dict)
    quorum: Quorum = NO_QUORUM
    post_quantum_keys: tuple[PostQuantumKey, ...] = ()
    required: tuple[PostQuantumKey, ...] = ()

    def both_required(self) -> "Trust":
        """The same, with the log's ML-DSA-44 signature required beside the other.

        Raises:
            TrustError: the document names no such key of its log.
        """
        required = tuple(key for key in self.post_quantum_keys if key.name == self.origin)
        if not required:
            raise TrustError("the trust document names no ML-DSA-44 key of its log")
        return replace(self, required=required)

    @classmethod
    def from_document(cls, document: Any) -> "Trust":
        """Read ``{v: 1, origin, jwks: {keys: [...]}, log: [vkey], log_post_quantum?: [vkey]}``.

        Raises:
            TrustError: where it is malformed or names no receipt key or no key of its log.
        """
        if not isinstance(document, dict) or type(document.get("v")) is not int or document["v"] != 1:
            raise TrustError("not a trust document of version 1")
        origin, jwks, log = document.get("origin"), document.get("jwks"), document.get("log")
        if not isinstance(origin, str) or not isinstance(jwks, dict) or not isinstance(log, list):
            raise TrustError("a trust document needs origin, jwks and log")
        second = document.get("log_post_quantum", [])
        if not isinstance(jwks.get("keys"), list) or not isinstance(second, list):
            raise TrustError("jwks or log_post_quantum: no list of keys")
        try:
            receipt_keys, approval_keys = (_keys(jwks["keys"], purpose) for purpose in ("receipt", "approval"))
            log_keys = tuple(LogKey.parse(str(vkey)) for vkey in log)
            post_quantum_keys = tuple(PostQuantumKey.parse(str(vkey)) for vkey in second)
        except MalformedError as exc:
            raise TrustError(f"a key of the trust document: {exc}") from None
        if not receipt_keys:
            raise TrustError("the trust document names no key for receipts")
        if not any(key.name == origin for key in log_keys):
            raise TrustError("the trust document names no verifier key of its log")
        return cls(origin, receipt_keys, log_keys, approval_keys, post_quantum_keys=post_quantum_keys)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trust":
        """Read a trust document from a file.

        Raises:
            TrustError: where it cannot be read or used.
        """
        file = Path(path)
        try:
            with file.open("rb") as stream:
                content = stream.read(_FILE_MAX_BYTES + 1)
        except OSError as exc:
            raise TrustError(f"{file}: {exc.strerror}") from None
        if len(content) > _FILE_MAX_BYTES:
            raise TrustError(f"{file}: too large for a trust document")
        try:
            return cls.from_document(parse(content))
        except (MalformedError, TrustError) as exc:
            raise TrustError(f"{file}: {exc}") from None


def _keys(jwks: Sequence[Any], purpose: str) -> dict[str, VerifyKey]:
    """Kid -> key of one purpose, the revoked left out."""
    fitting = (VerifyKey.from_jwk(jwk) for jwk in jwks if isinstance(jwk, dict) and _signs(jwk, purpose))
    return {key.kid: key for key in fitting}


def _signs(jwk: Mapping[str, Any], purpose: str) -> bool:
    revoked = jwk.get("state") == "revoked" or jwk.get("revoked_at") is not None
    return jwk.get("purpose") == purpose and jwk.get("use", "sig") == "sig" and not revoked
