"""What a policy says of a step, and what it obliges to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from gateway.model.people import Role
from gateway.reasons import Reason


class Effect(StrEnum):
    """What a decision does with a step. ``deny`` beats ``ask`` beats ``allow``."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class DecisionReason:
    """Why: a code that the log keeps, and a sentence that people read (erasable)."""

    code: str
    message: str = ""


LOG_LEVELS: Final = ("debug", "info", "warning", "error")
"""From quiet to loud."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What a decision demands beside its effect; closed, and ``None`` or empty where it says nothing."""

    redact: tuple[str, ...] = ()
    result_max_bytes: int | None = None
    egress_hosts: tuple[str, ...] | None = None
    jail_profile: str | None = None
    deadline_seconds: float | None = None
    credential_ttl_seconds: int | None = None
    approver_role: Role | None = None
    quorum: int | None = None
    enrolled_key: bool | None = None
    data_subjects: tuple[str, ...] = ()
    redact_personal: tuple[str, ...] = ()
    """Kinds of personal data that are taken out of the result, wherever in it they stand; ``*`` is every kind."""
    redact_request: tuple[str, ...] = ()
    """Kinds that are taken out of a request to a model before it is decided on: of personal data, and ``secret``."""
    log_level: str | None = None
    """One of :data:`LOG_LEVELS`: how loudly the gateway's own log tells of the step."""

    def document(self) -> dict[str, Any]:
        """The obligations that say something, as JSON."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Role) else value
            for name, value in said.items()
            # No host at all (an empty tuple) is something else than no word about hosts (None).
            if value is not None and (value != () or name == "egress_hosts")
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Obligations":
        """Rebuild from :meth:`document`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        if "approver_role" in values:
            values["approver_role"] = Role(values["approver_role"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Decision:
    """One step's decision by one bundle."""

    step_id: str
    effect: Effect
    reasons: tuple[DecisionReason, ...]
    policy_digest: str
    obligations: Obligations = Obligations()
    beaten: tuple[DecisionReason, ...] = ()
    """Reasons of weaker effects that spoke against the step too: an ``ask`` beside a ``deny``."""
    unexplained: bool = False
    """A denial or question among them gave no reason."""
    otherwise: Obligations | None = Obligations()
    """What would hold if a denial were let go; ``None`` where that could not be carried out."""

    @property
    def observed(self) -> Effect | None:
        """What the policy said, where the step was let go only because its hand is observed."""
        if self.effect is not Effect.ALLOW or not self.reasons:
            return None
        return _OBSERVED.get(self.reasons[0].code)

    def said(self) -> "Decision":
        """The policy's own word: the decision before observation loosened it, and without the mark of a canary that
        stopped."""
        if any(reason.code == Reason.POLICY_STRICTER for reason in self.reasons):
            unmarked = tuple(reason for reason in self.reasons if reason.code != Reason.POLICY_STRICTER)
            return replace(self, reasons=unmarked).said()
        observed = self.observed
        if observed is None:
            return self
        kept = Obligations() if observed is Effect.DENY else self.obligations
        return replace(self, effect=observed, reasons=self.reasons[1:], obligations=kept)


_OBSERVED: Final[Mapping[str, Effect]] = MappingProxyType(
    {str(Reason.POLICY_OBSERVED_DENY): Effect.DENY, str(Reason.POLICY_OBSERVED_ASK): Effect.ASK}
)
