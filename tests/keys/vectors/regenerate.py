"""Write the vectors of this directory again: ``python -m tests.keys.vectors.regenerate``.

Everything is deterministic (Ed25519 is), so a second run changes nothing; a test holds the files against this script.
Built with nothing but ``cryptography`` and the standard library, so that it shares no code with what it tests.
"""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keys.attacks import Honest, b64, bad_keys, on_form, public_jwk
from tests.keys.vectors import steps

HERE = Path(__file__).parent
SHIPPED = HERE.parents[2] / "client" / "handrail" / "vectors"
TOKEN_MAX_BYTES = 10_000
"""Longer attacks are made where they are tested, not committed."""

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PAYLOAD = b'{"v":1,"iss":"alice-laptop","jti":"0001"}'
JWK = public_jwk(SIGNER)
KID = JWK["kid"]
HONEST = Honest(
    header={"alg": "Ed25519", "kid": KID, "typ": "plan+jws"},
    payload=PAYLOAD,
    sign=SIGNER.sign,
    stranger=STRANGER.sign,
    stranger_jwk=public_jwk(STRANGER),
    public=SIGNER.public_key().public_bytes_raw(),
)
RFC_8037_A4 = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def refused() -> list[dict[str, str]]:
    """Every attack on the form that is text and short, with the reason that it is refused with."""
    cases = []
    for attack, token in on_form(HONEST):
        if len(token) > TOKEN_MAX_BYTES:
            continue
        try:
            cases.append({"name": attack.name, "token": token.decode(), "reason": attack.reason})
        except UnicodeDecodeError:
            continue
    cases.append(
        {
            "name": "RFC 8037 A.4, alg EdDSA without kid and typ",
            "token": RFC_8037_A4,
            "reason": "verify.algorithm",
        }
    )
    return cases


def valid(name: str, token: bytes, payload: bytes = PAYLOAD) -> dict[str, str]:
    """One token that is accepted, with the bytes that it gives."""
    return {"name": name, "token": token.decode(), "payload": b64(payload).decode()}


def files() -> dict[str, Any]:
    """File name -> document."""
    good = {name: JWK[name] for name in ("kty", "crv", "x")}
    bad = bad_keys(good, public_jwk(STRANGER)["kid"], b64(SIGNER.private_bytes_raw()).decode())
    return {
        "jws.json": {
            "jwk": JWK,
            "typ": "plan+jws",
            "valid": [
                valid("as Handrail writes it", HONEST.token()),
                valid("members in another order", HONEST.token(dict(reversed(HONEST.header.items())))),
                valid("white space in the header", HONEST.token(json.dumps(dict(HONEST.header)).encode())),
                valid("a payload that is not JSON", HONEST.token(payload=b"\x00\xff"), b"\x00\xff"),
            ],
            "refused": refused(),
        },
        "jwk.json": {
            "valid": [
                {
                    "name": "RFC 8037 A.2 and A.3",
                    "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
                    "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                },
                {"name": "with every member", "jwk": {**JWK, "alg": "Ed25519", "use": "sig"}, "kid": KID},
                {"name": "with a member nobody knows", "jwk": {**JWK, "purpose": "receipt"}, "kid": KID},
            ],
            "refused": [{"name": name, "jwk": document} for name, document in bad.items()],
        },
    }


def text(document: Any) -> str:
    """As the files are written."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def written() -> dict[Path, str]:
    """Every file that this script writes, with its text."""
    here = {HERE / name: text(document) for name, document in files().items()}
    return here | {SHIPPED / "step-credentials.json": text(steps.document())}


if __name__ == "__main__":
    for path, content in written().items():
        path.write_text(content, encoding="ascii")
