"""Who may call, and what they are known by."""

from collections.abc import Sequence

from handrail.exchange import Operation, Request, delete, document_if_any, get, listed, path_of, post
from handrail.keys import VerifyKey
from handrail.views import Json


def principals() -> Operation[list[Json]]:
    """Every principal of the tenant."""
    return listed((yield get("principals")), "principals")


def add_principal(
    principal_id: str,
    roles: Sequence[str],
    *,
    hands: Sequence[str] | None = None,
    approval_key: VerifyKey | None = None,
    ttl_days: int | None = None,
    own_key: str | None = None,
) -> Operation[Json]:
    """Add a principal. The token in the answer is shown this once; a proposal in its place (it has a ``status``) waits
    for signatures.

    Args:
        own_key: public part of an API key that the principal made (``handrail keys api``).
    """
    body: Json = {"id": principal_id, "roles": list(roles)}
    if hands is not None:
        body["hands"] = list(hands)
    if approval_key is not None:
        body["approval_jwk"] = approval_key.public_jwk()
    if ttl_days is not None:
        body["ttl_days"] = ttl_days
    if own_key is not None:
        body["api_key"] = own_key
    return (yield post(body, "principals")).document


def issue_api_key(principal_id: str, *, ttl_days: int | None = None, own_key: str | None = None) -> Operation[Json]:
    """Give a principal another API key; see :func:`add_principal`."""
    asked = {"ttl_days": ttl_days, "api_key": own_key}
    body: Json = {name: value for name, value in asked.items() if value is not None}
    return (yield post(body, "principals", principal_id, "keys")).document


def revoke_principal(principal_id: str) -> Operation[Json]:
    """Revoke a principal and all its API keys; a proposal where too few security admins would be left."""
    return document_if_any((yield delete("principals", principal_id)))


def offer_enrolment(principal_id: str) -> Operation[Json]:
    """A ticket with which an approver enrols one security key at the gateway's page; it is shown this once."""
    return (yield Request("POST", path_of("principals", principal_id, "enrolments"))).document


def security_keys(principal_id: str) -> Operation[list[Json]]:
    """A principal's security keys that are not revoked: ``{kid, jwk, rp_id, sign_count}``."""
    return listed((yield get("principals", principal_id, "security-keys")), "security_keys")


def revoke_security_key(principal_id: str, kid: str) -> Operation[Json]:
    """Revoke one security key of a principal."""
    return document_if_any((yield delete("principals", principal_id, "security-keys", kid)))


def name_principal(pseudonym: str, principal_id: str) -> Operation[Json]:
    """Give an id to a principal that is known by its pseudonym alone, after a restore without its epoch keys."""
    return (yield post({"id": principal_id}, "principals", pseudonym, "name")).document


def links(principal_id: str) -> Operation[list[Json]]:
    """A principal's links to identities elsewhere: ``{id, kind, source, subject, expires_at, created_at,
    revoked_at}``."""
    return listed((yield get("principals", principal_id, "links")), "links")


def link_subject(principal_id: str, issuer: str, subject: str) -> Operation[Json]:
    """Let access tokens of a subject of an issuer, by the issuer's name at the gateway, call as a principal."""
    return (yield post({"issuer": issuer, "subject": subject}, "principals", principal_id, "links")).document


def link_certificate(
    principal_id: str,
    certificate: str | None = None,
    *,
    kind: str | None = None,
    value: str | None = None,
) -> Operation[Json]:
    """Let whoever holds a certificate call as a principal: one in PEM, or any that has a name in it.

    Args:
        kind: of the name: ``uri``, ``dns``, ``email`` or ``subject``.
    """
    offered = {"certificate": certificate, "kind": kind, "value": value}
    body = {name: item for name, item in offered.items() if item is not None}
    return (yield post(body, "principals", principal_id, "certificates")).document


def revoke_link(principal_id: str, link_id: str) -> Operation[Json]:
    """Revoke a link of a principal, for ever."""
    return (yield delete("principals", principal_id, "links", link_id)).document
