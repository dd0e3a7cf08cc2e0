"""Principals, API keys and issuers: what may be written, and how rows are shown. ``directory_reads`` reads them."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from gateway.canonical import canonical
from gateway.errors import Malformed, Refused
from gateway.model import Principal, Role
from gateway.reasons import Reason
from gateway.times import format_time
from keys import jwk
from keys.errors import KeyRefused
from keys.jwk import PublicJwk

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
"""Principals and issuers. No slash: it separates the parts of a data subject's key."""
PSEUDONYM: Final = re.compile(r"[pi]-[0-9a-f]{32}")
"""By which rows and entries name a principal or an issuer. Nobody's id looks like it."""
TENANT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
HAND: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
TOKEN: Final = re.compile(r"hr_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
"""An API key: its public id, and 32 random bytes in base64url."""
KEY_REQUEST: Final = re.compile(r"hr_([0-9a-f]{16}):([0-9a-f]{64})")
"""An API key that its holder made: its public id, and the SHA-256 of the rest, as text."""
API_KEY_PREFIX: Final = "hr_"
TTL_MAX_DAYS: Final = 366
HANDS_MAX: Final = 256
SPEAKS_FOR_MAX: Final = 1024

Name = tuple[str, str]
"""Tenant and id."""


class PrincipalView(TypedDict):
    """A principal as the API shows it."""

    id: str
    tenant: str
    roles: list[str]
    hands: list[str] | None
    created_at: str
    revoked_at: str | None
    approval_kid: str | None


class ApiKeyView(TypedDict):
    """A new API key. ``token`` is shown this once and stored nowhere; ``None`` where its holder made it."""

    key_id: str
    token: str | None
    expires_at: str


class NewPrincipalView(TypedDict):
    """A new principal and its first API key."""

    principal: PrincipalView
    api_key: ApiKeyView


class IssuerKeyView(TypedDict):
    """An issuer's key."""

    kid: str
    not_before: str
    not_after: str | None
    revoked_at: str | None


class IssuerView(TypedDict):
    """An issuer as the API shows it."""

    id: str
    tenant: str
    keys: list[IssuerKeyView]
    speaks_for: list[str]
    attests_request: bool
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class NewPrincipal:
    """Who is to be added. ``hands`` is the scope, ``None`` for every hand of the tenant."""

    id: str
    roles: Sequence[str]
    hands: Sequence[str] | None = None
    approval_jwk: Mapping[str, Any] | None = None
    ttl_days: int = 90
    api_key: str | None = None
    """``hr_<id>:<SHA-256 of the secret>`` of an API key that the principal made; ``None`` to have one made here."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as authentication needs it; ``principal`` is ``None`` where key or principal is revoked."""

    secret_sha256: str
    expires_at: float
    principal: Principal | None


@dataclass(frozen=True, slots=True)
class Linked:
    """A link to an identity elsewhere as authentication needs it; ``principal`` is ``None`` where either is revoked.

    Attributes:
        by_claims: whether the claims of each token say what the principal may do with it.
        source: the issuer's URL; empty where nobody can tell, and of a link that is revoked.
    """

    link_id: str
    principal: Principal | None
    by_claims: bool
    source: str


@dataclass(frozen=True, slots=True)
class Minted:
    """A fresh API key: what the caller gets (``None`` where its holder has it already), and what is stored."""

    key_id: str
    token: str | None
    secret_sha256: str


# --- what may be written ---------------------------------------------------------------------------------------------


def identifier(value: object, member: str) -> str:
    """A principal's or issuer's id. Raises ``request.malformed``."""
    if not isinstance(value, str) or IDENTIFIER.fullmatch(value) is None:
        raise Malformed(
            f"{member} is no identifier", pointer=f"/{member}", expected="1 to 128 letters, digits and . _ : @ -"
        )
    if PSEUDONYM.fullmatch(value.lower()):
        raise Malformed(f"{member} is a pseudonym", pointer=f"/{member}", expected="an id that is no pseudonym")
    return value


def public_key(offered: Mapping[str, Any], at: str) -> jwk.PublicJwk:
    """A public key that somebody offered at the pointer ``at``. Raises ``request.malformed``."""
    try:
        return jwk.public(offered)
    except KeyRefused as exc:
        raise Malformed(
            exc.detail, pointer=f"{at}/{exc.facts['member']}", expected="a public Ed25519 JWK (RFC 8037)"
        ) from None


def roles(values: Iterable[str]) -> list[str]:
    """Known roles, at least one, sorted; an agent is no approver. Raises ``request.malformed``."""
    try:
        found = sorted({Role(value) for value in values})
    except ValueError:
        raise Malformed("unknown role", pointer="/roles", expected=f"of: {', '.join(Role)}") from None
    if not found:
        raise Malformed("no role", pointer="/roles", expected="at least one role")
    if {Role.AGENT, Role.APPROVER} <= set(found):
        # An agent's client holds its key and could approve with it: see ``stages.approval.may_answer``.
        expected = "agent or approver, not both"
        raise Malformed("agent and approver", pointer="/roles", expected=expected, problem="agent_and_approver")
    if Role.HAND in found and len(found) > 1:
        # What a hand's machine holds must open nothing else.
        raise Malformed("a hand and more", pointer="/roles", expected="hand alone, or other roles")
    return [str(role) for role in found]


def hand_scope(values: Iterable[str] | None, roles: Iterable[str] = ()) -> list[str] | None:
    """Hand ids, sorted; ``None`` for every hand. An empty scope is kept: it means no hand.

    Args:
        roles: of whom it is; a ``hand`` is always bound to the hands that it is.
    """
    if values is None:
        if Role.HAND in roles:
            raise Malformed("an unbound hand", pointer="/hands", expected="the ids of the hands that it is")
        return None
    found = sorted(set(values))
    if len(found) > HANDS_MAX or not all(HAND.fullmatch(value) for value in found):
        raise Malformed(
            "a hand scope names hands by id", pointer="/hands", expected=f"at most {HANDS_MAX} ids of hands"
        )
    return found


def grows(link: Mapping[str, Any]) -> bool:
    """Whether tokens of a link may give its principal more roles at any time: then a further credential of it is one of
    whoever it becomes."""
    return link["kind"] == "claims" and link["revoked_at"] is None


def subjects(values: Iterable[str]) -> list[str]:
    """Principals that an issuer may speak for, sorted."""
    found = sorted({identifier(value, "speaks_for") for value in values})
    if len(found) > SPEAKS_FOR_MAX:
        expected = f"at most {SPEAKS_FOR_MAX} principals"
        raise Malformed("too many", pointer="/speaks_for", expected=expected, limit=SPEAKS_FOR_MAX)
    return found


def ttl_seconds(days: object) -> int:
    """Life of an API key. Raises ``request.malformed`` for anything but 1 to 366 whole days."""
    if type(days) is not int or not 1 <= days <= TTL_MAX_DAYS:
        raise Malformed("ttl_days", pointer="/ttl_days", expected=f"1 to {TTL_MAX_DAYS} whole days", limit=TTL_MAX_DAYS)
    return days * 86_400


def mint_token() -> Minted:
    """A new API key."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return Minted(key_id, f"hr_{key_id}_{secret}", hashlib.sha256(secret.encode()).hexdigest())


def key_id_of(token: str) -> str:
    """The public part of an API key. Raises ``auth.invalid`` for what is none."""
    match = TOKEN.fullmatch(token)
    if match is None:
        raise Refused(Reason.AUTH_INVALID, "not an API key")
    return match[1]


def made_elsewhere(api_key: str) -> Minted:
    """An API key that its holder made, by what may be known of it. Raises ``request.malformed``."""
    match = KEY_REQUEST.fullmatch(api_key)
    if match is None:
        raise Malformed("api_key", pointer="/api_key", expected="hr_, 16 hex digits, a colon, 64 hex digits")
    return Minted(match[1], None, match[2])


def jwk_text(key: PublicJwk) -> str:
    """How a public key is stored: one spelling, so that equal keys are equal texts."""
    return canonical(key.document()).decode()


# --- how they are shown ----------------------------------------------------------------------------------------------


def principal_view(row: Mapping[str, Any]) -> PrincipalView:
    """A row of :meth:`DirectoryReads.principal_rows` for people."""
    return {
        "id": row["id"],
        "tenant": row["tenant"],
        "roles": json.loads(row["roles"]),
        "hands": None if row["hands"] is None else json.loads(row["hands"]),
        "created_at": format_time(row["created_at"]),
        "revoked_at": format_time(row["revoked_at"]),
        "approval_kid": None if row["approval_jwk"] is None else jwk.public(json.loads(row["approval_jwk"])).kid,
    }


def issuer_view(row: Mapping[str, Any], keys: Iterable[Mapping[str, Any]], names: Mapping[Name, str]) -> IssuerView:
    """A row of ``issuers`` and those of its keys for people.

    Args:
        names: tenant and pseudonym -> id; who is not among them is shown by pseudonym.
    """
    return {
        "id": row["issuer_id"],
        "tenant": row["tenant"],
        "keys": [
            {
                "kid": key["kid"],
                "not_before": format_time(key["not_before"]),
                "not_after": format_time(key["not_after"]),
                "revoked_at": format_time(key["revoked_at"]),
            }
            for key in keys
        ],
        "speaks_for": sorted(names.get((row["tenant"], one), one) for one in json.loads(row["speaks_for"])),
        "attests_request": row["attests_request"],
        "revoked_at": format_time(row["revoked_at"]),
    }
