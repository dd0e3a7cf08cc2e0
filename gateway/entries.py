"""The closed set of audit entry types, each with a stable six-character code (success and failure apart)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.commitments import Committed
from gateway.model import EMPTY


class EntryType(StrEnum):
    """What happened. The value is the stable code that an entry carries."""

    PLAN_RECEIVED = "PLNRCV"
    SIGNATURE_REJECTED = "SIGREJ"
    SCHEMA_REJECTED = "SCHREJ"
    POLICY_ALLOWED = "POLALW"
    POLICY_DENIED = "POLDNY"
    POLICY_OBSERVED = "POLOBS"
    APPROVAL_REQUESTED = "APRREQ"
    APPROVAL_GRANTED = "APRGRT"
    APPROVAL_REFUSED = "APRREF"
    APPROVAL_EXPIRED = "APREXP"
    APPROVAL_VOIDED = "APRVOI"
    APPROVAL_REBOUND = "APRREB"
    CREDENTIAL_ISSUED = "CRDISS"
    CREDENTIAL_RENEWED = "CRDREN"
    CREDENTIAL_EXPIRED = "CRDEXP"
    CREDENTIAL_REFUSED = "CRDREF"
    STEP_DISPATCHED = "STPDSP"
    STEP_EXECUTED = "STPEXE"
    STEP_FAILED = "STPFAI"
    STEP_AMBIGUOUS = "STPAMB"
    STEP_SKIPPED = "STPSKP"
    STEP_CANCELLED = "STPCAN"
    STEP_RETRIED = "STPRTY"
    STEP_DISCARDED = "STPDSC"
    RUN_STARTED = "RUNSTA"
    RUN_ENDED = "RUNEND"
    RESULT_REDACTED = "RESRED"
    RESULT_REFUSED = "RESREF"
    STEP_RELEASED = "STPREL"
    STEP_REPORTED = "STPREP"
    EGRESS_CONNECTED = "EGRCON"
    EGRESS_REFUSED = "EGRREF"
    EGRESS_ENDED = "EGREND"
    KEY_CREATED = "KEYCRE"
    KEY_ROTATED = "KEYROT"
    KEY_REVOKED = "KEYREV"
    POLICY_PROPOSED = "POLPRO"
    POLICY_ACTIVATED = "POLACT"
    POLICY_LOADED = "POLLOD"
    POLICY_REJECTED = "POLREJ"
    POLICY_ROLLED_BACK = "POLRBK"
    POLICY_PULLED = "POLPUL"
    POLICY_PULL_FAILED = "POLPLF"
    SHADOW_STARTED = "SHDSTA"
    SHADOW_ENDED = "SHDEND"
    CANARY_STOPPED = "CNRSTP"
    PROPOSAL_MADE = "PRPMAD"
    PROPOSAL_SIGNED = "PRPSGN"
    PROPOSAL_ACTIVATED = "PRPACT"
    PROPOSAL_WITHDRAWN = "PRPWDR"
    PROPOSAL_EXPIRED = "PRPEXP"
    PROPOSAL_ENDED = "PRPEND"
    SECRET_SET = "SECSET"
    SECRET_ROTATED = "SECROT"
    SECRET_REMOVED = "SECREM"
    SECRET_USED = "SECUSE"
    SECRET_ECHOED = "SECECH"
    CONNECTION_GRANTED = "CONGRT"
    CONNECTION_REFRESHED = "CONRFR"
    CONNECTION_LOST = "CONLST"
    CONNECTION_REMOVED = "CONREM"
    CONNECTION_REFUSED = "CONREF"
    CONNECTION_FAILED = "CONFAI"
    AGENT_SESSION_ADOPTED = "AGSADP"
    AGENT_SESSION_ENDED = "AGSEND"
    AGENT_ANSWERED = "AGSANS"
    AGENT_ANSWER_AMBIGUOUS = "AGSAMB"
    AGENT_BYPASSED = "AGSBYP"
    AGENT_POLICIES_SET = "AGSPOL"
    HAND_REGISTERED = "HNDREG"
    HAND_DRIFTED = "HNDDRF"
    HAND_DISABLED = "HNDDIS"
    PRINCIPAL_CHANGED = "PRNCHG"
    ISSUER_CHANGED = "ISSCHG"
    SESSION_OPENED = "SESOPN"
    SESSION_CLOSED = "SESCLO"
    ACCESS_REFUSED = "ACCREF"
    ACCESS_REVIEWED = "ACCREV"
    FROZEN = "FRZSET"
    UNFROZEN = "FRZLFT"
    BACKUP_MADE = "BAKMAD"
    BACKUP_RESTORED = "BAKRST"
    LOG_OPENED = "LOGOPN"
    LOG_VERIFIED = "LOGVER"
    AUDIT_QUERIED = "AUDQRY"
    EXPORT_MADE = "EXPMAD"
    ERASURE_REQUESTED = "ERAREQ"
    ERASURE_DONE = "ERADON"
    ERASURE_REFUSED = "ERAREF"
    RETENTION_APPLIED = "RETAPP"
    HOLD_SET = "HLDSET"
    HOLD_LIFTED = "HLDLFT"
    ENTRIES_HELD = "ENTHLD"
    ENTRIES_RELEASED = "ENTRLS"
    CONFIGURATION_CHANGED = "CFGCHG"


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """An entry before the writer gives it time, origin and index.

    Attributes:
        principal: the pseudonym, never an id or a name.
        reasons: codes only.
        facts: non-personal scalars (counts, kids, digests) that the entry carries in clear.
        fields: name -> committed value that this append stores in the side table.
        commitments: name -> commitment of values stored before, which this entry commits to as well. The entry
            carries one root over both (``commitments.fields_root``).
    """

    type: EntryType
    tenant: str
    context_id: str | None = None
    plan_id: str | None = None
    step_id: str | None = None
    principal: str | None = None
    hand: str | None = None
    action: str | None = None
    effect: str | None = None
    reasons: tuple[str, ...] = ()
    policy_digest: str | None = None
    manifest_digest: str | None = None
    facts: Mapping[str, str | int] = field(default_factory=lambda: EMPTY)
    fields: Mapping[str, Committed] = field(default_factory=lambda: EMPTY)
    commitments: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    def all_commitments(self) -> dict[str, str]:
        """Name -> commitment of every personal field that the entry commits to."""
        return {**self.commitments, **{name: value.commitment for name, value in self.fields.items()}}


LABELS: Final[dict[EntryType, str]] = {
    entry_type: entry_type.name.lower().replace("_", " ") for entry_type in EntryType
}
"""Code -> the words people read."""

STEPS: Final = frozenset(
    {
        EntryType.POLICY_ALLOWED,
        EntryType.POLICY_OBSERVED,
        EntryType.POLICY_DENIED,
        EntryType.APPROVAL_REQUESTED,
        EntryType.APPROVAL_EXPIRED,
        EntryType.APPROVAL_VOIDED,
        EntryType.APPROVAL_REBOUND,
        EntryType.STEP_DISPATCHED,
        EntryType.STEP_EXECUTED,
        EntryType.STEP_FAILED,
        EntryType.STEP_AMBIGUOUS,
        EntryType.STEP_SKIPPED,
        EntryType.STEP_CANCELLED,
        EntryType.STEP_RELEASED,
    }
)
"""What moves a step that was judged. What a client reports of a released one moves it no more."""

PAST: Final = STEPS | {EntryType.PLAN_RECEIVED, EntryType.STEP_REPORTED}
"""What a later decision in the same context, or for the same principal, may rest on."""

STANDING: Final = frozenset(
    {
        EntryType.KEY_CREATED,
        EntryType.KEY_ROTATED,
        EntryType.KEY_REVOKED,
        EntryType.POLICY_PROPOSED,
        EntryType.POLICY_ACTIVATED,
        EntryType.POLICY_LOADED,
        EntryType.POLICY_ROLLED_BACK,
        EntryType.SHADOW_STARTED,
        EntryType.SHADOW_ENDED,
        EntryType.CANARY_STOPPED,
        EntryType.PROPOSAL_MADE,
        EntryType.PROPOSAL_SIGNED,
        EntryType.PROPOSAL_ACTIVATED,
        EntryType.PROPOSAL_WITHDRAWN,
        EntryType.PROPOSAL_EXPIRED,
        EntryType.PROPOSAL_ENDED,
        EntryType.SECRET_SET,
        EntryType.SECRET_ROTATED,
        EntryType.SECRET_REMOVED,
        EntryType.CONNECTION_GRANTED,
        EntryType.CONNECTION_LOST,
        EntryType.CONNECTION_REMOVED,
        EntryType.HAND_REGISTERED,
        EntryType.HAND_DISABLED,
        EntryType.PRINCIPAL_CHANGED,
        EntryType.ISSUER_CHANGED,
        EntryType.FROZEN,
        EntryType.UNFROZEN,
        EntryType.BACKUP_RESTORED,
        EntryType.LOG_OPENED,
        EntryType.ERASURE_REQUESTED,
        EntryType.ERASURE_DONE,
        EntryType.RETENTION_APPLIED,
        EntryType.HOLD_SET,
        EntryType.HOLD_LIFTED,
        EntryType.ENTRIES_HELD,
        EntryType.ENTRIES_RELEASED,
        EntryType.CONFIGURATION_CHANGED,
    }
)
"""What holds until something else is said: who may do what, by which keys and rules, and what was erased, held or
dropped. Stored rows are believed as far as these vouch for them, so they outlive the retention of the log."""

COMMON: Final = frozenset(
    {
        EntryType.KEY_CREATED,
        EntryType.KEY_ROTATED,
        EntryType.KEY_REVOKED,
        EntryType.POLICY_ACTIVATED,
        EntryType.POLICY_LOADED,
        EntryType.POLICY_ROLLED_BACK,
        EntryType.LOG_OPENED,
        EntryType.LOG_VERIFIED,
        EntryType.BACKUP_MADE,
        EntryType.BACKUP_RESTORED,
        EntryType.RETENTION_APPLIED,
    }
)
"""What is about no hand and yet says what every hand's entries are worth: by which keys and policies, and in which log
they stand. A reader who is bound to hands sees these beside those of their hands, and nothing else."""

FORGETTING: Final = frozenset(
    {
        EntryType.ERASURE_REQUESTED,
        EntryType.ERASURE_DONE,
        EntryType.KEY_ROTATED,
        EntryType.RETENTION_APPLIED,
    }
)
"""Whoever sees one of these in the log forgets the data keys, and what was read by them, that are kept in memory."""

OUTDATING: Final = FORGETTING | {
    EntryType.SECRET_SET,
    EntryType.SECRET_ROTATED,
    EntryType.SECRET_REMOVED,
    EntryType.CONNECTION_GRANTED,
    EntryType.CONNECTION_LOST,
    EntryType.CONNECTION_REMOVED,
    EntryType.HAND_REGISTERED,
    EntryType.FROZEN,
}
"""Whoever sees one of these in the log gives no answer of a hand from before again (``gateway.cached_results``)."""

FREEZING: Final = frozenset({EntryType.FROZEN, EntryType.UNFROZEN})
"""What freezes something, or lifts a freeze: the log is the only table of freezes."""

UNWRITTEN: Final[frozenset[EntryType]] = frozenset(
    {
        EntryType.CREDENTIAL_EXPIRED,
        EntryType.HAND_DISABLED,
        EntryType.CONFIGURATION_CHANGED,
    }
)
"""Types that no code writes yet: their codes are taken, but an auditor must not wait for them (tested both ways)."""
