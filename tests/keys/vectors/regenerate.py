"""Write the vectors of this directory again: ``python tests/keys/vectors/regenerate.py``.

Everything is deterministic (Ed25519 is), so a second run changes nothing; a test holds the files against this script.
Built with nothing but ``cryptography`` and the standard library, so that it shares no code with what it tests.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

HERE = Path(__file__).parent
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PAYLOAD = b'{"v":1,"iss":"alice-laptop","jti":"0001"}'


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compact(value: Any) -> bytes:
    """JSON without white space, members as given."""
    return json.dumps(value, separators=(",", ":")).encode()


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """Public JWK with its thumbprint."""
    x = b64(key.public_key().public_bytes_raw())
    kid = b64(hashlib.sha256(compact({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}


JWK = public_jwk(SIGNER)
KID = JWK["kid"]
HEADER = {"alg": "Ed25519", "kid": KID, "typ": "plan+jws"}


def token(header: Any = HEADER, payload: bytes = PAYLOAD, key: Ed25519PrivateKey = SIGNER) -> str:
    """A token that really is signed; ``header`` may be a value or raw bytes."""
    head = header if isinstance(header, bytes) else compact(header)
    signed = f"{b64(head)}.{b64(payload)}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def resigned(head: str, body: str) -> str:
    """Sign two segments exactly as they are spelled."""
    signed = f"{head}.{body}"
    return f"{signed}.{b64(SIGNER.sign(signed.encode()))}"


def with_member(**members: Any) -> str:
    """A token whose header has more or other members."""
    return token({**HEADER, **members})


def trailing_bits(segment: str) -> str:
    """Another spelling of the same bytes: the unused low bits of the last character are set."""
    if len(segment) % 4 == 0:
        raise ValueError("no unused bits")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


def malleated(good: str) -> str:
    """S + L in place of S (RFC 8032 section 5.1.7 forbids it)."""
    signed, _, tail = good.rpartition(".")
    raw = base64.urlsafe_b64decode(tail + "==")
    larger = int.from_bytes(raw[32:], "little") + ORDER
    return f"{signed}.{b64(raw[:32] + larger.to_bytes(32, 'little'))}"


def with_signature(signature: bytes, header: dict[str, str]) -> str:
    """A token with a signature made elsewhere."""
    return f"{b64(compact(header))}.{b64(PAYLOAD)}.{b64(signature)}"


def es256() -> str:
    """A token signed with P-256 under the kid of the Ed25519 key; the nonce is fixed by RFC 6979."""
    key = ec.derive_private_key(7, ec.SECP256R1())
    header = {**HEADER, "alg": "ES256"}
    signed = f"{b64(compact(header))}.{b64(PAYLOAD)}".encode()
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return with_signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"), header)


def hs256() -> str:
    """HMAC with the public key's bytes as the secret: the classic confusion."""
    header = {**HEADER, "alg": "HS256"}
    signed = f"{b64(compact(header))}.{b64(PAYLOAD)}".encode()
    return with_signature(hmac.digest(SIGNER.public_key().public_bytes_raw(), signed, "sha256"), header)


