"""The JSON shapes of what administrators, operators and auditors see and send, beside those of the policy
(``schemas_policy``, ``schemas_rollout``); see ``schemas``.
"""

from typing import Any, Literal

from pydantic import Field

from gateway.manifest import SecretPlace
from gateway.model import Role
from gateway.two_person import Kind, ProposalStatus
from gateway.web.schemas import Shape
from gateway.web.times import GivenTime, Time

Identifier = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")


# --- directory -------------------------------------------------------------------------------------------------------


class PrincipalView(Shape):
    """A principal."""

    id: str
    tenant: str
    roles: list[Role]
    hands: list[str] | None = Field(description="null: every hand of the tenant.")
    created_at: Time
    revoked_at: Time | None = None
    approval_kid: str | None = None


class PrincipalList(Shape):
    """Principals of the tenant."""

    principals: list[PrincipalView]


class ApiKeyShown(Shape):
    """A new API key; its token is shown this once."""

    key_id: str
    token: str | None = Field(None, description="Missing where the principal made the key.")
    expires_at: Time


class PrincipalCreated(Shape):
    """A new principal and its first API key."""

    principal: PrincipalView
    api_key: ApiKeyShown


class PublicJwk(Shape):
    """An Ed25519 public key (RFC 8037). A private member is refused: it has no business on the wire."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    kid: str | None = Field(None, max_length=128)
    alg: Literal["Ed25519"] | None = None
    use: Literal["sig"] | None = None


KeyOfOnesOwn = Field(
    None,
    pattern=r"^hr_[0-9a-f]{16}:[0-9a-f]{64}$",
    description="Public part of an API key that the principal made; without it the gateway makes one.",
)


class PrincipalRequest(Shape):
    """A principal to add."""

    id: str = Identifier
    roles: list[Role] = Field(min_length=1, max_length=8)
    hands: list[str] | None = Field(None, max_length=1000)
    approval_jwk: PublicJwk | None = None
    ttl_days: int = Field(90, ge=1, le=366, strict=True)
    api_key: str | None = KeyOfOnesOwn


class NameRequest(Shape):
    """The id of a principal that has none any more."""

    id: str


class ApiKeyRequest(Shape):
    """How long a new API key lives."""

    ttl_days: int = Field(90, ge=1, le=366, strict=True)
    api_key: str | None = KeyOfOnesOwn


class TicketShown(Shape):
    """A ticket to enrol one security key with; it is shown this once."""

    ticket: str
    expires_at: Time


class SecurityKeyView(Shape):
    """The public half of a person's security key."""

    kid: str = Field(description="RFC 7638 thumbprint.")
    jwk: dict[str, str] = Field(description="EC P-256 or OKP Ed25519.")
    rp_id: str = Field(description="The site that it was enrolled at.")
    sign_count: int


class SecurityKeyList(Shape):
    """A principal's security keys that are not revoked."""

    security_keys: list[SecurityKeyView]


class LinkRequest(Shape):
    """Whose tokens are to be a principal's."""

    issuer: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Its name in the settings.")
    subject: str = Field(min_length=1, max_length=255, description="The sub of its tokens, exactly.")


class CertificateRequest(Shape):
    """Whose calls are to be a principal's: of who holds this certificate, or one in which an authority wrote a name."""

    certificate: str | None = Field(None, max_length=32_768, description="One certificate in PEM.")
    kind: Literal["uri", "dns", "email", "subject"] | None = Field(
        None, description="A subject alternative name, or the whole subject (RFC 4514)."
    )
    value: str | None = Field(None, min_length=1, max_length=255, description="The name of that kind, exactly.")


class LinkShown(Shape):
    """A link to an identity elsewhere."""

    id: str
    kind: Literal["token", "claims", "certificate"]
    source: str | None = Field(
        description="The issuer's URL; of a certificate what it is known by, as x5t#S256; null where no key is left "
        "that tells it."
    )
    subject: str | None = Field(
        description="The sub of its tokens; of a certificate its thumbprint, or the name in it; null likewise."
    )
    expires_at: Time | None = Field(None, description="When a certificate that was shown is over.")
    created_at: Time
    revoked_at: Time | None = None


class LinkList(Shape):
    """A principal's links."""

    links: list[LinkShown]


class Me(Shape):
    """The calling principal."""

    id: str
    tenant: str
    roles: list[Role]
    hands: list[str] | None
    approval_kid: str | None = Field(description="Of the key with which approvals and proposals are signed.")


class IssuerKeyView(Shape):
    """A public key of an issuer."""

    kid: str
    not_before: Time
    not_after: Time | None
    revoked_at: Time | None


class IssuerView(Shape):
    """Who may sign plans."""

    id: str
    tenant: str
    keys: list[IssuerKeyView]
    speaks_for: list[str]
    attests_request: bool
    revoked_at: Time | None = None


class IssuerList(Shape):
    """Issuers of the tenant."""

    issuers: list[IssuerView]


class IssuerRequest(Shape):
    """An issuer to register, or a further key of one."""

    id: str = Identifier
    jwk: PublicJwk
    speaks_for: list[str] = Field([], max_length=1000)
    attests_request: bool = Field(False, strict=True)


# --- keys and trust --------------------------------------------------------------------------------------------------


