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

_BY_NAME: Final = {
    "PLAN_RECEIVED": Event(_API, _CREATE),
    "SIGNATURE_REJECTED": Event(_API, _CREATE, _FAILED, _MEDIUM),
    "SCHEMA_REJECTED": Event(_API, _CREATE, _FAILED, _LOW),
    "POLICY_ALLOWED": Event(_API, OTHER),
    "POLICY_DENIED": Event(_API, OTHER, _FAILED, _MEDIUM),
    "POLICY_OBSERVED": Event(_API, OTHER, _OTHER, _LOW),
    "APPROVAL_REQUESTED": Event(_API, OTHER, _OTHER),
    "APPROVAL_GRANTED": Event(_API, OTHER),
    "APPROVAL_REFUSED": Event(_API, OTHER, _FAILED, _LOW),
    "APPROVAL_EXPIRED": Event(_API, OTHER, _FAILED, _LOW),
    "APPROVAL_VOIDED": Event(_API, OTHER, _FAILED, _LOW),
    "APPROVAL_REBOUND": Event(_API, OTHER, _OTHER),
    "CREDENTIAL_ISSUED": Event(_PRIVILEGES, 1),
    "CREDENTIAL_RENEWED": Event(_PRIVILEGES, 1, severity=_LOW),
    "CREDENTIAL_EXPIRED": Event(_PRIVILEGES, OTHER, _OTHER),
    "CREDENTIAL_REFUSED": Event(_PRIVILEGES, 1, _FAILED, _MEDIUM),
    "STEP_DISPATCHED": Event(_API, OTHER, _OTHER),
    "STEP_EXECUTED": Event(_API, OTHER),
    "STEP_FAILED": Event(_API, OTHER, _FAILED, _LOW),
    "STEP_AMBIGUOUS": Event(_API, OTHER, _OTHER, _MEDIUM),
    "STEP_SKIPPED": Event(_API, OTHER, _OTHER),
    "STEP_CANCELLED": Event(_API, OTHER, _OTHER),
    "STEP_RETRIED": Event(_API, OTHER),
    "STEP_DISCARDED": Event(_API, OTHER),
    "RUN_STARTED": Event(_API, OTHER),
    "RUN_ENDED": Event(_API, OTHER),
    "RESULT_REDACTED": Event(_API, _UPDATE),
    "RESULT_REFUSED": Event(_API, OTHER, _FAILED, _MEDIUM),
    "STEP_RELEASED": Event(_API, _READ),
    "STEP_REPORTED": Event(_API, OTHER, _OTHER),
    "EGRESS_CONNECTED": Event(_NET, 1),
    "EGRESS_REFUSED": Event(_NET, 5, _FAILED, _MEDIUM),
    "EGRESS_ENDED": Event(_NET, 2),
    "KEY_CREATED": Event(_ENTITY, _CREATE, entity="key"),
    "KEY_ROTATED": Event(_ENTITY, _UPDATE, entity="key"),
    "KEY_REVOKED": Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="key"),
    "POLICY_PROPOSED": Event(_ENTITY, _CREATE, entity="policy"),
    "POLICY_ACTIVATED": Event(_ENTITY, _ACTIVATE, entity="policy"),
    "POLICY_LOADED": Event(_ENTITY, _ACTIVATE, entity="policy"),
    "POLICY_REJECTED": Event(_ENTITY, _ACTIVATE, _FAILED, _HIGH, "policy"),
    "POLICY_ROLLED_BACK": Event(_ENTITY, _ACTIVATE, severity=_MEDIUM, entity="policy"),
    "POLICY_PULLED": Event(_ENTITY, _READ, entity="policy"),
    "POLICY_PULL_FAILED": Event(_ENTITY, _READ, _FAILED, _MEDIUM, "policy"),
    "SHADOW_STARTED": Event(_ENTITY, _ENABLE, entity="shadow"),
    "SHADOW_ENDED": Event(_ENTITY, _DISABLE, entity="shadow"),
    "CANARY_STOPPED": Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="canary"),
    "PROPOSAL_MADE": Event(_ENTITY, _CREATE, entity="proposal"),
    "PROPOSAL_SIGNED": Event(_ENTITY, _UPDATE, entity="proposal"),
    "PROPOSAL_ACTIVATED": Event(_ENTITY, _ACTIVATE, entity="proposal"),
    "PROPOSAL_WITHDRAWN": Event(_ENTITY, _DELETE, entity="proposal"),
    "PROPOSAL_EXPIRED": Event(_ENTITY, _DEACTIVATE, entity="proposal"),
    "PROPOSAL_ENDED": Event(_ENTITY, _DEACTIVATE, entity="proposal"),
    "SECRET_SET": Event(_ENTITY, _CREATE, entity="secret"),
    "SECRET_ROTATED": Event(_ENTITY, _UPDATE, entity="secret"),
    "SECRET_REMOVED": Event(_ENTITY, _DELETE, severity=_LOW, entity="secret"),
    "SECRET_USED": Event(_ENTITY, _READ, entity="secret"),
    "SECRET_ECHOED": Event(_ENTITY, _READ, _OTHER, _MEDIUM, "secret"),
    "CONNECTION_GRANTED": Event(_ENTITY, _CREATE, entity="connection"),
    "CONNECTION_REFRESHED": Event(_ENTITY, _UPDATE, entity="connection"),
    "CONNECTION_LOST": Event(_ENTITY, _DISABLE, _FAILED, _LOW, "connection"),
    "CONNECTION_REMOVED": Event(_ENTITY, _DELETE, entity="connection"),
    "CONNECTION_REFUSED": Event(_ENTITY, _CREATE, _FAILED, _MEDIUM, "connection"),
    "CONNECTION_FAILED": Event(_ENTITY, _UPDATE, _FAILED, _LOW, "connection"),
    "AGENT_SESSION_ADOPTED": Event(_ENTITY, _ENROLL, entity="agent session"),
    "AGENT_SESSION_ENDED": Event(_ENTITY, _DEACTIVATE, entity="agent session"),
    "AGENT_ANSWERED": Event(_API, _READ),
    "AGENT_ANSWER_AMBIGUOUS": Event(_API, OTHER, _OTHER, _MEDIUM),
    "AGENT_BYPASSED": Event(_ENTITY, _UPDATE, _FAILED, _HIGH, "agent session"),
    "AGENT_POLICIES_SET": Event(_ENTITY, _UPDATE, entity="agent"),
    "HAND_REGISTERED": Event(_ENTITY, _ENROLL, entity="hand"),
    "HAND_DRIFTED": Event(_ENTITY, _UPDATE, _FAILED, _HIGH, "hand"),
    "HAND_DISABLED": Event(_ENTITY, _DISABLE, severity=_MEDIUM, entity="hand"),
    "PRINCIPAL_CHANGED": Event(_ENTITY, _UPDATE, entity="principal"),
    "ISSUER_CHANGED": Event(_ENTITY, _UPDATE, entity="issuer"),
    "SESSION_OPENED": Event(_AUTH, 1),
    "SESSION_CLOSED": Event(_AUTH, 2),
    "ACCESS_REFUSED": Event(_AUTH, 1, _FAILED, _MEDIUM),
    "FROZEN": Event(_ENTITY, _SUSPEND, severity=_HIGH, entity="gateway"),
    "UNFROZEN": Event(_ENTITY, _RESUME, severity=_MEDIUM, entity="gateway"),
    "BACKUP_MADE": Event(_ENTITY, _CREATE, entity="backup"),
    "BACKUP_RESTORED": Event(_ENTITY, _UPDATE, severity=_HIGH, entity="log"),
    "LOG_OPENED": Event(_ENTITY, _CREATE, entity="log"),
    "LOG_VERIFIED": Event(_ENTITY, _READ, entity="log"),
    "AUDIT_QUERIED": Event(_API, _READ),
    "EXPORT_MADE": Event(_API, _READ, severity=_LOW),
    "ACCESS_REVIEWED": Event(_API, _READ),
    "ERASURE_REQUESTED": Event(_ENTITY, _UPDATE, entity="personal data"),
    "ERASURE_REFUSED": Event(_ENTITY, _UPDATE, status=Status.FAILURE, entity="personal data"),
    "ERASURE_DONE": Event(_ENTITY, _DELETE, severity=_LOW, entity="personal data"),
    "RETENTION_APPLIED": Event(_ENTITY, _DELETE, severity=_LOW, entity="log"),
    "HOLD_SET": Event(_ENTITY, _ENABLE, entity="legal hold"),
    "HOLD_LIFTED": Event(_ENTITY, _DISABLE, entity="legal hold"),
    "ENTRIES_HELD": Event(_ENTITY, _ENABLE, entity="legal hold on entries"),
    "ENTRIES_RELEASED": Event(_ENTITY, _DISABLE, entity="legal hold on entries"),
    "CONFIGURATION_CHANGED": Event(_ENTITY, _UPDATE, severity=_LOW, entity="configuration"),
}
"""Name of the entry type -> its event."""
EVENTS: Final = {EntryType[name]: event for name, event in _BY_NAME.items()}
"""Every entry type; a test holds that."""
