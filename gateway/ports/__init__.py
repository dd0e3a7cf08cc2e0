"""What the pipeline needs from the rest of Handrail, as protocols. ``audit``, ``keys``, ``hand_adapters``,
``gateway.policy`` and ``gateway.store`` implement them; only ``gateway.app`` joins them.

Every method raises ``gateway.errors.HandrailError`` and nothing else.
"""

from gateway.ports.freezes import Freezes, FreezeStore, Journal
from gateway.ports.hands import Courier, HandFailure, Hands, Peer, Runs
from gateway.ports.keys import Credentials, Proof, Proofs, Purpose, Signer, Typ
from gateway.ports.letters import Letter, Letters, LetterStatus, Settled, Verdict
from gateway.ports.log import Append, AuditLog, Guard, Naming, Payloads, Unless, Write
from gateway.ports.offers import Move, Offer, Offers, OfferStatus
from gateway.ports.past import FREEZES, Contexts, Logged, LoggedStep, Others, Past, Topic, TopicKind
from gateway.ports.policy import PolicyEngine
from gateway.ports.proposals import ProposalStore
from gateway.ports.secrets import PersonalTokens, Secrets, SecretStep, SecretStore, SecretValue, Target
from gateway.ports.stored import ApprovalAnswer, ApprovalRow, StoredCall, StoredPlan, StoredReport, StoredStep
from gateway.ports.stores import ClientMove, Directory, PlanStore, Standing

__all__ = [
    "FREEZES",
    "Append",
    "ApprovalAnswer",
    "ApprovalRow",
    "AuditLog",
    "ClientMove",
    "Contexts",
    "Courier",
    "Credentials",
    "Directory",
    "FreezeStore",
    "Freezes",
    "Guard",
    "HandFailure",
    "Hands",
    "Journal",
    "Letter",
    "LetterStatus",
    "Letters",
    "Logged",
    "LoggedStep",
    "Move",
    "Naming",
    "Offer",
    "OfferStatus",
    "Offers",
    "Others",
    "Past",
    "Payloads",
    "Peer",
    "PersonalTokens",
    "PlanStore",
    "PolicyEngine",
    "Proof",
    "Proofs",
    "ProposalStore",
    "Purpose",
    "Runs",
    "SecretStep",
    "SecretStore",
    "SecretValue",
    "Secrets",
    "Settled",
    "Signer",
    "Standing",
    "StoredCall",
    "StoredPlan",
    "StoredReport",
    "StoredStep",
    "Target",
    "Topic",
    "TopicKind",
    "Typ",
    "Unless",
    "Verdict",
    "Write",
]
