"""Proofs of possession (DPoP, RFC 9449): that whoever presents a step credential holds the key it was bound to.

The key lives in the memory of one gateway process, which is the supervisor of its local hands: it is written nowhere,
enters no jail, and ends with the process. A credential is minted and presented by the same process, and so needs it no
longer.
"""

import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.canonical import b64url_encode
from gateway.randomness import random_id
from keys import jwk, jws

PROOF_TYPE: Final = "dpop+jwt"
"""``typ`` of a proof (RFC 9449 section 4.2). Not one of ``gateway.ports.Typ``: no reader of those takes a ``jwk``."""


class ProofKey:
    """One process's proof key. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """A fresh key; ``clock`` gives seconds since the epoch."""
        self._private = Ed25519PrivateKey.generate()
        self._clock = clock
        public = jwk.from_raw(self._private.public_key().public_bytes_raw())
        header = {"typ": PROOF_TYPE, "alg": jwk.ALGORITHM, "jwk": {"kty": "OKP", "crv": jwk.ALGORITHM, "x": public.x}}
        self._header = urlsafe_b64encode(orjson.dumps(header)).rstrip(b"=")
        self.jkt = public.kid
        """RFC 7638 thumbprint: ``cnf.jkt`` of the credentials that this process mints."""

    def prove(self, credential: str, method: str, url: str) -> str:
        """The ``DPoP`` header of one request.

        Args:
            credential: the token that goes with it, for ``ath``.
            url: the request's target; its query and fragment are left out of ``htu`` (RFC 9449 section 4.2).
        """
        claims = {
            "jti": random_id(),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(self._clock()),
            "ath": b64url_encode(hashlib.sha256(credential.encode("ascii")).digest()),
        }
        return jws.sign(self._private.sign, self._header, orjson.dumps(claims))
