"""Security keys of people (W3C Web Authentication, Level 3): what a registration brings and what an assertion proves.

An answer, or an act on a proposal, is asserted over the SHA-256 of its own payload, so that the authenticator's
signature covers exactly that.
Only ``cryptography`` verifies; formats are read by what they must be, byte for byte, and nothing else is accepted: the
two public keys that are asked for have one encoding each, so no CBOR is interpreted. No I/O, no clock.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.canonical import b64url_decode, b64url_encode, canonical, parse
from gateway.errors import Refused
from gateway.reasons import Reason

ES256: Final = -7
EDDSA: Final = -8
"""COSE algorithms (RFC 9053) that are asked for, in this order of preference: EdDSA, then ES256."""
CREDENTIAL_ID_MAX_BYTES: Final = 512
APPROVAL: Final = "approval+webauthn"
PROPOSAL: Final = "proposal+webauthn"
"""What an assertion was made over: an answer to an approval request, or an act on a proposal."""
PART_MAX_BYTES: Final = 8192
"""Of any one part of an assertion or registration."""

_USER_PRESENT: Final = 0x01
_USER_VERIFIED: Final = 0x04
_BACKUP_ELIGIBLE: Final = 0x08
_BACKED_UP: Final = 0x10
_ATTESTED: Final = 0x40
_EXTENSIONS: Final = 0x80
_FIXED_BYTES: Final = 37
"""rpIdHash, flags and signCount (section 6.1)."""

# A COSE_Key in CTAP2 canonical CBOR (section 6.5.1.1): kty, alg, crv and the coordinates, in this order and no other.
_ES256_HEAD: Final = bytes.fromhex("a5010203262001215820")
_ES256_MIDDLE: Final = bytes.fromhex("225820")
_EDDSA_HEAD: Final = bytes.fromhex("a4010103272006215820")


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whose security keys these are: the site that a person enrolled them at.

    Attributes:
        id: the host name; a browser uses a key at no other site.
        origin: where the pages are, to the port.
    """

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """An enrolled authenticator.

    Attributes:
        kid: RFC 7638 thumbprint of ``jwk``.
        jwk: public key, EC P-256 or OKP Ed25519.
        sign_count: the highest signature counter seen; 0 for an authenticator without one.
    """

    kid: str
    credential_id: str
    jwk: dict[str, str]
    rp_id: str
    sign_count: int


@dataclass(frozen=True, slots=True)
class Registered:
    """What a browser answered to ``navigator.credentials.create``, checked."""

    credential_id: str
    jwk: dict[str, str]
    sign_count: int


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a browser answered to ``navigator.credentials.get``; nothing in it is believed.

    Attributes:
        payload: the canonical JSON whose SHA-256 was the challenge.
    """

    payload: bytes = field(repr=False)
    credential_id: str
    authenticator_data: bytes = field(repr=False)
    client_data_json: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def document(self, typ: str = APPROVAL) -> bytes:
        """How an assertion is recorded: canonical JSON, so that anyone with the public key can verify it later.

        Args:
            typ: :data:`APPROVAL` or :data:`PROPOSAL`.
        """
        return canonical(
            {
                "v": 1,
                "typ": typ,
                "payload": b64url_encode(self.payload),
                "credential_id": self.credential_id,
                "authenticator_data": b64url_encode(self.authenticator_data),
                "client_data_json": b64url_encode(self.client_data_json),
                "signature": b64url_encode(self.signature),
            }
        )

    @classmethod
    def from_parts(cls, parts: dict[str, Any]) -> "Assertion":
        """From base64url members of the names above.

        Raises:
            Refused: ``verify.malformed``.
        """
        raw = {name: _part(parts, name) for name in ("payload", "authenticator_data", "client_data_json", "signature")}
        identifier = parts.get("credential_id")
        if not isinstance(identifier, str) or not 0 < len(b64url_decode(identifier)) <= CREDENTIAL_ID_MAX_BYTES:
            raise Refused(Reason.VERIFY_MALFORMED, "credential_id")
        return cls(credential_id=identifier, **raw)

    @classmethod
    def from_document(cls, raw: bytes) -> "Assertion":
        """Rebuild from :meth:`document`. Raises ``verify.malformed`` or ``schema.json``."""
        document = parse(raw)
        if not isinstance(document, dict) or document.get("v") != 1 or document.get("typ") != APPROVAL:
            raise Refused(Reason.VERIFY_MALFORMED, "not an asserted approval")
        return cls.from_parts(document)


def relying_party(public_url: str | None) -> RelyingParty | None:
    """The relying party of a gateway that people reach at ``public_url``.

    Returns:
        ``None`` where browsers offer no security keys: without a URL, at a bare address, or over a plain connection
        beyond this machine (section 5.1: a secure context, and a domain for an id).
    """
    if public_url is None:
        return None
    url = urlsplit(public_url)
    host = url.hostname or ""
    if not host or ":" in host or host.replace(".", "").isdigit():
        return None
    if url.scheme != "https" and host != "localhost":
        return None
    standard = {"https": 443, "http": 80}.get(url.scheme)
    port = "" if url.port in (None, standard) else f":{url.port}"
    return RelyingParty(host, f"{url.scheme}://{host}{port}")


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638 thumbprint of a public key."""
    required = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("crv", "kty", "x")
    return b64url_encode(hashlib.sha256(canonical({name: jwk[name] for name in required})).digest())


