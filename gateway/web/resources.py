"""The MCP endpoints as OAuth protected resources: their names, what is published of them, how they challenge.

MCP, authorization (2026-07-28), on RFC 9728 (metadata), RFC 8707 (a token names the resource that it is for) and
RFC 6750 (challenges). Each hand's endpoint is a resource of its own, so that a token for one tool opens no other.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.settings import Settings

MCP_PATH: Final = "/mcp"
METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
"""What follows it is the path of the resource (RFC 9728 section 3.1)."""

# A hand's id, whether there is such a hand or not. Paths come here with their escapes undone: what else may stand in
# one would close the quotes of a challenge, and lead a client to a server of somebody else's.
_RESOURCE: Final = re.compile(r"/mcp(?:/[a-z][a-z0-9_-]{0,62})?")


def is_metadata(path: str) -> bool:
    """Whether the path is where the metadata of a resource would be; nothing is looked up to say so."""
    return path.startswith(METADATA_PATH) and _RESOURCE.fullmatch(path, len(METADATA_PATH)) is not None


def audiences(settings: Settings, path: str) -> tuple[str, ...]:
    """What a token may be for, beside the audiences of its issuer, to be taken at a path: the resource there, and the
    endpoint of all hands for one hand's. Nothing for a path that is no resource.
    """
    if _RESOURCE.fullmatch(path) is None:
        return ()
    whole = settings.public_url + MCP_PATH
    return (whole,) if path == MCP_PATH else (whole, settings.public_url + path)


def metadata(settings: Settings, path: str) -> dict[str, Any] | None:
    """The metadata of the resource at a path (RFC 9728 section 2); ``None`` where no issuer's tokens are taken, so that
    there is nobody to get one from.
    """
    issuers = settings.identity.values()
    if not issuers:
        return None
    scopes = sorted({scope for issuer in issuers for scope in issuer.scopes})
    return {
        "resource": settings.public_url + path,
        "authorization_servers": [issuer.issuer for issuer in issuers],
        "bearer_methods_supported": ["header"],
        "resource_name": "Handrail",
        **({"scopes_supported": scopes} if scopes else {}),
        "tls_client_certificate_bound_access_tokens": all(issuer.require_bound for issuer in issuers),
    }


def challenged(settings: Settings, path: str, challenge: str) -> str:
    """A bearer challenge with what a client needs to get a token for this resource (RFC 9728 section 5.1): where its
    metadata are, and the scopes, where every issuer wants the same.
    """
    if _RESOURCE.fullmatch(path) is None or not settings.identity or not challenge.startswith("Bearer "):
        return challenge
    wanted = {issuer.scopes for issuer in settings.identity.values()}
    scopes = " ".join(wanted.pop()) if len(wanted) == 1 else ""
    parameters: Mapping[str, str] = {
        "resource_metadata": settings.public_url + METADATA_PATH + path,
        **({"scope": scopes} if scopes else {}),
    }
    return ", ".join([challenge, *(f'{name}="{value}"' for name, value in parameters.items())])
