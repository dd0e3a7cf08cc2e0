"""Which algorithm the keys of a purpose have, and how each is named. Ed25519, but for the log's second signature."""

import hashlib
from typing import Final

from gateway.canonical import b64url_decode, b64url_encode
from gateway.ports import Purpose
from gateway.reasons import Reason
from keys import jwk
from keys.errors import KeyRefused
from keys.rotation import KeyRecord

ML_DSA_44: Final = "ML-DSA-44"
ML_DSA_44_BYTES: Final = 1312
"""Of a public key (FIPS 204, table 2)."""


def name(purpose: Purpose, public: bytes) -> tuple[str, str]:
    """RFC 7638 thumbprint and base64url of a public key of ``purpose``.

    Raises:
        KeyRefused: it is no such key.
    """
    if purpose is not Purpose.CHECKPOINT_PQ:
        found = jwk.from_raw(public)
        return found.kid, found.x
    if len(public) != ML_DSA_44_BYTES:
        raise KeyRefused(Reason.REQUEST_MALFORMED, "not an ML-DSA-44 public key", member="pub")
    x = b64url_encode(public)
    # RFC 9964: the required members of an AKP key are alg, kty and pub.
    text = b'{"alg":"ML-DSA-44","kty":"AKP","pub":"%b"}' % x.encode("ascii")
    return b64url_encode(hashlib.sha256(text).digest()), x


def document(record: KeyRecord) -> dict[str, str]:
    """The public JWK of a key."""
    if record.purpose is Purpose.CHECKPOINT_PQ:
        return {"kty": "AKP", "alg": ML_DSA_44, "pub": record.x, "kid": record.kid, "use": "sig"}
    return {
        "kty": "OKP",
        "crv": jwk.ALGORITHM,
        "x": record.x,
        "kid": record.kid,
        "alg": jwk.ALGORITHM,
        "use": "sig",
    }


def raw(record: KeyRecord) -> bytes:
    """The public key's bytes. Raises :class:`KeyRefused` where the record holds none."""
    public = b64url_decode(record.x)
    name(record.purpose, public)
    return public
