"""What people sign of a proposal, and how that is verified: by the key of their own in a file (``proposal+jws``), by a
security key in a browser (over the SHA-256 of the same payload), or attested by the gateway for who has neither.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway import webauthn
from gateway.canonical import canonical, parse
from gateway.commitments import Committed, commit, subject_key
from gateway.errors import Refused
from gateway.model import Principal
from gateway.ports import AuditLog, Directory, Purpose, Signer, Typ, Write
from gateway.reasons import Reason
from gateway.stages.verify import Jws
from gateway.two_person import Act
from gateway.webauthn import Assertion, RelyingParty, SecurityKey

ACT_SECONDS: Final = 300
"""Longest life of a signed act."""
SKEW_SECONDS: Final = 5
GATEWAY: Final = "gateway"
WEBAUTHN: Final = "webauthn"
_OWN: Final[Mapping[Act, str]] = MappingProxyType(
    {Act.PROPOSE: "proposer", Act.ACTIVATE: "activator", Act.SIGN: "signer"}
)
"""Act -> who vouches for one that the person's own key in a file signed."""
_MEMBERS: Final = frozenset({"v", "act", "proposal", "by", "aud", "iat", "exp"})
_BINDING: Final = frozenset({"id", "kind", "tenant", "subject", "document_sha256"})
_CONTEXT: Final = "@proposals"
"""Stands for the context in the data subject of a signed act, which names who signed it."""
_OURS: Final[Mapping[Reason, Reason]] = MappingProxyType(
    {Reason.APPROVAL_KEY: Reason.PROPOSAL_KEY, Reason.APPROVAL_MISMATCH: Reason.PROPOSAL_MISMATCH}
)
"""What is refused of a security key, in the words of proposals."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came with an act: one signature, or none.

    Attributes:
        signed: ``proposal+jws`` by the person's enrolled key.
        asserted: what one of the person's security keys signed.
    """

    signed: bytes | None = None
    asserted: Assertion | None = None

    @property
    def unsigned(self) -> bool:
        """Whether there is only the person's login to go by."""
        return self.signed is None and self.asserted is None


UNSIGNED: Final = Said()


@dataclass(frozen=True, slots=True)
class Given:
    """An act with its proof.

    Attributes:
        attested_by: ``proposer``, ``activator`` or ``signer`` for the person's own key in a file, ``webauthn`` for a
            security key, else ``gateway``.
        kid: RFC 7638 thumbprint of the person's key; ``None`` where the gateway attests.
        writes: rows to be written with it.
    """

    proof: Committed
    attested_by: str
    kid: str | None = None
    writes: Sequence[Write] = ()


# --- what an act says ------------------------------------------------------------------------------------------------


def act_payload(act: str, binding: Mapping[str, str], by: str, audience: str, now: float) -> bytes:
    """What is signed by a person's key, or by the gateway in attestation."""
    return canonical(
        {
            "v": 1,
            "act": str(act),
            "proposal": dict(binding),
            "by": by,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + ACT_SECONDS,
        }
    )


def signed_id(payload: bytes) -> str:
    """The id that the proposer chose, read from an act whose signature holds. Raises ``proposal.mismatch``."""
    chosen = _claims(payload)["proposal"].get("id")
    if not isinstance(chosen, str) or len(chosen) != 32 or not set(chosen) <= set("0123456789abcdef"):
        raise Refused(Reason.PROPOSAL_MISMATCH, "id")
    return chosen


def verify_act(payload: bytes, act: str, binding: Mapping[str, str], by: str, audience: str, now: float) -> None:
    """Hold the payload of an act, whose signature was verified, against what it must say.

    Raises:
        Refused: ``proposal.mismatch`` with the member, ``verify.lifetime``, ``verify.not_yet_valid``,
            ``verify.expired``.
    """
    claims = _claims(payload)
    for member, value in {"act": str(act), "proposal": dict(binding), "by": by, "aud": audience}.items():
        if claims[member] != value:
            raise Refused(Reason.PROPOSAL_MISMATCH, member, member=member)
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= ACT_SECONDS:
        raise Refused(Reason.VERIFY_LIFETIME, limit_seconds=ACT_SECONDS)
    if issued > now + SKEW_SECONDS:
        raise Refused(Reason.VERIFY_NOT_YET_VALID)
    if expires <= now - SKEW_SECONDS:
        raise Refused(Reason.VERIFY_EXPIRED)


def enrolled(actor: Principal) -> Callable[[str], Mapping[str, str]]:
    """A ``key_for`` that knows the person's enrolled key alone. Raises ``proposal.key``."""

    def key_for(kid: str) -> Mapping[str, str]:
        if actor.approval_jwk is None or kid != actor.approval_jwk["kid"]:
            raise Refused(Reason.PROPOSAL_KEY, "not the enrolled key")
        return actor.approval_jwk

    return key_for


