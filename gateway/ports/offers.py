"""Steps that are offered to remote hands, as their claims and deadlines need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.freeze import Freeze
from gateway.ports.log import Guard, Write
from gateway.state import PlanState, StepState


class OfferStatus(StrEnum):
    """How far a step that was offered is."""

    OPEN = "open"
    """Nobody claimed it."""
    CLAIMED = "claimed"
    """A hand holds its credential, and owes a result."""
    ENDED = "ended"
    """The step has its outcome."""


class Move(StrEnum):
    """What is decided once about an offered step, whoever decides it: the database itself refuses a second row."""

    OFFER = "offer"
    """It was claimed, or withdrawn."""
    LEASE = "lease"
    """Its result was taken, or its time was over."""
    LATE = "late"
    """A result that came afterwards was put on record."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A step that is, or was, offered. Times are seconds since the epoch.

    Attributes:
        step_jti: names the step to hands; of its credential, too.
        owner: the gateway that takes the plan forward.
        due_at: until when it may be claimed; once it is claimed, until when its result may come.
        changed_at: when its status changed last.
        log_index: of the entry with which it changed last.
        claimant: pseudonym of the principal that claimed it.
        jkt: thumbprint of the key that its credential is bound to.
        credential_sha256: of the credential that was handed out, in hex.
    """

    step_jti: str
    plan_id: str
    step_id: str
    tenant: str
    hand: str
    owner: str
    status: OfferStatus
    offered_at: float
    due_at: float
    changed_at: float
    log_index: int
    claimant: str | None = None
    jkt: str | None = None
    credential_sha256: str | None = None

    @property
    def next_move(self) -> Move:
        """What ending it now decides."""
        return Move.OFFER if self.status is OfferStatus.OPEN else Move.LEASE


class Offers(Protocol):
    """Rows of offered steps. Builders of writes do no I/O: the log's writer carries them. Reads raise
    ``log.unavailable``, and ``gateway.internal`` for a row that the gateway did not write."""

    owner: str

    def open(self, plan: PlanState, state: StepState, at: float, log_index: int) -> Write:
        """A step is offered to its hand from now on."""

    def change(self, offer: Offer) -> Write:
        """The offer as it is from now on."""

    def guard(self, step_jti: str, move: Move) -> Guard:
        """The insert that decides ``move`` once among all gateways; a conflict raises ``request.conflict``."""

    async def find(self, step_jti: str) -> Offer | None:
        """The offer of a step."""

    async def of_plan(self, plan_id: str) -> Sequence[Offer]:
        """Offers of a plan that have not ended."""

    async def work(self, tenant: str, hand: str, now: float, limit: int) -> Sequence[str]:
        """``step_jti`` of what may be claimed, oldest first."""

    async def waiting(self, tenant: str, hand: str, at_most: int) -> int:
        """How many steps of a hand nobody claimed yet; counts no further than ``at_most``."""

    async def due(self, now: float, limit: int) -> Sequence[Offer]:
        """What was not claimed, or has no result, and its time is over."""

    async def stopped(self, freeze: Freeze, limit: int) -> Sequence[Offer]:
        """What is offered or claimed, and a freeze stops."""

    async def left(self, before: float, limit: int) -> Sequence[str]:
        """Plans that this gateway takes forward, are not done, and of which a step ended since the last call and
        before a time: whoever ended it may not have lived to go on."""

    async def progress(self, plan_id: str) -> int:
        """Index of the newest entry that changed a step of the plan."""
