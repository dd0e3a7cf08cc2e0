"""Who signs plans."""

from collections.abc import Sequence

from handrail.exchange import Operation, delete, document_if_any, get, listed, post
from handrail.keys import VerifyKey
from handrail.views import Json


def issuers() -> Operation[list[Json]]:
    """Every issuer of the tenant."""
    return listed((yield get("issuers")), "issuers")


def add_issuer(
    issuer_id: str, key: VerifyKey, *, speaks_for: Sequence[str] = (), attests_request: bool = False
) -> Operation[Json]:
    """Register an issuer, or add a key to one that exists."""
    body: Json = {"id": issuer_id, "jwk": key.public_jwk()}
    if speaks_for:
        body["speaks_for"] = list(speaks_for)
    if attests_request:
        body["attests_request"] = True
    return (yield post(body, "issuers")).document


def revoke_issuer(issuer_id: str) -> Operation[Json]:
    """Revoke an issuer and all its keys."""
    return document_if_any((yield delete("issuers", issuer_id)))
