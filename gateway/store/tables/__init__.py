"""Tables of everything but the log itself. Rows hold ids, states and commitments; personal values lie sealed in the
log's side table (``audit.tables.payloads``) and are found by commitment.
"""

from gateway.store.tables.base import metadata
from gateway.store.tables.changes import (
    policy_activations,
    policy_bundles,
    policy_comparisons,
    policy_shadows,
    proposal_acts,
    proposal_signatures,
    proposals,
)
from gateway.store.tables.client_calls import client_calls
from gateway.store.tables.client_steps import client_moves
from gateway.store.tables.connections import connection_grants, spent_consents
from gateway.store.tables.kept import hand_pins, secrets, signing_keys
from gateway.store.tables.leases import leases
from gateway.store.tables.letters import dead_letter_ends, dead_letters
from gateway.store.tables.managed_agents import managed_sessions, managed_uses
from gateway.store.tables.offers import offer_moves, offers
from gateway.store.tables.people import (
    api_keys,
    identity_links,
    issuer_keys,
    issuers,
    principals,
    security_keys,
    sessions,
)
from gateway.store.tables.plans import (
    approval_answers,
    approval_ends,
    approvals,
    contexts,
    fates,
    outbox,
    plans,
    replays,
    steps,
)
from gateway.store.tables.runs import run_turns, runs

__all__ = [
    "api_keys",
    "approval_answers",
    "approval_ends",
    "approvals",
    "client_calls",
    "client_moves",
    "connection_grants",
    "contexts",
    "dead_letter_ends",
    "dead_letters",
    "fates",
    "hand_pins",
    "identity_links",
    "issuer_keys",
    "issuers",
    "leases",
    "managed_sessions",
    "managed_uses",
    "metadata",
    "offer_moves",
    "offers",
    "outbox",
    "plans",
    "policy_activations",
    "policy_bundles",
    "policy_comparisons",
    "policy_shadows",
    "principals",
    "proposal_acts",
    "proposal_signatures",
    "proposals",
    "replays",
    "run_turns",
    "runs",
    "secrets",
    "security_keys",
    "sessions",
    "signing_keys",
    "spent_consents",
    "steps",
]
