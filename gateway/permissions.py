"""What each role may do: closed permissions, and the one table from roles to them.

A permission opens a route. Whether a thing behind it is *theirs* is a second question: who has ``plans.read`` without
``plans.read_all`` sees the plans of their own, and everything else looks absent.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.errors import Refused
from gateway.model import Principal, Role
from gateway.reasons import Reason


class Permission(StrEnum):
    """Closed; each names one thing that can be done."""

    ME = "me"
    TRUST = "trust"
    PLANS_SUBMIT = "plans.submit"
    PLANS_READ = "plans.read"
    PLANS_READ_ALL = "plans.read_all"
    RECEIPTS_READ = "receipts.read"
    STEPS_CLAIM = "steps.claim"
    """Learn of the work of one's hand, claim a step of it, and return its result."""
    WHY = "why"
    APPROVALS_READ = "approvals.read"
    APPROVALS_ANSWER = "approvals.answer"
    CONNECTIONS_OWN = "connections.own"
    """Let the gateway act for oneself at a service, see that, and take it back. Nobody consents for somebody else."""
    CONNECTIONS_END = "connections.end"
    """See which services somebody has connected, and end that."""
    AGENTS_MANAGE = "agents.manage"
    """Have sessions of managed agents followed or let go, and set the permission policies of agents there."""
    AGENTS_READ = "agents.read"
    AUDIT_READ = "audit.read"
    AUDIT_PAYLOADS = "audit.payloads"
    """Take the values that entries commit to out of the log: arguments and results, personal data among them."""
    DEAD_LETTERS_READ = "dead_letters.read"
    DEAD_LETTERS_SETTLE = "dead_letters.settle"
    """Have a step that ended in doubt, or did not reach its hand, tried again, or say that it is done with."""
    FREEZES_READ = "freezes.read"
    FREEZES_SET = "freezes.set"
    """Stop a hand, a principal, a context or everything, at once and alone."""
    FREEZES_LIFT = "freezes.lift"
    """Propose that a freeze be lifted, or be the second person to say so."""
    HANDS_LIST = "hands.list"
    HANDS_MANAGE = "hands.manage"
    ISSUERS_MANAGE = "issuers.manage"
    KEYS_READ = "keys.read"
    KEYS_MANAGE = "keys.manage"
    MCP_USE = "mcp.use"
    METRICS_READ = "metrics.read"
    POLICY_INPUTS = "policy.inputs"
    """Recorded policy inputs in bulk: arguments of calls, personal data among them."""
    POLICY_READ = "policy.read"
    POLICY_PROPOSE = "policy.propose"
    POLICY_ACTIVATE = "policy.activate"
    POLICY_ROLLBACK = "policy.rollback"
    """Go back to a bundle that two people activated before."""
    POLICY_SHADOW = "policy.shadow"
    """Have a candidate bundle judge beside the active one, without effect."""
    PRINCIPALS_MANAGE = "principals.manage"
    PRIVACY_ACCESS = "privacy.access"
    """Export everything held about one person, values in clear."""
    PRIVACY_ERASE = "privacy.erase"
    PRIVACY_HOLD = "privacy.hold"
    """Set and lift what stands against an erasure."""
    PROPOSALS_READ = "proposals.read"
    PROPOSALS_MAKE = "proposals.make"
    """Propose, and take back; what may be proposed is a permission of each kind (``two_person.RULES``)."""
    PROPOSALS_ACTIVATE = "proposals.activate"
    """Activate; which kinds is a permission of each kind."""
    SECRETS_MANAGE = "secrets.manage"
    """See which secrets there are, set, rotate and remove them. Nobody may see a value."""