def attacks() -> dict[str, tuple[str, str]]:
    """Name -> (token, the reason it is refused with)."""
    good = token()
    head, body, tail = good.split(".")
    duplicate = b'{"alg":"Ed25519","kid":"%b","typ":"plan+jws","typ":"plan+jws"}' % KID.encode()
    flattened = compact({"protected": head, "payload": body, "signature": tail}).decode()
    malformed, algorithm, member, typ, key, signature = (
        f"verify.{cause}" for cause in ("malformed", "algorithm", "header", "type", "unknown_key", "signature")
    )
    table = {
        "alg none, no signature": (f"{b64(compact({**HEADER, 'alg': 'none'}))}.{body}.", algorithm),
        "alg none, real signature": (with_member(alg="none"), algorithm),
        "alg None, capital": (with_member(alg="None"), algorithm),
        "alg EdDSA, the polymorphic name": (with_member(alg="EdDSA"), algorithm),
        "alg ed25519, lower case": (with_member(alg="ed25519"), algorithm),
        "alg Ed448": (with_member(alg="Ed448"), algorithm),
        "alg HS256 with the public key as secret": (hs256(), algorithm),
        "alg ES256": (es256(), algorithm),
        "alg absent": (token({"kid": KID, "typ": "plan+jws"}), algorithm),
        "alg a list": (with_member(alg=["Ed25519"]), algorithm),
        "alg null": (with_member(alg=None), algorithm),
        "RFC 8037 A.4, alg EdDSA without kid and typ": (
            (
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            ),
            algorithm,
        ),
        "typ of a receipt": (with_member(typ="receipt+jws"), typ),
        "typ of an approval": (with_member(typ="approval+jws"), typ),
        "typ JWT": (with_member(typ="JWT"), typ),
        "typ with the media type prefix": (with_member(typ="application/plan+jws"), typ),
        "typ in capitals": (with_member(typ="PLAN+JWS"), typ),
        "typ absent": (token({"alg": "Ed25519", "kid": KID}), typ),
        "typ a list": (with_member(typ=["plan+jws"]), typ),
        "kid a path": (with_member(kid="../../../../../../dev/null"), member),
        "kid a query": (with_member(kid="' OR '1'='1' --"), member),
        "kid of 400 characters": (with_member(kid="A" * 300), member),
        "kid a URL": (with_member(kid="https://attacker.example/key.json"), member),
        "kid with a line end": (with_member(kid=KID + "\n"), member),
        "kid in full-width letters": (with_member(kid="\uff21" * 43), member),
        "kid null": (with_member(kid=None), member),
        "kid a number": (with_member(kid=7), member),
        "kid absent": (token({"alg": "Ed25519", "typ": "plan+jws"}), member),
        "kid of nobody": (with_member(kid="A" * 43), key),
        "kid of the stranger, signed by the stranger": (
            token({**HEADER, "kid": public_jwk(STRANGER)["kid"]}, key=STRANGER),
            key,
        ),
        "jwk embedded": (token({**HEADER, "jwk": public_jwk(STRANGER)}, key=STRANGER), member),
        "jku": (with_member(jku="https://attacker.example/jwks.json"), member),
        "x5u": (with_member(x5u="https://attacker.example/cert.pem"), member),
        "x5c": (with_member(x5c=["MIIB"]), member),
        "x5t": (with_member(x5t="AAAA"), member),
        "crit empty": (with_member(crit=[]), member),
        "crit exp": (with_member(crit=["exp"], exp=1), member),
        "b64 false": (with_member(b64=False, crit=["b64"]), member),
        "zip": (with_member(zip="DEF"), member),
        "cty": (with_member(cty="JWT"), member),
        "enc, as in JWE": (with_member(enc="A256GCM"), member),
        "a member of no meaning": (with_member(x="y"), member),
        "duplicate member, equal values": (token(duplicate), malformed),
        "duplicate alg, good one last": (
            token(b'{"alg":"none","alg":"Ed25519","kid":"%b","typ":"plan+jws"}' % KID.encode()),
            malformed,
        ),
        "duplicate alg, escaped spelling": (
            token(b'{"alg":"Ed25519","\\u0061lg":"none","kid":"%b","typ":"plan+jws"}' % KID.encode()),
            malformed,
        ),
        "header an array": (token(b'["Ed25519"]'), malformed),
        "header a string": (token(b'"Ed25519"'), malformed),
        "header empty": (resigned("", body), malformed),
        "header not JSON": (token(b"alg=Ed25519"), malformed),
        "header with a byte order mark": (token(b"\xef\xbb\xbf" + compact(HEADER)), malformed),
        "header in UTF-16": (token(compact(HEADER).decode().encode("utf-16-le")), malformed),
        "header with invalid UTF-8": (token(compact(HEADER)[:-2] + b'\xff"}'), malformed),
        "header with NaN": (token(b'{"alg":NaN}'), malformed),
        "header followed by another": (token(compact(HEADER) * 2), malformed),
        "header of 600 bytes": (token(b" " * 450 + compact(HEADER)), malformed),
        "padding on the header": (resigned(head + "=" * (-len(head) % 4 or 4), body), malformed),
        "padding on the payload": (resigned(head, body + "=" * (-len(body) % 4 or 4)), malformed),
        "padding on the signature": (good + "==", malformed),
        "signature's trailing bits set": (f"{head}.{body}.{trailing_bits(tail)}", malformed),
        "payload's trailing bits set, signed so": (resigned(head, trailing_bits(body)), malformed),
        "standard base64 alphabet": (resigned(head, "+/+/"), malformed),
        "a payload of five characters": (resigned(head, "AAAAA"), malformed),
        "leading space": (" " + good, malformed),
        "trailing line end": (good + "\n", malformed),
        "line end inside the payload": (resigned(head, body[:8] + "\n" + body[8:]), malformed),
        "space inside the signature": (f"{head}.{body}.{tail[:10]} {tail[10:]}", malformed),
        "null byte at the end": (good + "\0", malformed),
        "non-ASCII in the payload": (resigned(head, "\u00e9" + body), malformed),
        "full-width letter in the header": ("\uff45" + good[1:], malformed),
        "JSON serialisation, flattened": (flattened, malformed),
        "JSON serialisation, general": (
            compact({"payload": body, "signatures": [{"protected": head, "signature": tail}]}).decode(),
            malformed,
        ),
        "nothing": ("", malformed),
        "only dots": ("..", malformed),
        "one segment": (head, malformed),
        "two segments": (f"{head}.{body}", malformed),
        "four segments": (f"{good}.{tail}", malformed),
        "five segments, as JWE": (f"{head}.{body}.{tail}.{tail}.{tail}", malformed),
        "empty payload, signed": (resigned(head, ""), malformed),
        "detached payload": (f"{head}..{tail}", malformed),
        "signature absent": (f"{head}.{body}.", malformed),
        "signature of 63 bytes": (f"{head}.{body}.{b64(bytes(63))}", malformed),
        "signature of 65 bytes": (f"{head}.{body}.{b64(bytes(65))}", malformed),
        "signature of zeros": (f"{head}.{body}.{b64(bytes(64))}", signature),
        "signature malleated to S + L": (malleated(good), signature),
        "signature by a stranger": (token(key=STRANGER), signature),
        "signature over the payload alone": (f"{head}.{body}.{b64(SIGNER.sign(PAYLOAD))}", signature),
        "signature of another payload": (f"{head}.{b64(PAYLOAD.replace(b'alice', b'mallo'))}.{tail}", signature),
        "one bit of the signature flipped": (f"{head}.{body}.{b64(flipped(tail))}", signature),
        "header's members in another order, signature kept": (
            f"{b64(compact(dict(reversed(HEADER.items()))))}.{body}.{tail}",
            signature,
        ),
    }
    return dict(table)


