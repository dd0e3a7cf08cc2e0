"""Verify a person's recorded answer offline: that exactly this call was approved or refused, by whose key, and that the
log holds it.

An answer file is one member of ``answers`` in what the gateway gives at ``/v1/approvals/{id}/answers``. Nothing in it
is believed; which keys are an approver's is for the caller to say (``handrail principals keys``), and the gateway's own
keys come from the trust document.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from handrail import jws, merkle, note
from handrail.approvals import BINDING
from handrail.errors import MalformedError
from handrail.keys import VerifyKey
from handrail.strict import b64url_decode, b64url_encode, canonical, parse
from handrail.times import written
from handrail.trust import Trust

FILE_MAX_BYTES: Final = 16_777_216
ENTRY_TYPES: Final[Mapping[str, str]] = {"approve": "APRGRT", "refuse": "APRREF"}
_MEMBERS: Final = frozenset({"v", "approval_id", "answer", "binding", "approver", "aud", "iat", "exp", "jti"})
_ASSERTED: Final = frozenset(
    {"v", "typ", "payload", "credential_id", "authenticator_data", "client_data_json", "signature"}
)
_PRESENT_AND_VERIFIED: Final = 0x01 | 0x04


@dataclass(frozen=True, slots=True)
class VerifiedAnswer:
    """What a verified answer proves.

    Attributes:
        kid: thumbprint of the key that signed it: the person's, or the gateway's where it only attests.
        rp_id: the site whose page asked a security key; ``None`` for an answer signed elsewhere.
    """

    approval_id: str
    answer: str
    approver: str
    binding: Mapping[str, str | int]
    attested_by: str
    kid: str
    issued_at: int
    log_index: int
    rp_id: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "approval_id": self.approval_id,
            "answer": self.answer,
            "approver": self.approver,
            "binding": dict(self.binding),
            "attested_by": self.attested_by,
            "kid": self.kid,
            "issued_at": written(self.issued_at),
            "log_index": self.log_index,
            "rp_id": self.rp_id,
        }


def verify_answer(file: Mapping[str, Any], trust: Trust, keys: Sequence[Mapping[str, str]]) -> VerifiedAnswer:
    """Check one answer file. No network, no clock.

    Args:
        keys: public JWKs that the caller knows to be the approver's: Ed25519 keys of files, security keys.

    Raises:
        MalformedError: naming what does not hold.
    """
    entry, index = _logged(file, trust)
    if file.get("v") != 1 or file.get("log_index") != index:
        raise MalformedError("not an answer file of version 1, or its log index is not that of its proof")
    proof = _opened(file, entry)
    attested_by = _text(file, "attested_by")
    if attested_by == "webauthn":
        claims, kid, rp_id = _asserted(proof, keys)
    else:
        claims, kid = _signed(proof, attested_by, trust, keys, index)
        rp_id = None
    binding = claims.get("binding")
    if set(claims) != _MEMBERS or claims["v"] != 1 or not isinstance(binding, dict):
        raise MalformedError("the signed answer has other members than an answer has")
    if set(binding) - {"asked"} != set(BINDING):
        raise MalformedError("the signed answer has other members than an answer has")
    said = {"tenant": binding["tenant"], "plan_id": binding["plan_id"], "step_id": binding["step_id"],
            "hand": binding["hand"], "action": binding["action"], "policy_digest": binding["policy_digest"],
            "manifest_digest": binding["manifest_digest"], "type": ENTRY_TYPES.get(str(claims["answer"]))}  # fmt: skip
    for name, value in said.items():
        if value is None or entry.get(name) != value:
            raise MalformedError(f"{name} of the signed answer is not that of the log's entry")
    if entry.get("facts", {}).get("asked", 1) != binding.get("asked", 1):
        raise MalformedError("asked of the signed answer is not that of the log's entry")
    if claims["aud"] != trust.origin:
        raise MalformedError("the answer is for another gateway")
    if entry.get("facts", {}).get("attested_by") != attested_by:
        raise MalformedError("the log says that somebody else vouched for the answer")
    return VerifiedAnswer(
        approval_id=claims["approval_id"],
        answer=claims["answer"],
        approver=claims["approver"],
        binding=binding,
        attested_by=attested_by,
        kid=kid,
        issued_at=claims["iat"],
        log_index=index,
        rp_id=rp_id,
    )


def verify_answers(
    raw: bytes, trust: Trust, approvers: Mapping[str, Sequence[Mapping[str, str]]]
) -> list[VerifiedAnswer]:
    """Check a file of one answer, or of all to a request, as the gateway gives them. No network, no clock.

    Args:
        approvers: principal id -> public JWKs that the caller knows to be that person's. A key vouches for its own
            person alone; an answer that the gateway attests needs none.

    Raises:
        MalformedError: naming what does not hold.
    """
    if len(raw) > FILE_MAX_BYTES:
        raise MalformedError("the file is too large")
    document = parse(raw)
    files = document.get("answers") if isinstance(document, dict) and "answers" in document else [document]
    if not isinstance(files, list) or not files or not all(isinstance(file, dict) for file in files):
        raise MalformedError("the file holds no answer")
    verified = [_of_its_approver(file, trust, approvers) for file in files]
    if isinstance(document.get("approval_id"), str) and any(
        one.approval_id != document["approval_id"] for one in verified
    ):
        raise MalformedError("an answer is to another request than the file names")
    return verified


def _of_its_approver(
    file: Mapping[str, Any], trust: Trust, approvers: Mapping[str, Sequence[Mapping[str, str]]]
) -> VerifiedAnswer:
    if file.get("v") != 1:
        raise MalformedError("the answer is not of version 1")
    if file.get("attested_by") == "gateway":
        return verify_answer(file, trust, ())
    found = verify_answer(file, trust, [jwk for keys in approvers.values() for jwk in keys])
    try:
        return verify_answer(file, trust, approvers.get(found.approver, ()))
    except MalformedError:
        raise MalformedError(f"the answer in the name of {found.approver!r} is signed with another's key") from None


def _logged(file: Mapping[str, Any], trust: Trust) -> tuple[dict[str, Any], int]:
    """The entry, proved to be under a checkpoint that the trusted log and enough of the verifier's witnesses signed."""
    text = _text(file, "entry")
    entry = parse(text)
    if not isinstance(entry, dict) or canonical(entry) != text.encode():
        raise MalformedError("the entry is not canonical JSON")
    proof = note.parse_proof(_text(file, "proof"))
    keys = [key for key in trust.log_keys if key.name == trust.origin]
    stolen = trust.compromised_log_keys()
    checkpoint = note.open_checkpoint(proof.checkpoint, keys, trust.quorum, trust.required, stolen)
    if checkpoint.origin != trust.origin or entry.get("origin") != trust.origin:
        raise MalformedError("the entry is of another log")
    leaf = merkle.leaf_hash(text.encode())
    merkle.verify_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    return entry, proof.index