EVERYONE: Final = frozenset({Permission.ME, Permission.TRUST})
"""What every authenticated principal may do, whatever its roles."""

ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.AGENT: frozenset(
            {
                Permission.PLANS_SUBMIT,
                Permission.PLANS_READ,
                Permission.RECEIPTS_READ,
                Permission.HANDS_LIST,
                Permission.MCP_USE,
                Permission.CONNECTIONS_OWN,
            }
        ),
        Role.AUTHOR: frozenset(
            {
                Permission.POLICY_INPUTS,
                Permission.POLICY_READ,
                Permission.POLICY_PROPOSE,
                Permission.POLICY_SHADOW,
                Permission.PROPOSALS_READ,
                Permission.PROPOSALS_MAKE,
                Permission.WHY,
                Permission.HANDS_LIST,
            }
        ),
        Role.APPROVER: frozenset(
            {
                Permission.APPROVALS_READ,
                Permission.APPROVALS_ANSWER,
                Permission.PLANS_READ,
                Permission.PLANS_READ_ALL,
            }
        ),
        Role.AUDITOR: frozenset(
            {
                Permission.AUDIT_READ,
                Permission.AUDIT_PAYLOADS,
                Permission.DEAD_LETTERS_READ,
                Permission.FREEZES_READ,
                Permission.PLANS_READ,
                Permission.PLANS_READ_ALL,
                Permission.RECEIPTS_READ,
                Permission.APPROVALS_READ,
                Permission.METRICS_READ,
                Permission.KEYS_READ,
                Permission.POLICY_INPUTS,
                Permission.POLICY_READ,
                Permission.PROPOSALS_READ,
                Permission.WHY,
            }
        ),
        Role.SECURITY_ADMIN: frozenset(
            {
                Permission.FREEZES_READ,
                Permission.FREEZES_SET,
                Permission.FREEZES_LIFT,
                Permission.PROPOSALS_READ,
                Permission.PROPOSALS_MAKE,
                Permission.PROPOSALS_ACTIVATE,
                Permission.KEYS_READ,
                Permission.KEYS_MANAGE,
                Permission.ISSUERS_MANAGE,
                Permission.PRINCIPALS_MANAGE,
                Permission.CONNECTIONS_END,
                Permission.SECRETS_MANAGE,
                Permission.POLICY_READ,
                Permission.POLICY_ROLLBACK,
            }
        ),
        Role.PRIVACY_OFFICER: frozenset(
            {
                Permission.PRIVACY_ACCESS,
                Permission.PRIVACY_ERASE,
                Permission.PRIVACY_HOLD,
            }
        ),
        Role.HAND: frozenset({Permission.STEPS_CLAIM}),
        Role.OPERATOR: frozenset(
            {
                Permission.AGENTS_MANAGE,
                Permission.AGENTS_READ,
                Permission.FREEZES_READ,
                Permission.FREEZES_SET,
                Permission.FREEZES_LIFT,
                Permission.DEAD_LETTERS_READ,
                Permission.DEAD_LETTERS_SETTLE,
                Permission.HANDS_MANAGE,
                Permission.HANDS_LIST,
                Permission.METRICS_READ,
                Permission.POLICY_READ,
                Permission.POLICY_PROPOSE,
                Permission.POLICY_SHADOW,
                Permission.POLICY_ACTIVATE,
                Permission.POLICY_ROLLBACK,
                Permission.PROPOSALS_READ,
                Permission.PROPOSALS_MAKE,
                Permission.PROPOSALS_ACTIVATE,
                Permission.PLANS_READ,
                Permission.PLANS_READ_ALL,
            }
        ),
    }
)
"""Role -> what it may do beyond :data:`EVERYONE`. No role may both manage principals and submit plans or answer."""


WHILE_FROZEN: Final = EVERYONE
"""What a frozen principal may still do: learn who it is, and why nothing else works."""


SIGNING: Final = frozenset({Permission.APPROVALS_ANSWER, Permission.PROPOSALS_ACTIVATE})
"""What people may sign with security keys of their own."""
PAGES: Final = frozenset({Permission.APPROVALS_READ, Permission.PROPOSALS_READ})
"""One of these opens the pages for people."""


def permits(principal: Principal, permission: Permission) -> bool:
    """Whether any of the principal's roles has ``permission``; to choose what to show, not to let in."""
    return permission in EVERYONE or any(permission in ROLE_PERMISSIONS[role] for role in principal.roles)


def signs(principal: Principal) -> bool:
    """Whether there is anything that the principal may sign with a security key."""
    return any(permits(principal, permission) for permission in SIGNING)


def require(principal: Principal, permission: Permission) -> None:
    """Let a principal through, or not.

    Raises:
        Refused: ``auth.forbidden``.
    """
    if not permits(principal, permission):
        raise Refused(Reason.AUTH_FORBIDDEN, f"needs {permission}")
