"""The vectors of step credentials that ship with the client: one request that a hand obeys, and one per tamper.

Written by ``python -m tests.keys.vectors.regenerate``; shares no code with what it tests.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keys.attacks import CLAIMS, EDGES, PAYLOADS, Honest, b64, compact, on_form, public_jwk

NOW: Final = 1_800_000_030
SKEW: Final = 5
ISSUER: Final = "handrail.local/log"
HAND: Final = "crm"
ACTION: Final = "add_note"
ARGS: Final = {"contact": "c-7", "text": "Called back; wants 3 chairs at 12.50 \u20ac."}
METHOD: Final = "POST"
URL: Final = "https://crm.example/v1/contacts/c-7/notes"
TOKEN_MAX_BYTES: Final = 10_000

GATEWAY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PROOF_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
OTHER_PURPOSE: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
REVOKED: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(128, 160)))

CANONICAL_ARGS: Final = '{"contact":"c-7","text":"Called back; wants 3 chairs at 12.50 \u20ac."}'.encode()
DETAIL: Final = {
    "type": "handrail_step",
    "tenant": "default",
    "plan_id": "7" * 64,
    "step_id": "note",
    "hand": HAND,
    "action": ACTION,
    "args_sha256": hashlib.sha256(CANONICAL_ARGS).hexdigest(),
    "policy_digest": "a" * 64,
    "manifest_digest": "b" * 64,
}
GOOD: Final[Mapping[str, Any]] = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": f"hand:{HAND}",
    "scope": ACTION,
    "txn": "ctx-1",
    "jti": "00112233445566778899aabbccddeeff",
    "iat": NOW - 10,
    "exp": NOW + 50,
    "act": {"sub": "alice-laptop"},
    "authorization_details": [DETAIL],
    "cnf": {"jkt": public_jwk(PROOF_KEY)["kid"]},
}
HONEST: Final = Honest(
    header={"alg": "Ed25519", "kid": public_jwk(GATEWAY)["kid"], "typ": "step+jws"},
    payload=compact(GOOD),
    sign=GATEWAY.sign,
    stranger=STRANGER.sign,
    stranger_jwk=public_jwk(STRANGER),
    public=GATEWAY.public_key().public_bytes_raw(),
)


def bare(key: Ed25519PrivateKey) -> dict[str, str]:
    """``{kty, crv, x}``."""
    return {name: value for name, value in public_jwk(key).items() if name != "kid"}


def listed(key: Ed25519PrivateKey, purpose: str, **more: Any) -> dict[str, Any]:
    """A key as the gateway's JWKS lists it."""
    return {**public_jwk(key), "alg": "Ed25519", "use": "sig", "purpose": purpose, **more}


JWKS: Final = {
    "keys": [
        listed(GATEWAY, "step"),
        listed(OTHER_PURPOSE, "receipt"),
        listed(REVOKED, "step", state="revoked", revoked_at=NOW - 100),
    ]
}


def proof_of(token: bytes, key: Ed25519PrivateKey = PROOF_KEY, header: Any = None, **claims: Any) -> bytes:
    """The proof that goes with ``token``; a claim that is ``None`` is left out."""
    head = {"typ": "dpop+jwt", "alg": "Ed25519", "jwk": bare(key)} | (header or {})
    body = {
        "jti": "proof-1",
        "htm": METHOD,
        "htu": URL,
        "iat": NOW,
        "ath": b64(hashlib.sha256(token).digest()).decode(),
    } | claims
    made = Honest(
        head,
        compact({name: value for name, value in body.items() if value is not None}),
        key.sign,
        key.sign,
        public_jwk(STRANGER),
        b"",
    )
    return made.token()


def case(name: str, reason: str | None, token: bytes, proof: bytes | None = None, **more: Any) -> dict[str, Any]:
    """One request, and the code that it is refused with (``None``: it is obeyed)."""
    shown = proof_of(token) if proof is None else proof
    headers = [["Authorization", f"DPoP {token.decode()}"], ["DPoP", shown.decode()]]
    return {"name": name, "reason": reason, "headers": headers} | more


def with_claims(**changes: Any) -> bytes:
    """An honestly signed credential that says something else."""
    return HONEST.token(payload=compact({**GOOD, **changes}))


def with_detail(**changes: Any) -> bytes:
    """The same for what it is bound to."""
    return with_claims(authorization_details=[{**DETAIL, **changes}])


def signed_by(key: Ed25519PrivateKey) -> bytes:
    """The honest claims under another key and its own ``kid``."""
    return replace(HONEST, header={**HONEST.header, "kid": public_jwk(key)["kid"]}, sign=key.sign).token()