class KeyView(Shape):
    """A key of the gateway."""

    kid: str
    purpose: str
    state: Literal["next", "active", "retiring", "retired", "revoked"]
    created_at: Time
    activated_at: Time | None
    retiring_at: Time | None
    retired_at: Time | None
    revoked_at: Time | None
    compromised_at: Time | None = Field(description="Of a revoked one: since when it may have been in wrong hands.")
    covered_size: int | None = Field(description="Of such a one: what it signed about entries below this index stands.")


class EpochView(Shape):
    """A key above data keys, which wraps them."""

    epoch: str
    state: Literal["active", "retiring"]


class KeyList(Shape):
    """The gateway's keys."""

    keys: list[KeyView]
    epochs: list[EpochView]
    now: Time = Field(description="The gateway's time, to tell the age of a key by.")


class KeyRequest(Shape):
    """Which purpose gets a further next key."""

    purpose: Literal["connector", "step", "receipt", "checkpoint", "checkpoint-pq", "policy", "approval"]


class KeyRevocation(Shape):
    """Since when the key may be in wrong hands; nothing that it signed stands where that is not said."""

    compromised_at: GivenTime | None = Field(None, description="Not a time to come.")


class KeyHistoryView(Shape):
    """The history of the gateway's keys."""

    history: str = Field(description="Compact JWS of the typ `history+jws`.")


class Jwks(Shape):
    """RFC 7517 key set."""

    keys: list[dict[str, Any]]


class TrustView(Shape):
    """What ``handrail verify --trust`` takes."""

    v: Literal[1]
    origin: str
    jwks: Jwks
    log: list[str] = Field(description="Signed-note verifier keys of the log.")
    log_post_quantum: list[str] | None = Field(
        None, description="Its ML-DSA-44 verifier keys, where checkpoints are signed a second time."
    )


# --- hands -----------------------------------------------------------------------------------------------------------


class ActionView(Shape):
    """One action of a hand."""

    name: str
    description: str
    side_effects: str
    idempotent: bool
    args_schema: dict[str, Any]


class Difference(Shape):
    """One place where what a hand offers is not what was pinned."""

    path: str
    pinned: Any = None
    offered: Any = None


class SecretUseView(Shape):
    """A secret that a hand names."""

    name: str
    store: str
    place: SecretPlace
    parameter: str | None = Field(description="Of the places header and query.")
    username: str | None = Field(description="Of the place basic.")
    targets: list[str] = Field(description="scheme://host:port; it goes nowhere else.")


class HandView(Shape):
    """A configured hand."""

    id: str
    adapter: str
    state: Literal["pinned", "unpinned", "drifted", "asking", "unavailable", "disabled"]
    problem: str | None = None
    pinned_digest: str | None = None
    offered_digest: str | None = None
    region: str | None
    trust: str
    secrets: list[SecretUseView] = Field(description="What the gateway puts into its requests.")
    actions: list[ActionView]


class HandDetail(HandView):
    """A hand with what changed since it was pinned."""

    diff: list[Difference]


class HandList(Shape):
    """The hands that the caller may see."""

    hands: list[HandView]


class PinRequest(Shape):
    """The digest that the operator looked at; it must be the one offered now."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


# --- proposals -------------------------------------------------------------------------------------------------------


class SignatureView(Shape):
    """One person's signature under a change that takes several."""

    by: str
    attested_by: Literal["signer", "webauthn", "gateway"]
    kid: str | None = Field(description="RFC 7638 thumbprint of the person's key; null where the gateway attests.")
    at: Time
    counts: bool = Field(
        description="Whether the person still may sign and is not frozen, and the key is still theirs."
    )


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


# --- audit -----------------------------------------------------------------------------------------------------------


class EntryView(Shape):
    """One entry of the audit log."""

    index: int
    code: str
    label: str
    entry: dict[str, Any]
    proof: list[str] | None = Field(None, description="RFC 6962 audit path, base64, the leaf's sibling first.")


class Stretch(Shape):
    """Neighbouring entries, by their first and last index."""

    first: int
    last: int


class Covered(Shape):
    """Indices that a page speaks for: no entry between them matches but those on the page, or dropped ones."""

    first: int
    last: int
    dropped: list[Stretch] = Field(description="Entries whose retention is over; nobody can say whether they matched.")


class ScopeView(Shape):
    """Which entries the caller may see at all; what an answer covers and counts, it does within these."""

    tenant: str
    hands: list[str] | None = Field(description="Entries of these hands; null for every entry of the tenant.")
    types: list[str] = Field(description="Beside those of the hands: entries of these types, which are about no hand.")


class EntryPage(Shape):
    """A page of entries, and the tree size that it speaks for."""

    entries: list[EntryView]
    next: int | None
    tree_size: int
    covers: Covered
    matches: int | None = Field(description="How many match in all, where that was asked.")
    checkpoint: str | None = Field(description="Signed checkpoint that the proofs lead to, where they were asked for.")
    scope: ScopeView


# --- log -------------------------------------------------------------------------------------------------------------


class WitnessView(Shape):
    """A witness of the log, and what became of the newest attempt to have a checkpoint cosigned."""

    name: str
    key: str = Field(description="Name of its key, as signature lines show it.")
    tree_size: int = Field(description="The largest tree that it cosigned.")
    cosigned_at: Time | None = Field(description="When it last did, by its own clock.")
    age_seconds: int | None
    fault: str | None
    detail: str


class WitnessList(Shape):
    """The witnesses of this gateway's log, and whether enough of them gave their word lately."""

    quorum: int
    lag_seconds: int
    problem: str | None
    witnesses: list[WitnessView]