def check_unsigned(actor: Principal) -> None:
    """An act may go without a signature only where the person has no key in a file. Raises ``proposal.key``."""
    if actor.approval_jwk is not None:
        raise Refused(Reason.PROPOSAL_KEY, "the person has an enrolled key and must sign with it")


def _claims(payload: bytes) -> dict[str, Any]:
    claims = parse(payload)
    if not isinstance(claims, dict) or claims.keys() != _MEMBERS or claims["v"] != 1 or claims["v"] is True:
        raise Refused(Reason.PROPOSAL_MISMATCH, "members")
    if not isinstance(claims["proposal"], dict) or claims["proposal"].keys() != _BINDING:
        raise Refused(Reason.PROPOSAL_MISMATCH, "proposal")
    return claims


# --- whose word it is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acts:
    """Takes people's acts on proposals.

    Attributes:
        party: the site for whose pages people enrol security keys; ``None`` where browsers offer none.
    """

    log: AuditLog
    directory: Directory
    signer: Signer
    jws: Jws
    party: RelyingParty | None

    async def take(self, act: Act, binding: Mapping[str, str], actor: Principal, said: Said, now: float) -> Given:
        """Verify what a person said, or attest it.

        Raises:
            Refused: ``proposal.key``, ``proposal.mismatch``, ``verify.*``.
            Unavailable: ``key.unavailable``; ``log.unavailable``.
        """
        audience = self.log.origin
        if said.signed is not None:
            verify_act(self.payload(said.signed, actor), act, binding, actor.id, audience, now)
            kid = None if actor.approval_jwk is None else str(actor.approval_jwk["kid"])
            return Given(_committed(said.signed, actor), _OWN[act], kid)
        if said.asserted is not None:
            key, counted = await self._asserted(said.asserted, actor)
            verify_act(said.asserted.payload, act, binding, actor.id, audience, now)
            return Given(_committed(said.asserted.document(webauthn.PROPOSAL), actor), WEBAUTHN, key.kid, [counted])
        check_unsigned(actor)
        # Whoever proposes does so at the terminal, where no security key is; what counts is who agrees to it.
        if act is not Act.PROPOSE and await self.directory.has_key(actor.tenant, actor.pseudonym):
            raise Refused(Reason.PROPOSAL_KEY, "the person has, or had, a security key and must sign with one")
        payload = act_payload(act, binding, actor.id, audience, now)
        # In a thread, because the key may be in a service.
        proof = await asyncio.to_thread(self.signer.sign, Purpose.APPROVAL, Typ.PROPOSAL, payload)
        return Given(_committed(proof.encode("ascii"), actor), GATEWAY)

    def payload(self, signed: bytes, actor: Principal) -> bytes:
        """The payload of a ``proposal+jws`` by the person's enrolled key. Raises ``proposal.key``, ``verify.*``."""
        return self.jws.verify(signed, Typ.PROPOSAL, enrolled(actor)).payload

    async def challenge(
        self, act: Act, binding: Mapping[str, str], actor: Principal, now: float
    ) -> tuple[bytes, Sequence[str]]:
        """What a security key of the person is to sign the SHA-256 of, and the ids of the keys that may.

        Raises:
            Refused: ``proposal.key`` where the person has no security key here.
        """
        keys = [key.credential_id for key in await self.keys(actor)]
        if not keys:
            raise Refused(Reason.PROPOSAL_KEY, "no security key is enrolled here")
        return act_payload(act, binding, actor.id, self.log.origin, now), keys

    async def keys(self, actor: Principal) -> Sequence[SecurityKey]:
        """The person's security keys that a browser can use at this gateway's pages."""
        if self.party is None:
            return []
        enrolled_keys = await self.directory.security_keys(actor.tenant, actor.pseudonym)
        return [key for key in enrolled_keys if key.rp_id == self.party.id]

    async def _asserted(self, asserted: Assertion, actor: Principal) -> tuple[SecurityKey, Write]:
        try:
            if self.party is None:
                raise Refused(Reason.PROPOSAL_KEY, "the gateway has no name for security keys")
            for key in await self.keys(actor):
                if key.credential_id == asserted.credential_id:
                    count = webauthn.verify_assertion(asserted, key, origin=self.party.origin)
                    webauthn.check_counter(key, count)
                    return key, await self.directory.used(actor.tenant, key, count)
        except Refused as refusal:
            raise Refused(_OURS.get(refusal.reason, refusal.reason), refusal.detail) from None
        raise Refused(Reason.PROPOSAL_KEY, "not an enrolled security key")


def _committed(proof: bytes, actor: Principal) -> Committed:
    return commit(proof, subject_key(actor.tenant, actor.id, _CONTEXT))
