"""Plans and their steps, from bytes that nobody checked to what the stages take forward."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.model.people import EMPTY, Issuer, Principal

PURPOSE_MAX_CHARACTERS: Final = 256
"""What a plan's purpose may have."""
UNNAMED_CONTEXT: Final = "unnamed-"
"""Begins the context that an ingress makes up for a call whose client names none."""


class StepStatus(StrEnum):
    """States of a step (DESIGN: the way of a plan)."""

    DEFERRED = "deferred"
    """Waits for steps that it depends on."""
    HELD = "held"
    """Waits for a person's approval."""
    DENIED = "denied"
    EXPIRED = "expired"
    """Nobody approved in time."""
    RUNNING = "running"
    """The intent is durable and the hand was, or is about to be, called."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The hand answered with an error, or surely did not act."""
    AMBIGUOUS = "ambiguous"
    """The hand may have acted, and nobody can tell."""
    RELEASED = "released"
    """A tool that the client itself runs was let go."""
    SKIPPED = "skipped"
    """A dependency did not succeed."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the step can no longer change."""
        return self not in _OPEN


_OPEN: Final = frozenset({StepStatus.DEFERRED, StepStatus.HELD, StepStatus.RUNNING})


class PlanStatus(StrEnum):
    """States of a plan."""

    RUNNING = "running"
    WAITING = "waiting"
    """Nothing runs, and at least one step is held."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Detached:
    """Args that a plan names by their hash alone, and that go beside it: a signature over the hash vouches for them as
    one over them would (RFC 7515, appendix F), and they are hashed, sealed and stored once.

    Attributes:
        raw: the RFC 8785 form of ``value``.
        sha256: of ``raw``, in hex.
    """

    value: Mapping[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True)
class UnverifiedPlan:
    """Bytes off the wire from an authenticated caller; nothing in them is believed.

    Attributes:
        raw: the compact JWS exactly as received.
        received_at: seconds since the epoch, read once and used for every check of this plan.
        max_bytes: what ``raw`` may have, where its ingress has a limit of its own; ``None`` for that of every body.
        detached: step id -> its args, of a plan of the gateway's own.
    """

    raw: bytes = field(repr=False)
    caller: Principal
    received_at: float
    max_bytes: int | None = None
    detached: Mapping[str, Detached] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class VerifiedPlan:
    """A plan whose signature, issuer, audience, times and subject hold. Its content is not checked yet."""

    raw: bytes = field(repr=False)
    plan_id: str
    """Hex SHA-256 of the exact JWS."""
    claims: Mapping[str, Any] = field(repr=False)
    issuer: Issuer
    kid: str
    principal: Principal
    """The subject: whom the plan acts for."""
    caller: Principal
    received_at: float
    detached: Mapping[str, Detached] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a step's args that an earlier result fills (``{"$step": ID, "pointer": RFC 6901}``)."""

    at: str
    """JSON pointer of the place in the args."""
    step: str
    pointer: str
    """JSON pointer into ``{content, structured}``."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a plan on one hand, as the issuer signed it."""

    id: str
    hand: str
    action: str
    args: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()
    idempotency_key: str | None = None
    data_subjects: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    detached: Detached | None = None
    """The args once more, where the plan has them beside it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The dead letter that a plan tries again.

    Attributes:
        not_executed: the caller said that the step did not happen.
        why: the caller's words.
        provenance: pointer into the args -> where the value came from that a reference brought in: the new plan has it
            in clear, and it is no more trusted for that.
    """

    plan_id: str
    step_id: str
    not_executed: bool
    why: str = field(repr=False)
    provenance: Mapping[str, Any] = field(default_factory=lambda: EMPTY, repr=False)


class TurnKind(StrEnum):
    """What a turn of a run is."""

    MODEL = "model"
    """The conversation is put to a model."""
    TOOLS = "tools"
    """What the model's answer asks for, in parallel."""
    END = "end"


MILLIONTHS: Final = 1_000_000
"""Of a currency's unit: what a run costs is counted in whole ones."""


@dataclass(frozen=True, slots=True)
class RunTurn:
    """The turn of a run that a plan is.

    Attributes:
        number: 0, 1, 2, ...: no two plans are one turn.
        brain: that is asked, or that asked for the tools.
        attempt: how often the same was put to models, this time included.
        steps: of the run, those of this turn included.
        tokens: that the run had used before.
        spent: that the run had cost before, in millionths of its currency's unit; ``None`` where nobody knows.
    """

    run_id: str
    number: int
    kind: TurnKind
    brain: str
    attempt: int
    steps: int
    tokens: int
    spent: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A verified plan whose envelope and graph are sound."""

    plan_id: str
    context_id: str
    tenant: str
    issuer: Issuer
    kid: str
    principal: Principal
    caller: Principal
    steps: Mapping[str, Step]
    """Step id -> step, in the issuer's order."""
    jti: str
    expires_at: int
    received_at: float
    raw: bytes = field(repr=False)
    purpose: str | None = None
    request: str | None = None
    retries: Retry | None = None
    run: RunTurn | None = None

    @property
    def in_named_context(self) -> bool:
        """Whether its client said of which context it is."""
        return not self.context_id.startswith(UNNAMED_CONTEXT)
