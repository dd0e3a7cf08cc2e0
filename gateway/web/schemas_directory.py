"""The JSON shapes of principals, their keys and links, and issuers; see ``schemas``."""

from typing import Literal

from pydantic import Field

from gateway.model import Role
from gateway.web.schemas import Shape
from gateway.web.times import Time

Identifier = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")


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