def flipped(tail: str) -> bytes:
    """The signature with its first bit flipped."""
    raw = base64.urlsafe_b64decode(tail + "==")
    return bytes([raw[0] ^ 1]) + raw[1:]


def bad_keys() -> dict[str, dict[str, Any]]:
    """Public keys that OpenSSL would load, and JWKs that are not what they seem."""
    order_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    points = {
        "identity": 1,
        "identity, sign bit set": 1 | 1 << 255,
        "order 2": P - 1,
        "order 2, sign bit set": P - 1 | 1 << 255,
        "order 4": 0,
        "order 4, sign bit set": 1 << 255,
        "order 8": order_8,
        "order 8, sign bit set": order_8 | 1 << 255,
        "order 8, the other": P - order_8,
        "order 8, the other, sign bit set": P - order_8 | 1 << 255,
        "non-canonical 0": P,
        "non-canonical 1": P + 1,
        "non-canonical, all ones": 2**256 - 1,
        "not on the curve": 2,
    }
    keys: dict[str, dict[str, Any]] = {
        name: {"kty": "OKP", "crv": "Ed25519", "x": b64(y.to_bytes(32, "little"))} for name, y in points.items()
    }
    good = {name: JWK[name] for name in ("kty", "crv", "x")}
    keys |= {
        "private key": {**good, "d": b64(SIGNER.private_bytes_raw())},
        "private key with an empty d": {**good, "d": ""},
        "symmetric secret beside it": {**good, "k": "AAAA"},
        "Ed448 curve": {**good, "crv": "Ed448"},
        "X25519 curve": {**good, "crv": "X25519"},
        "EC key type": {**good, "kty": "EC"},
        "kty absent": {"crv": "Ed25519", "x": good["x"]},
        "crv absent": {"kty": "OKP", "x": good["x"]},
        "x absent": {"kty": "OKP", "crv": "Ed25519"},
        "x a number": {**good, "x": 7},
        "x padded": {**good, "x": good["x"] + "="},
        "x with trailing bits": {**good, "x": trailing_bits(good["x"])},
        "x of 31 bytes": {**good, "x": b64(bytes(31))},
        "x of 33 bytes": {**good, "x": b64(bytes(33))},
        "x empty": {**good, "x": ""},
        "alg EdDSA": {**good, "alg": "EdDSA"},
        "use enc": {**good, "use": "enc"},
        "kid of another key": {**good, "kid": public_jwk(STRANGER)["kid"]},
    }
    return keys


def files() -> dict[str, Any]:
    """File name -> document."""
    return {
        "jws.json": {
            "jwk": JWK,
            "typ": "plan+jws",
            "valid": [
                {"name": "as Handrail writes it", "token": token(), "payload": b64(PAYLOAD)},
                {
                    "name": "members in another order",
                    "token": token(dict(reversed(HEADER.items()))),
                    "payload": b64(PAYLOAD),
                },
                {
                    "name": "white space in the header",
                    "token": token(json.dumps(HEADER).encode()),
                    "payload": b64(PAYLOAD),
                },
                {
                    "name": "a payload that is not JSON",
                    "token": token(payload=b"\x00\xff"),
                    "payload": b64(b"\x00\xff"),
                },
            ],
            "refused": [{"name": name, "token": text, "reason": why} for name, (text, why) in attacks().items()],
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
            "refused": [{"name": name, "jwk": document} for name, document in bad_keys().items()],
        },
    }


def text(document: Any) -> str:
    """As the files are written."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for name, document in files().items():
        (HERE / name).write_text(text(document), encoding="ascii")