def verify_registration(
    client_data_json: bytes, authenticator_data: bytes, *, challenge: bytes, party: RelyingParty
) -> Registered:
    """Check a registration (section 7.1, for attestation ``none``: nothing in it is signed).

    Raises:
        Refused: ``approval.key``; ``verify.malformed`` for an encoding that is not the canonical one.
    """
    _check_client_data(client_data_json, "webauthn.create", challenge, origin=party.origin)
    flags, count, rest = _authenticator_data(authenticator_data, party.id)
    if not flags & _ATTESTED or len(rest) < 18:
        raise Refused(Reason.VERIFY_MALFORMED, "no attested credential data")
    length = int.from_bytes(rest[16:18], "big")
    identifier, key = rest[18 : 18 + length], rest[18 + length :]
    if len(identifier) != length or not 0 < length <= CREDENTIAL_ID_MAX_BYTES:
        raise Refused(Reason.VERIFY_MALFORMED, "credential id")
    jwk, after = _cose_key(key)
    if after and not flags & _EXTENSIONS:
        raise Refused(Reason.VERIFY_MALFORMED, "bytes after the public key")
    return Registered(b64url_encode(identifier), jwk, count)


def verify_assertion(assertion: Assertion, key: SecurityKey, *, origin: str | None) -> int:
    """Check that ``key`` signed exactly ``assertion.payload`` (section 7.2), with the person verified.

    Args:
        origin: the one that must have asked; ``None`` for any of the key's own site, for what was checked before.

    Returns:
        The signature counter, for the caller to compare with the one before.

    Raises:
        Refused: ``approval.key`` for another key or an unverified person, ``verify.signature``, ``verify.malformed``.
    """
    if assertion.credential_id != key.credential_id:
        raise Refused(Reason.APPROVAL_KEY, "another credential")
    challenge = hashlib.sha256(assertion.payload).digest()
    _check_client_data(assertion.client_data_json, "webauthn.get", challenge, origin=origin, rp_id=key.rp_id)
    flags, count, rest = _authenticator_data(assertion.authenticator_data, key.rp_id)
    if flags & _ATTESTED or (rest and not flags & _EXTENSIONS):
        raise Refused(Reason.VERIFY_MALFORMED, "more than an assertion")
    signed = assertion.authenticator_data + hashlib.sha256(assertion.client_data_json).digest()
    _verify(key.jwk, assertion.signature, signed)
    return count


def check_counter(key: SecurityKey, count: int) -> None:
    """A counter that does not grow is that of a copy (section 6.1.1), unless the authenticator has none.

    Raises:
        Refused: ``approval.key``.
    """
    if (count or key.sign_count) and count <= key.sign_count:
        raise Refused(
            Reason.APPROVAL_KEY, f"the signature counter of key {key.kid} went from {key.sign_count} to {count}"
        )


