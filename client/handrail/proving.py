"""A hand's own key, with which it proves who it is (DPoP, RFC 9449). It lives in this process, and nowhere else."""

import hashlib
import secrets
import time
from typing import Any

from handrail import jws
from handrail.keys import SigningKey
from handrail.strict import b64url_encode


class ProofKey:
    """Made at the hand's start, and gone with it: what was claimed with it, only this process can return."""

    def __init__(self) -> None:
        """A fresh Ed25519 key."""
        self._key = SigningKey.generate()
        self.jkt = self._key.kid
        """RFC 7638 thumbprint: ``cnf.jkt`` of the credentials that are bound to it."""

    def prove(self, method: str, url: str, body: bytes, *, nonce: str | None, credential: str | None = None) -> str:
        """The ``DPoP`` header of one request.

        Args:
            nonce: that the gateway gave last. It says how old the proof is: this machine's clock is not asked.
            credential: that the request presents.
        """
        claims: dict[str, Any] = {
            "jti": secrets.token_hex(16),
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if credential is not None:
            claims["ath"] = b64url_encode(hashlib.sha256(credential.encode("ascii")).digest())
        header = {"typ": "dpop+jwt", "alg": "Ed25519", "jwk": self._key.public.jwk()}
        return jws.sign_under(header, claims, self._key)
