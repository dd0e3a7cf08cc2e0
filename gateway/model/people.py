"""Who calls, and who signs plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

DEFAULT_TENANT: Final = "default"
"""The tenant of a gateway that serves one organisation, and of entries about the gateway itself."""
EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
CONNECTOR_PREFIX: Final = "connector:"
"""Issuers with this prefix are the gateway's own ingresses; nobody can register one."""
RETRIES: Final = f"{CONNECTOR_PREFIX}retries"
"""The gateway itself, where a person has it try a dead letter again. It alone says what a plan retries."""
RUNS: Final = f"{CONNECTOR_PREFIX}runs"
"""The gateway itself, where it asks a model and does what that says. It alone says which turn of a run a plan is."""
MESSAGES_API: Final = f"{CONNECTOR_PREFIX}anthropic"
"""The ingress of the Messages API. It alone knows whose a batch is."""


class Role(StrEnum):
    """Closed roles of principals. What each may do is ``gateway.permissions``."""

    AGENT = "agent"
    AUTHOR = "author"
    APPROVER = "approver"
    AUDITOR = "auditor"
    SECURITY_ADMIN = "security_admin"
    OPERATOR = "operator"
    PRIVACY_OFFICER = "privacy_officer"
    HAND = "hand"


TRUSTED: Final = frozenset(Role) - {Role.AGENT, Role.AUDITOR}
"""Roles that decide, or that calls are handed to: who has one was agreed to by several, or said twice in the
configuration. Agents ask and auditors read.
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    Attributes:
        id: stable identifier, unique in the tenant.
        pseudonym: random identifier that stands for the principal in log entries.
        hands: the hands this principal may see; ``None`` means every hand of the tenant.
        approval_jwk: public Ed25519 JWK with which the person signs approvals, where one is enrolled.
    """

    id: str
    tenant: str
    pseudonym: str
    roles: frozenset[Role]
    hands: frozenset[str] | None = None
    approval_jwk: Mapping[str, str] | None = None

    def may_use(self, hand: str) -> bool:
        """Whether ``hand`` is within this principal's scope."""
        return self.hands is None or hand in self.hands


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller showed. Whatever outlives their request ends with it.

    Attributes:
        key_id: of an API key.
        links: ids of the links of an access token's subject, or of a certificate.
    """

    key_id: str | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key of an issuer with its validity (seconds since the epoch; ``None`` is unbounded).

    Attributes:
        covered_size: of a revoked key of the gateway's own: plans that the log received below this index were signed
            before the key was in wrong hands.
    """

    kid: str
    jwk: Mapping[str, str]
    not_before: int
    not_after: int | None = None
    revoked_at: int | None = None
    covered_size: int | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may sign plans.

    Attributes:
        speaks_for: principals, beside the caller itself, in whose name it may sign.
        attests_request: whether its ``request`` (the user's words) counts as trusted provenance.
    """

    id: str
    tenant: str
    keys: Mapping[str, IssuerKey]
    speaks_for: frozenset[str] = frozenset()
    attests_request: bool = False
