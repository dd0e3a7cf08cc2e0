"""Services at which people let the gateway act for them: the authorization server of each, and where its tokens go."""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from gateway.model import DEFAULT_TENANT
from gateway.settings.base import Identifier, Section, Tenant
from gateway.settings.secrets import SEALED, Origin, origin_of

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)]
ScopeToken = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=255)]
"""RFC 6749 section 3.3."""
_OURS: Final = frozenset(
    {
        "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
        "resource", "audience", "response_mode", "request", "request_uri", "nonce",
    }
)  # fmt: skip
"""Parameters of an authorization request that the gateway sets itself, or that would change what comes back."""
_SECRETS: Final = frozenset({"client_secret_basic", "client_secret_post", "private_key_jwt"})


class ConnectionSettings(Section):
    """A service at which each person lets the gateway act for them (OAuth 2.0, authorization code with PKCE)."""

    title: str | None = Field(None, max_length=64, description="What the page calls it. Default: the table's name.")
    issuer: Url | None = Field(
        None,
        description="Issuer of the authorization server, exactly as its metadata has it (RFC 8414); the endpoints are "
        "read from there. Without it, authorization_endpoint and token_endpoint.",
    )
    authorization_endpoint: Url | None = Field(None, description="Where people consent, where there is no issuer.")
    token_endpoint: Url | None = Field(None, description="Where tokens are fetched, where there is no issuer.")
    revocation_endpoint: Url | None = Field(
        None, description="Where tokens are taken back (RFC 7009), where there is no issuer. Default: nowhere."
    )
    client_id: str = Field(min_length=1, max_length=255, description="This gateway's client id there.")
    client_authentication: Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"] = Field(
        "client_secret_basic", description="How the gateway proves who it is. none: a public client."
    )
    client_secret: Identifier | None = Field(
        None,
        description="Name of the secret (of the default tenant) that holds the client's secret; for private_key_jwt a "
        "private JWK with alg and kid, on one line.",
    )
    client_secret_store: Identifier = Field(SEALED, description="Which store keeps it.")
    scopes: tuple[ScopeToken, ...] = Field((), max_length=64, description="Scopes to ask each person for.")
    resource: Url | None = Field(None, description="The API that tokens are for (RFC 8707). Default: not said.")
    audience: str | None = Field(
        None, min_length=1, max_length=512, description="The same, for servers that call it audience."
    )
    parameters: dict[str, str] = Field(
        {}, description='Further parameters of the page of consent, such as { access_type = "offline" }.'
    )
    targets: tuple[Origin, ...] = Field(
        min_length=1, max_length=16, description="The only APIs that its tokens may go to, scheme://host[:port]."
    )
    tenants: tuple[Tenant, ...] = Field(
        (DEFAULT_TENANT,), min_length=1, description="Whose people may connect it, each for themselves."
    )
    timeout_seconds: float = Field(5.0, gt=0, le=30, description="How long the server may take to answer.")
    private_network: bool = Field(
        False, description="Whether it may be at a private or loopback address, and there without TLS."
    )
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")

    @model_validator(mode="after")
    def _sound(self) -> "ConnectionSettings":
        given = (self.authorization_endpoint, self.token_endpoint)
        if (self.issuer is None) != all(given) or (self.issuer is not None and any((*given, self.revocation_endpoint))):
            raise ValueError("give issuer, or authorization_endpoint and token_endpoint; not both")
        for url in filter(None, (self.issuer, *given, self.revocation_endpoint)):
            parts = urlsplit(url)
            if not parts.hostname or parts.username is not None or parts.password is not None:
                raise ValueError(f"{url}: give a host, and no credentials")
            if parts.scheme != "https" and not self.private_network:
                raise ValueError(f"{url}: must be https:// (http:// only with private_network)")
        if self.issuer is not None and "?" in self.issuer:
            raise ValueError("issuer must have no query")
        if (self.client_authentication in _SECRETS) != (self.client_secret is not None):
            raise ValueError(f"client_authentication = '{self.client_authentication}' and client_secret do not agree")
        ours = sorted(_OURS & self.parameters.keys())
        if ours:
            raise ValueError(f"parameters: {ours[0]} is the gateway's own")
        for target in self.targets:
            if not target.startswith("https://") and not self.private_network:
                raise ValueError(f"targets: {target}: must be https:// (http:// only with private_network)")
            origin_of(target)
        return self

    @property
    def origins(self) -> tuple[str, ...]:
        """``targets`` with their ports, in order."""
        return tuple(sorted({origin_of(target) for target in self.targets}))
