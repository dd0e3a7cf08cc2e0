"""Whose access tokens are believed: other issuers, and what their claims mean here."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.model import DEFAULT_TENANT, TRUSTED, Role
from gateway.settings.base import Identifier, Pointer, Section, Tenant


class LoginSettings(Section):
    """People log in to the pages at this issuer (OpenID Connect, authorization code with PKCE)."""

    client_id: str = Field(min_length=1, max_length=255, description="This gateway's client id at the issuer.")
    client_secret_file: Path | None = Field(
        None, description="File with the client's secret. Default: a public client, which has none."
    )
    client_authentication: Literal["client_secret_basic", "client_secret_post"] = Field(
        "client_secret_basic", description="How the secret is sent to the issuer."
    )
    title: str | None = Field(None, max_length=64, description="What the button says. Default: the table's name.")
    scopes: tuple[str, ...] = Field((), description="Scopes to ask for beside openid, such as one that gives groups.")
    acr_values: tuple[str, ...] = Field(
        (), description="Classes of login (acr), one of which is asked for and must be shown: a second factor, say."
    )
    max_age_seconds: int | None = Field(
        None, ge=0, le=86_400, description="How long ago the person may have proved who they are. Default: any time."
    )


class IdentitySettings(Section):
    """An OpenID provider or OAuth authorization server whose access tokens (JWTs) callers may send."""

    issuer: str = Field(
        max_length=512, description="Its issuer URL, exactly as its tokens and its discovery document have it."
    )
    audiences: tuple[str, ...] = Field(
        min_length=1,
        max_length=16,
        description="This gateway's names at the issuer. A token names one at least, or the MCP endpoint that it is "
        "shown to, and nobody else beside.",
    )
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"] = (
        Field(description="The one algorithm of its tokens.")
    )
    token_type: Literal["at+jwt", "jwt"] = Field(
        "at+jwt", description="The header's typ: at+jwt (RFC 9068), or jwt where the issuer marks its tokens no better."
    )
    clients: tuple[str, ...] | None = Field(
        None, min_length=1, description="Clients that tokens may be issued to (client_id or azp). Default: any."
    )
    scopes: tuple[str, ...] = Field((), description="Scopes that a token must have been granted, all of them.")
    tenant: Tenant = Field(DEFAULT_TENANT, description="The tenant of its principals.")
    tenant_claim: Pointer | None = Field(
        None, description="Where the claims name the tenant (a JSON pointer); then tenants says which is whose."
    )
    tenants: dict[str, Tenant] = Field({}, description="Value of tenant_claim -> tenant. Another value is refused.")
    roles_claim: Pointer | None = Field(
        None,
        description="Where the claims list groups, roles or scopes (a JSON pointer). With it, unknown subjects become "
        "principals; without it, only linked ones are let in.",
    )
    roles: dict[str, tuple[Role, ...]] = Field(
        {}, description="Value of roles_claim -> roles here. Values that are not listed give nothing."
    )
    privileged_roles: tuple[Role, ...] = Field(
        (), description="Which roles other than agent and auditor the table of roles may give at all."
    )
    hands: tuple[Identifier, ...] | None = Field(
        None, description="Hands that principals made from claims may see. Default: all of the tenant."
    )
    require_bound: bool = Field(
        False, description="Whether its tokens have to be bound to the client's certificate (RFC 8705, cnf)."
    )
    login: LoginSettings | None = Field(None, description="How people log in to the pages there. Default: not at all.")
    lifetime_max_seconds: int = Field(3600, ge=1, le=86_400, description="Longest exp - iat accepted.")
    clock_skew_seconds: int = Field(5, ge=0, le=5, description="Tolerated difference between clocks.")
    keys_refresh_seconds: int = Field(300, ge=10, le=86_400, description="How often its keys are fetched anew.")
    keys_max_age_seconds: int = Field(
        3600, ge=10, le=604_800, description="From when on keys that could not be fetched anew are not believed."
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long one fetch may take.")
    private_network: bool = Field(
        False, description="Whether it may be at a private or loopback address, and there without TLS."
    )
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")

    @model_validator(mode="after")
    def _sound(self) -> "IdentitySettings":
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.private_network):
            raise ValueError("issuer must be an https:// URL (http:// only with private_network)")
        if not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("issuer must have a host, and no query, fragment or credentials")
        if (self.tenant_claim is None) != (not self.tenants):
            raise ValueError("tenant_claim and tenants belong together")
        if (self.roles_claim is None) != (not self.roles):
            raise ValueError("roles_claim and roles belong together")
        if self.keys_max_age_seconds < self.keys_refresh_seconds:
            raise ValueError("keys_max_age_seconds must not be shorter than keys_refresh_seconds")
        given = {role for roles in self.roles.values() for role in roles}
        unsaid = sorted(given & TRUSTED - set(self.privileged_roles))
        if Role.HAND in given and self.hands is None:
            raise ValueError("the role hand needs hands: the ids of the hands that it is")
        if unsaid:
            raise ValueError(f"name {', '.join(unsaid)} in privileged_roles too, or give it to nobody by a claim")
        return self
