"""Everything that can be asked of a gateway, described once, without I/O.

An operation is a generator: it yields a :class:`~handrail.exchange.Request`, is sent the
:class:`~handrail.exchange.Reply`, as often as it needs, and returns its result. :mod:`handrail.client` drives the same
generators over a blocking and over an asynchronous connection.
"""

from handrail.operations import (
    approvals,
    calls,
    connections,
    dead_letters,
    freezes,
    gateway,
    hands,
    issuers,
    keys,
    managed_agents,
    plans,
    policy,
    principals,
    proposals,
    runs,
    secrets,
)

__all__ = [
    "approvals",
    "calls",
    "connections",
    "dead_letters",
    "freezes",
    "gateway",
    "hands",
    "issuers",
    "keys",
    "managed_agents",
    "plans",
    "policy",
    "principals",
    "proposals",
    "runs",
    "secrets",
]