def _opened(file: Mapping[str, Any], entry: Mapping[str, Any]) -> bytes:
    """The signed answer, proved to be what the entry commits to."""
    fields, opening = file.get("fields"), file.get("opening")
    if not isinstance(fields, dict) or not isinstance(opening, dict):
        raise MalformedError("fields and opening are needed; an answer that was erased cannot be verified")
    if hashlib.sha256(canonical(fields)).hexdigest() != entry.get("commitment"):
        raise MalformedError("the commitments do not have the root that the entry carries")
    salt, value = b64url_decode(_text(opening, "salt")), b64url_decode(_text(opening, "value"))
    if len(salt) != 16 or hashlib.sha256(salt + value).hexdigest() != fields.get("answer"):
        raise MalformedError("the answer is not the one that was committed to")
    return value


def _signed(
    proof: bytes, attested_by: str, trust: Trust, keys: Sequence[Mapping[str, str]], index: int
) -> tuple[dict[str, Any], str]:
    if attested_by == "approver":
        known = {key.kid: key for key in (VerifyKey.from_jwk(jwk) for jwk in keys if jwk.get("kty") == "OKP")}
    elif attested_by == "gateway":
        known = trust.signers("approval")
    else:
        raise MalformedError("nobody vouches for the answer")
    token = proof.decode("ascii", errors="replace")
    claims = jws.verify(token, "approval+jws", known)
    kid = jws.kid_of(token)
    if attested_by == "gateway" and kid in trust.compromised:
        if type(claims.get("iat")) is not int:
            raise MalformedError("the signed answer has no time")
        trust.compromised[kid].check(index, claims["iat"])
    return claims, kid


def _asserted(proof: bytes, keys: Sequence[Mapping[str, str]]) -> tuple[dict[str, Any], str, str]:
    """W3C Web Authentication, section 7.2, over the SHA-256 of the answer."""
    document = parse(proof)
    if not isinstance(document, dict) or set(document) != _ASSERTED or document["typ"] != "approval+webauthn":
        raise MalformedError("not an asserted answer")
    payload, data, client, signature = (
        b64url_decode(_text(document, name))
        for name in ("payload", "authenticator_data", "client_data_json", "signature")
    )
    said = parse(client)
    if not isinstance(said, dict) or said.get("type") != "webauthn.get":
        raise MalformedError("the client data is not of an assertion")
    if said.get("challenge") != b64url_encode(hashlib.sha256(payload).digest()):
        raise MalformedError("the challenge is not the digest of the answer")
    if said.get("crossOrigin", False) is not False:
        raise MalformedError("the answer was asked for in a frame")
    rp_id = _host(said.get("origin"))
    if len(data) < 37 or data[:32] != hashlib.sha256(rp_id.encode()).digest():
        raise MalformedError("the authenticator answered another site")
    if data[32] & _PRESENT_AND_VERIFIED != _PRESENT_AND_VERIFIED:
        raise MalformedError("the authenticator did not verify the person")
    signed = data + hashlib.sha256(client).digest()
    for jwk in keys:
        if _verifies(jwk, signature, signed):
            claims = parse(payload)
            if not isinstance(claims, dict):
                raise MalformedError("the answer is not a JSON object")
            return claims, _thumbprint(jwk), rp_id
    raise MalformedError("none of the approver's keys signed the answer")


def _host(origin: object) -> str:
    try:
        return urlsplit(str(origin)).hostname or ""
    except ValueError:
        raise MalformedError("the origin is no URL") from None


def _verifies(jwk: Mapping[str, str], signature: bytes, signed: bytes) -> bool:
    try:
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
            x, y = (int.from_bytes(b64url_decode(jwk[name]), "big") for name in ("x", "y"))
            EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key().verify(signature, signed, ECDSA(SHA256()))
        else:
            VerifyKey.from_jwk(jwk).verify(signature, signed)
    except (InvalidSignature, MalformedError, KeyError, ValueError):
        return False
    return True


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638."""
    names = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("crv", "kty", "x")
    return b64url_encode(hashlib.sha256(canonical({name: jwk[name] for name in names})).digest())


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"member {name} is missing, or no text")
    return value