def check_public(jwk: dict[str, str]) -> None:
    """Whether a P-256 key is a point of its curve; Ed25519 keys are judged by ``keys.jwk``.

    Raises:
        Refused: ``approval.key``.
    """
    if jwk["kty"] == "EC":
        _p256(jwk)


def _check_client_data(
    raw: bytes, kind: str, challenge: bytes, *, origin: str | None, rp_id: str | None = None
) -> None:
    """Section 5.8.1: members that are not known here are ignored, as it says; a frame in a foreign page is refused."""
    data = parse(raw)
    if not isinstance(data, dict) or data.get("type") != kind:
        raise Refused(Reason.VERIFY_TYPE, "clientDataJSON")
    if data.get("challenge") != b64url_encode(challenge):
        raise Refused(Reason.APPROVAL_MISMATCH, "challenge")
    if data.get("crossOrigin", False) is not False or "topOrigin" in data:
        raise Refused(Reason.APPROVAL_KEY, "asked from a frame")
    said = data.get("origin")
    if not isinstance(said, str):
        raise Refused(Reason.VERIFY_MALFORMED, "origin")
    if origin is not None and said != origin:
        raise Refused(Reason.APPROVAL_KEY, "another origin")
    if rp_id is not None and urlsplit(said).hostname != rp_id:
        raise Refused(Reason.APPROVAL_KEY, "another site")


def _authenticator_data(raw: bytes, rp_id: str) -> tuple[int, int, bytes]:
    """Flags, signature counter, and what follows."""
    if len(raw) < _FIXED_BYTES:
        raise Refused(Reason.VERIFY_MALFORMED, "authenticatorData")
    if raw[:32] != hashlib.sha256(rp_id.encode()).digest():
        raise Refused(Reason.APPROVAL_KEY, "another relying party")
    flags = raw[32]
    if not flags & _USER_PRESENT or not flags & _USER_VERIFIED:
        raise Refused(Reason.APPROVAL_KEY, "the person was not verified")
    if flags & _BACKED_UP and not flags & _BACKUP_ELIGIBLE:
        raise Refused(Reason.VERIFY_MALFORMED, "backed up without being eligible")
    return flags, int.from_bytes(raw[33:37], "big"), raw[_FIXED_BYTES:]


def _cose_key(raw: bytes) -> tuple[dict[str, str], bytes]:
    """The public key as a JWK, and what follows it."""
    if raw.startswith(_EDDSA_HEAD) and len(raw) >= 42:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(raw[10:42])}, raw[42:]
    if raw.startswith(_ES256_HEAD) and raw[42:45] == _ES256_MIDDLE and len(raw) >= 77:
        jwk = {"kty": "EC", "crv": "P-256", "x": b64url_encode(raw[10:42]), "y": b64url_encode(raw[45:77])}
        return jwk, raw[77:]
    raise Refused(Reason.VERIFY_ALGORITHM, "neither ES256 nor EdDSA in their one encoding")


def _verify(jwk: dict[str, str], signature: bytes, message: bytes) -> None:
    try:
        if jwk["kty"] == "EC":
            _p256(jwk).verify(signature, message, ECDSA(SHA256()))
        else:
            Ed25519PublicKey.from_public_bytes(b64url_decode(jwk["x"])).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused(Reason.VERIFY_SIGNATURE, "assertion") from None


def _p256(jwk: dict[str, str]) -> Any:
    x, y = (int.from_bytes(b64url_decode(jwk[name]), "big") for name in ("x", "y"))
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError:
        raise Refused(Reason.APPROVAL_KEY, "not a point of P-256") from None


def _part(parts: dict[str, Any], name: str) -> bytes:
    text = parts.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= 2 * PART_MAX_BYTES:
        raise Refused(Reason.VERIFY_MALFORMED, name)
    return b64url_decode(text)
