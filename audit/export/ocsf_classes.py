"""Which OCSF event each entry type becomes. Data alone; :mod:`audit.export.ocsf` writes the events.

Source: the OCSF schema 1.8.0 (schema.ocsf.io), the newest that was published when this was written. The profile
``record_integrity`` stands only in the draft of the version after it, so events do not claim it; the bytes that the
log hashed and their SHA-256 are in ``raw_data`` and ``raw_data_hash`` of every event.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.entries import EntryType

VERSION: Final = "1.8.0"


class OcsfClass(IntEnum):
    """Class uid."""

    AUTHENTICATION = 3002
    AUTHORIZE_SESSION = 3003
    ENTITY_MANAGEMENT = 3004
    NETWORK_ACTIVITY = 4001
    API_ACTIVITY = 6003


class Severity(IntEnum):
    """Severity id."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


class Status(IntEnum):
    """Status id."""

    SUCCESS = 1
    FAILURE = 2
    OTHER = 99


OTHER: Final = 99
"""Activity of every class that is none of those that it names; the event then names it in ``activity_name``."""


@dataclass(frozen=True, slots=True)
class Event:
    """How one entry type is told.

    Attributes:
        activity: id, of the class.
        entity: what kind of thing an Entity Management event is about.
    """

    ocsf: OcsfClass
    activity: int
    status: Status = Status.SUCCESS
    severity: Severity = Severity.INFORMATIONAL
    entity: str = ""


_API, _AUTH, _PRIVILEGES = OcsfClass.API_ACTIVITY, OcsfClass.AUTHENTICATION, OcsfClass.AUTHORIZE_SESSION
_ENTITY, _NET = OcsfClass.ENTITY_MANAGEMENT, OcsfClass.NETWORK_ACTIVITY
_CREATE, _READ, _UPDATE, _DELETE = 1, 2, 3, 4
_ENROLL, _ENABLE, _DISABLE, _ACTIVATE, _DEACTIVATE, _SUSPEND, _RESUME = 6, 8, 9, 10, 11, 12, 13
_FAILED, _OTHER = Status.FAILURE, Status.OTHER
_LOW, _MEDIUM, _HIGH = Severity.LOW, Severity.MEDIUM, Severity.HIGH