def accepted() -> Iterator[dict[str, Any]]:
    """What a hand obeys, each on its own (a credential is good once)."""
    good = HONEST.token()
    yield case("as the gateway sends it", None, good)
    upper = [["AUTHORIZATION", f"dpop {good.decode()}"], ["dPoP", proof_of(good).decode()]]
    yield {"name": "header names and scheme in another case", "reason": None, "headers": upper}
    yield case("header members in another order", None, HONEST.token(dict(reversed(HONEST.header.items()))))
    yield case("a claim that nobody knows", None, with_claims(x=1))
    yield case("query and fragment do not count", None, good, url=f"{URL}?draft=1#x")
    yield case("the default port, spelled out", None, good, url=URL.replace("crm.example", "CRM.example:443"))
    for edge in EDGES:
        if edge.accepted:
            yield case(edge.name, None, at_edge(edge))


def at_edge(edge: Any) -> bytes:
    """A credential whose lifetime is right and whose one end lies at a clock's edge."""
    at = edge.at(NOW, SKEW)
    return with_claims(iat=at, exp=at + 60) if edge.claim == "iat" else with_claims(iat=at - 60, exp=at)


def credentials() -> Iterator[dict[str, Any]]:
    """Tampered credentials with an honest proof."""
    for attack, token in on_form(HONEST):
        if len(token) <= TOKEN_MAX_BYTES and token.isascii() and not any(byte < 32 for byte in token):
            yield case(attack.name, attack.reason, token)
    yield case("signed by a key of another purpose", "verify.unknown_key", signed_by(OTHER_PURPOSE))
    yield case("signed by a revoked key", "verify.unknown_key", signed_by(REVOKED))
    for change in (*PAYLOADS, *CLAIMS):
        reason = "credential.refused"
        if change.group == "audience" and change.name not in NO_HAND:
            reason = "verify.audience" if "array" not in change.name else reason
        if change.name in {"exp negative", "exp zero"}:
            reason = "verify.lifetime"
        yield case(change.name, reason, HONEST.token(payload=change.make(dict(GOOD))))
    for edge in EDGES:
        if not edge.accepted:
            yield case(edge.name, "verify.not_yet_valid" if edge.claim == "iat" else "verify.expired", at_edge(edge))
    yield case("good for 61 seconds", "verify.lifetime", with_claims(exp=GOOD["iat"] + 61))
    yield case("good for no time", "verify.lifetime", with_claims(exp=GOOD["iat"]))
    yield case("scope of another action", "credential.refused", with_claims(scope="delete_contact"))
    for name in DETAIL:
        yield case(f"bound without {name}", "credential.refused", with_detail(**{name: None}))
    yield case("bound to another hand", "credential.refused", with_detail(hand="git"))
    yield case("bound to another action", "credential.refused", with_detail(action="delete_contact"))
    yield case("bound to other args", "credential.refused", with_detail(args_sha256="0" * 64))
    yield case("bound twice", "credential.refused", with_claims(authorization_details=[DETAIL, DETAIL]))
    yield case("bound to nothing", "credential.refused", with_claims(authorization_details=[]))
    yield case(
        "args in capitals of the digest",
        "credential.refused",
        with_detail(args_sha256=str(DETAIL["args_sha256"]).upper()),
    )
    yield case(
        "without a proof key",
        "credential.refused",
        HONEST.token(payload=compact({name: value for name, value in GOOD.items() if name != "cnf"})),
    )
    yield case(
        "other args than the request has",
        "credential.refused",
        HONEST.token(),
        args={**ARGS, "text": "Send 300 chairs."},
    )
    yield case("one arg more than was bound", "credential.refused", HONEST.token(), args={**ARGS, "notify": True})
    yield case(
        "another action than the request asks for", "credential.refused", HONEST.token(), action="delete_contact"
    )


NO_HAND: Final = frozenset({"aud in capitals", "aud empty", "aud null", "aud true"})
"""Of these not even the shape is a hand's."""


