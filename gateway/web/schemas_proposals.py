"""The JSON shapes of changes that take two people, or several; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.two_person import Kind, ProposalStatus
from gateway.web.schemas import Shape
from gateway.web.times import Time


class SignatureView(Shape):
    """One person's signature under a change that takes several."""

    by: str
    attested_by: Literal["signer", "webauthn", "gateway"]
    kid: str | None = Field(description="RFC 7638 thumbprint of the person's key; null where the gateway attests.")
    at: Time
    counts: bool = Field(description="Whether person and key still may sign, and are not frozen.")


class ProposalView(Shape):
    """A change that takes two people; people are principal ids."""

    id: str
    kind: Kind
    tenant: str
    subject: str
    document: dict[str, Any]
    document_sha256: str
    status: ProposalStatus
    proposed_by: str
    proposed_attested_by: Literal["proposer", "gateway"]
    proposed_at: Time
    expires_at: Time
    decided_by: str | None = None
    decided_attested_by: Literal["activator", "webauthn", "gateway"] | None = None
    decided_at: Time | None = None
    in_force_until: Time | None = None
    ended_by: str | None = None
    ended_at: Time | None = None
    needed: int | None = Field(None, description="Of a change of trust: how many signatures it takes.")
    signatures: list[SignatureView] | None = Field(None, description="Of a change of trust: who signed.")
    request: dict[str, Any] | None = Field(None, description="What the document commits to, for who may sign it.")
    request_salt: str | None = Field(
        None, description="SHA-256 of these bytes (hexadecimal) and the request's RFC 8785 form is the commitment."
    )


class ProposalList(Shape):
    """A page of proposals; ``next`` goes into ``after`` for the following one."""

    proposals: list[ProposalView]
    next: str | None


class ProposalRequest(Shape):
    """A change to propose."""

    kind: Kind
    document: dict[str, Any]
    act: str | None = Field(None, max_length=65_536, description="proposal+jws by the caller's enrolled key.")


class ActivationRequest(Shape):
    """The document that the caller looked at; it must be the one proposed."""

    document_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    act: str | None = Field(None, max_length=65_536, description="proposal+jws by the caller's enrolled key.")
