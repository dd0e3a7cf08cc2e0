"""The JSON shapes of the MCP endpoints' metadata; see ``schemas``."""

from pydantic import Field

from gateway.web.schemas import Shape


class ResourceMetadata(Shape):
    """An MCP endpoint as an OAuth protected resource (RFC 9728)."""

    resource: str = Field(description="The endpoint's URL: what a token's aud has to name (RFC 8707).")
    authorization_servers: list[str] = Field(description="Issuers whose tokens are taken.")
    bearer_methods_supported: list[str]
    resource_name: str
    scopes_supported: list[str] | None = None
    tls_client_certificate_bound_access_tokens: bool = Field(
        description="Whether every token has to be bound to the client's certificate (RFC 8705)."
    )