def proofs() -> Iterator[dict[str, Any]]:
    """Tampered proofs with an honest credential."""
    good = HONEST.token()
    refused = "proof.refused"
    ec_jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }
    honest = Honest(
        {"typ": "dpop+jwt", "alg": "Ed25519", "jwk": bare(PROOF_KEY)},
        b"",
        PROOF_KEY.sign,
        STRANGER.sign,
        public_jwk(STRANGER),
        PROOF_KEY.public_key().public_bytes_raw(),
        8_192,
    )
    segments = proof_of(good).split(b".")
    honest = replace(honest, payload=_decoded(segments[1]))
    for attack, proof in on_form(honest):
        if attack.group == "kid injection" or "kid" in attack.name or attack.name == "jwk embedded, signed by it":
            continue
        if len(proof) <= TOKEN_MAX_BYTES and proof.isascii() and not any(byte < 32 for byte in proof):
            yield case(f"proof: {attack.name}", refused, good, proof)
    made: dict[str, Callable[[], bytes]] = {
        "by another key": lambda: proof_of(good, STRANGER),
        "by another key under the right jwk": lambda: honest.token(stranger=True),
        "for another method": lambda: proof_of(good, htm="DELETE"),
        "for the method in small letters": lambda: proof_of(good, htm="post"),
        "for another path": lambda: proof_of(good, htu="https://crm.example/v1/contacts/c-8/notes"),
        "for another host": lambda: proof_of(good, htu=URL.replace("crm.example", "crm.example.attacker.example")),
        "for another scheme": lambda: proof_of(good, htu=URL.replace("https", "http")),
        "for another port": lambda: proof_of(good, htu=URL.replace("crm.example", "crm.example:8443")),
        "for no URL": lambda: proof_of(good, htu="/v1/contacts/c-7/notes"),
        "for another credential": lambda: proof_of(with_claims(jti="f" * 32)),
        "without ath": lambda: proof_of(good, ath=None),
        "without htm": lambda: proof_of(good, htm=None),
        "without htu": lambda: proof_of(good, htu=None),
        "without jti": lambda: proof_of(good, jti=None),
        "without iat": lambda: proof_of(good, iat=None),
        "iat a text": lambda: proof_of(good, iat=str(NOW)),
        "from six seconds ahead": lambda: proof_of(good, iat=NOW + SKEW + 1),
        "of 65 seconds ago": lambda: proof_of(good, iat=NOW - 60 - SKEW),
        "jwk private": lambda: proof_of(
            good, header={"jwk": {**bare(PROOF_KEY), "d": b64(PROOF_KEY.private_bytes_raw()).decode()}}
        ),
        "jwk with more members": lambda: proof_of(good, header={"jwk": {**bare(PROOF_KEY), "kid": "x"}}),
        "jwk of small order": lambda: proof_of(
            good, header={"jwk": {**bare(PROOF_KEY), "x": b64((1).to_bytes(32, "little")).decode()}}
        ),
        "jwk of RFC 9449's example, ES256": lambda: proof_of(good, header={"alg": "ES256", "jwk": ec_jwk}),
        "jwk of RFC 9449's example": lambda: proof_of(good, header={"jwk": ec_jwk}),
        "jwk a text": lambda: proof_of(good, header={"jwk": "x"}),
        "the credential in its place": lambda: good,
    }
    for name, make in made.items():
        yield case(f"proof: {name}", refused, good, make())


def requests() -> Iterator[dict[str, Any]]:
    """What is wrong with the headers, or with how a hand asks."""
    good = HONEST.token()
    authorization, proof = f"DPoP {good.decode()}", proof_of(good).decode()
    missing = "credential.missing"
    tampered = {
        "no headers at all": [],
        "no proof": [["Authorization", authorization]],
        "no credential": [["DPoP", proof]],
        "as a bearer token": [["Authorization", authorization.replace("DPoP", "Bearer")], ["DPoP", proof]],
        "two credentials": [["Authorization", authorization], ["Authorization", authorization], ["DPoP", proof]],
        "two proofs": [["Authorization", authorization], ["DPoP", proof], ["DPoP", proof]],
        "the scheme alone": [["Authorization", "Basic"], ["DPoP", proof]],
    }
    for name, headers in tampered.items():
        yield {"name": name, "reason": missing, "headers": headers}
    yield case("at another address of the hand", "proof.refused", good, url=URL.replace("/v1/", "/v2/"))
    yield case("with another method", "proof.refused", good, method="PUT")
    yield case("to another hand", "verify.audience", good, hand="billing")
    yield case("of another gateway", "credential.refused", good, issuer="other.example/log")
    yield case("a minute later", "verify.expired", good, now=NOW + 55)
    yield case("before it was minted", "verify.not_yet_valid", good, now=NOW - 16)


def _decoded(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def document() -> dict[str, Any]:
    """The file. What a case does not say is as ``request`` has it."""
    return {
        "about": "Requests to a hand, and the code with which each is refused (null: obeyed). "
        "docs/step-credentials.md says what is checked and in which order. Each case starts with no credential used.",
        "jwks": JWKS,
        "request": {
            "issuer": ISSUER,
            "hand": HAND,
            "action": ACTION,
            "args": ARGS,
            "method": METHOD,
            "url": URL,
            "now": NOW,
            "jkt": GOOD["cnf"]["jkt"],
        },
        "skew_seconds": SKEW,
        "cases": [*accepted(), *credentials(), *proofs(), *requests()],
    }
