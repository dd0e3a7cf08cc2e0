"""What the middleware leaves in an ASGI scope, and how handlers read it.

A principal found here was authenticated for *this* request: nothing is carried over from a connection or a session.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.certificates import Certificate
from gateway.model import Principal

if TYPE_CHECKING:
    from gateway.service import Gateway
    from gateway.web.admission import Admission

REQUEST_ID: Final = "handrail.request_id"
PRINCIPAL: Final = "handrail.principal"
CERTIFICATE: Final = "handrail.certificate"
"""The client's certificate: of its TLS connection, or as a declared proxy says it."""
ROUTE: Final = "handrail.route"
"""The route's template, set once a route matched: the only form of a path that metrics may carry."""

"""Whose log entry a refusal becomes while nobody is authenticated."""


def gateway_of(scope: Mapping[str, Any]) -> "Gateway":
    """The gateway that serves this request."""
    return cast("Gateway", scope["app"].state.gateway)


def admission_of(scope: Mapping[str, Any]) -> "Admission":
    """What this process counts of principals and addresses."""
    return cast("Admission", scope["app"].state.admission)


def request_id_of(scope: Mapping[str, Any]) -> str:
    """The id that the answer and every log line of this request carry."""
    return cast("str", scope.get(REQUEST_ID, ""))


def principal_of(scope: Mapping[str, Any]) -> Principal | None:
    """The authenticated caller; ``None`` on open routes and before authentication."""
    return cast("Principal | None", scope.get(PRINCIPAL))


def certificate_of(scope: Mapping[str, Any]) -> Certificate | None:
    """The certificate that the client proved to hold; ``None`` where it showed none."""
    return cast("Certificate | None", scope.get(CERTIFICATE))


def source_of(scope: Mapping[str, Any]) -> str:
    """Where an unauthenticated request came from, coarse enough that one sender is one source.

    An IPv6 sender owns at least a /64 (RFC 6177), so that prefix is the source; otherwise a flood from one host could
    look like 2^64 of them and fill the log that aggregation protects.
    """
    client = scope.get("client")
    return source(client[0]) if client else "local"


@lru_cache(maxsize=4096)
def source(host: str) -> str:
    """The same of an address as text."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