EVENTS: Final[dict[EntryType, Event]] = {
    EntryType.PLAN_RECEIVED: Event(_API, _CREATE),
    EntryType.SIGNATURE_REJECTED: Event(_API, _CREATE, _FAILED, _MEDIUM),
    EntryType.SCHEMA_REJECTED: Event(_API, _CREATE, _FAILED, _LOW),
    EntryType.POLICY_ALLOWED: Event(_API, OTHER),
    EntryType.POLICY_DENIED: Event(_API, OTHER, _FAILED, _MEDIUM),
    EntryType.POLICY_OBSERVED: Event(_API, OTHER, _OTHER, _LOW),
    EntryType.APPROVAL_REQUESTED: Event(_API, OTHER, _OTHER),
    EntryType.APPROVAL_GRANTED: Event(_API, OTHER),
    EntryType.APPROVAL_REFUSED: Event(_API, OTHER, _FAILED, _LOW),
    EntryType.APPROVAL_EXPIRED: Event(_API, OTHER, _FAILED, _LOW),
    EntryType.APPROVAL_VOIDED: Event(_API, OTHER, _FAILED, _LOW),
    EntryType.APPROVAL_REBOUND: Event(_API, OTHER, _OTHER),
    EntryType.CREDENTIAL_ISSUED: Event(_PRIVILEGES, 1),
    EntryType.CREDENTIAL_EXPIRED: Event(_PRIVILEGES, OTHER, _OTHER),
    EntryType.CREDENTIAL_REFUSED: Event(_PRIVILEGES, 1, _FAILED, _MEDIUM),
    EntryType.STEP_DISPATCHED: Event(_API, OTHER, _OTHER),
    EntryType.STEP_EXECUTED: Event(_API, OTHER),
    EntryType.STEP_FAILED: Event(_API, OTHER, _FAILED, _LOW),
    EntryType.STEP_AMBIGUOUS: Event(_API, OTHER, _OTHER, _MEDIUM),
    EntryType.STEP_SKIPPED: Event(_API, OTHER, _OTHER),
    EntryType.STEP_CANCELLED: Event(_API, OTHER, _OTHER),
    EntryType.RESULT_REDACTED: Event(_API, _UPDATE),
    EntryType.STEP_RELEASED: Event(_API, _READ),
    EntryType.STEP_REPORTED: Event(_API, OTHER, _OTHER),
    EntryType.EGRESS_CONNECTED: Event(_NET, 1),
    EntryType.EGRESS_REFUSED: Event(_NET, 5, _FAILED, _MEDIUM),
    EntryType.KEY_CREATED: Event(_ENTITY, _CREATE, entity="key"),
    EntryType.KEY_ROTATED: Event(_ENTITY, _UPDATE, entity="key"),
    EntryType.KEY_REVOKED: Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="key"),
    EntryType.POLICY_PROPOSED: Event(_ENTITY, _CREATE, entity="policy"),
    EntryType.POLICY_ACTIVATED: Event(_ENTITY, _ACTIVATE, entity="policy"),
    EntryType.POLICY_LOADED: Event(_ENTITY, _ACTIVATE, entity="policy"),
    EntryType.POLICY_REJECTED: Event(_ENTITY, _ACTIVATE, _FAILED, _HIGH, "policy"),
    EntryType.POLICY_ROLLED_BACK: Event(_ENTITY, _ACTIVATE, severity=_MEDIUM, entity="policy"),
    EntryType.POLICY_PULLED: Event(_ENTITY, _READ, entity="policy"),
    EntryType.POLICY_PULL_FAILED: Event(_ENTITY, _READ, _FAILED, _MEDIUM, "policy"),
    EntryType.SHADOW_STARTED: Event(_ENTITY, _ENABLE, entity="shadow"),
    EntryType.SHADOW_ENDED: Event(_ENTITY, _DISABLE, entity="shadow"),
    EntryType.CANARY_STOPPED: Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="canary"),
    EntryType.PROPOSAL_MADE: Event(_ENTITY, _CREATE, entity="proposal"),
    EntryType.PROPOSAL_ACTIVATED: Event(_ENTITY, _ACTIVATE, entity="proposal"),
    EntryType.PROPOSAL_WITHDRAWN: Event(_ENTITY, _DELETE, entity="proposal"),
    EntryType.PROPOSAL_EXPIRED: Event(_ENTITY, _DEACTIVATE, entity="proposal"),
    EntryType.PROPOSAL_ENDED: Event(_ENTITY, _DEACTIVATE, entity="proposal"),
    EntryType.HAND_REGISTERED: Event(_ENTITY, _ENROLL, entity="hand"),
    EntryType.HAND_DRIFTED: Event(_ENTITY, _UPDATE, _FAILED, _HIGH, "hand"),
    EntryType.HAND_DISABLED: Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="hand"),
    EntryType.PRINCIPAL_CHANGED: Event(_ENTITY, _UPDATE, entity="principal"),
    EntryType.ISSUER_CHANGED: Event(_ENTITY, _UPDATE, entity="issuer"),
    EntryType.SESSION_OPENED: Event(_AUTH, 1),
    EntryType.SESSION_CLOSED: Event(_AUTH, 2),
    EntryType.ACCESS_REFUSED: Event(_AUTH, 1, _FAILED, _MEDIUM),
    EntryType.FROZEN: Event(_ENTITY, _SUSPEND, severity=_HIGH, entity="gateway"),
    EntryType.UNFROZEN: Event(_ENTITY, _RESUME, severity=_MEDIUM, entity="gateway"),
    EntryType.BACKUP_MADE: Event(_ENTITY, _CREATE, entity="backup"),
    EntryType.BACKUP_RESTORED: Event(_ENTITY, _UPDATE, severity=_HIGH, entity="log"),
    EntryType.LOG_OPENED: Event(_ENTITY, _CREATE, entity="log"),
    EntryType.LOG_VERIFIED: Event(_ENTITY, _READ, entity="log"),
    EntryType.AUDIT_QUERIED: Event(_API, _READ),
    EntryType.EXPORT_MADE: Event(_API, _READ, severity=_LOW),
    EntryType.ERASURE_DONE: Event(_ENTITY, _DELETE, severity=_LOW, entity="personal data"),
    EntryType.RETENTION_APPLIED: Event(_ENTITY, _DELETE, severity=_LOW, entity="log"),
    EntryType.HOLD_SET: Event(_ENTITY, _ENABLE, entity="legal hold"),
    EntryType.HOLD_LIFTED: Event(_ENTITY, _DISABLE, entity="legal hold"),
    EntryType.CONFIGURATION_CHANGED: Event(_ENTITY, _UPDATE, severity=_LOW, entity="configuration"),
}
"""Every entry type; a test holds that."""
