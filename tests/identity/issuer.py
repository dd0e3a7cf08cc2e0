"""Tokens as an issuer would make them, and as an attacker would."""

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.canonical import b64url_encode
from gateway.settings import IdentitySettings

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "https://handrail.example"
NOW: Final = 1_800_000_000.0
KEY: Final = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
OTHER: Final = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}, private=True)
CURVE: Final = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}, private=True)
EDWARDS: Final = OKPKey.generate_key("Ed25519", {"kid": "edwards", "use": "sig"}, private=True)
HEADER: Final = {"alg": "RS256", "kid": "one", "typ": "at+jwt"}


def settings(**changed: Any) -> IdentitySettings:
    return IdentitySettings.model_validate({"issuer": ISSUER, "audiences": [AUDIENCE], "algorithm": "RS256", **changed})


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of a good token; ``None`` takes one away."""
    good = {
        "iss": ISSUER,
        "sub": "ada",
        "aud": AUDIENCE,
        "iat": NOW - 10,
        "exp": NOW + 290,
        "client_id": "app",
        "jti": "1",
        **changed,
    }
    return {name: value for name, value in good.items() if value is not None}


def signed(body: Mapping[str, Any] | bytes, key: Any = KEY, **header: Any) -> str:
    """A token; ``None`` takes a member of the header away."""
    head = {name: value for name, value in {**HEADER, **header}.items() if value is not None}
    registry = JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return jws.serialize_compact(head, payload, key, registry=registry)


def unsigned(header: bytes, body: bytes, signature: bytes = b"") -> str:
    return ".".join(map(b64url_encode, (header, body, signature)))


def jwks(*keys: Any, **members: Any) -> bytes:
    return json.dumps({"keys": [{**key.as_dict(private=False), **members} for key in keys]}).encode()
