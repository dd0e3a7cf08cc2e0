"""The JSON shapes of evidence by control, access reviews and the record of processing activities; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.web.schemas import Shape
from gateway.web.schemas_log import ScopeView
from gateway.web.times import Time


class Range(Shape):
    """Positions in the log: ``[first, end)``. Of ``dropped`` of them, whose retention is over, only standing entries
    are left, and nothing else is counted."""

    first: int
    end: int
    dropped: int


class PlaceShown(Shape):
    """An entry's index and time."""

    index: int
    time: Time


class EvidenceShown(Shape):
    """How many entries of a type lie in the period."""

    type: str
    label: str
    count: int
    first: PlaceShown
    last: PlaceShown


class ExpectationShown(Shape):
    """What is expected of a control's evidence, and whether it is there."""

    id: str
    title: str
    entries: list[str]
    state: Literal["met", "missing", "not_due", "not_applicable", "operator"]
    detail: str
    remedy: str


class ControlShown(Shape):
    """A control and its evidence."""

    id: str
    title: str
    area: str
    status: Literal["missing", "evidence", "none"]
    evidence: list[EvidenceShown]
    expectations: list[ExpectationShown]
    not_written_yet: list[str] = Field(description="Types that no code of this version writes.")


class SampleShown(Shape):
    """An entry, drawn by the checkpoint's root, with its proof under that checkpoint."""

    type: str
    index: int
    entry: str = Field(description="RFC 8785 canonical JSON: what the leaf hashes.")
    proof: str = Field(description="c2sp.org/tlog-proof@v1")


class Summary(Shape):
    """How many controls have which status."""

    missing: int
    evidence: int
    none: int


class ControlsReport(Shape):
    """What the log shows for each control of a framework in a period, and what it lacks."""

    v: Literal[1]
    framework: str
    title: str
    source: str
    origin: str
    tenant: str
    from_: Time = Field(alias="from")
    to: Time
    made_at: Time
    tree_size: int
    range: Range
    checkpoint: str
    summary: Summary
    controls: list[ControlShown]
    samples: list[SampleShown]


class ChangeShown(Shape):
    """The entry that made a change, and who did it (a pseudonym)."""

    index: int
    time: Time
    by: str | None


class KeyHeld(ChangeShown):
    """A key that somebody holds."""

    id: str
    expires_at: Time | None = None


class LinkHeld(ChangeShown):
    """An identity that somebody is known by; whose it is at its issuer is erasable, and not here."""

    id: str
    kind: str


class PrincipalReviewed(Shape):
    """A principal; ``id`` is null where the person was erased."""

    pseudonym: str
    id: str | None
    roles: list[str]
    hands: list[str] | None = Field(description="null: every hand of the tenant.")
    keys: list[KeyHeld]
    approval_keys: list[KeyHeld]
    links: list[LinkHeld] = Field(description="Identities at other issuers, and certificates, that are this principal.")
    added: ChangeShown


class IssuerReviewed(Shape):
    """An issuer."""

    pseudonym: str
    id: str | None
    speaks_for: list[str] | None
    attests_request: bool
    keys: list[KeyHeld]
    added: ChangeShown


class PolicyReviewed(ChangeShown):
    """The bundle that decided, and its grants where the gateway still has it."""

    digest: str | None
    grants: dict[str, Any] | None


class HandReviewed(ChangeShown):
    """A hand's newest pin."""

    hand: str
    manifest_digest: str


class AccessReview(Shape):
    """Who could do what at a moment."""

    v: Literal[1]
    origin: str
    tenant: str
    at: Time
    made_at: Time
    tree_size: int
    end: int = Field(description="Entries before this index count.")
    checkpoint: str
    principals: list[PrincipalReviewed]
    issuers: list[IssuerReviewed]
    policy: PolicyReviewed | None
    hands: list[HandReviewed]
    scope: ScopeView = Field(description="Of a caller who is bound to hands: these, and who may use one of them.")
    permissions: dict[str, list[str]] = Field(description="Role -> what it may do, in this version of Handrail.")


class ActionProcessed(Shape):
    """An action of a hand and how often it was let go, as the log has it."""

    action: str
    side_effects: str | None
    data_subjects: list[str]
    roles: dict[str, str]
    calls: int
    first: Time | None
    last: Time | None


class Activity(Shape):
    """What is processed by one hand. What the operator did not say is null or empty, and listed in ``missing``."""

    hand: str
    configured: bool
    pinned: bool
    purposes: list[str] | None
    legal_basis: str | None
    data_categories: list[str] | None
    subject_categories: list[str] | None
    recipient: str | None
    retention: str | None
    transfer_safeguard: str | None
    region: str | None
    transfer: Literal["yes", "no", "unknown"]
    actions: list[ActionProcessed]
    missing: list[str]


class ControllerShown(Shape):
    """Who answers for the processing."""

    name: str | None
    contact: str | None
    representative: str | None
    data_protection_officer: str | None


class ProcessingRecord(Shape):
    """The record of processing activities (GDPR, article 30)."""

    v: Literal[1]
    origin: str
    tenant: str
    from_: Time = Field(alias="from")
    to: Time
    made_at: Time
    tree_size: int
    controller: ControllerShown
    data_region: str | None
    activities: list[Activity]
    security_measures: list[str]
    missing: list[str]
