"""The stores: of principals and issuers, and of plans, steps and approvals."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.model import Answer, ApprovalRequest, ApprovalStatus, Attestation, Issuer, Notice, PlanStatus, Principal
from gateway.ports.log import Guard, Unless, Write
from gateway.ports.stored import ApprovalRow, StoredPlan
from gateway.state import PlanState, StepState
from gateway.webauthn import SecurityKey


@dataclass(frozen=True, slots=True)
class Standing:
    """Of some people, who may act.

    Attributes:
        people: by pseudonym, those who are neither revoked nor frozen; read anew.
        unchanged: that this still holds, by the time of a commit, also of their keys.
    """

    people: Mapping[str, Principal]
    unchanged: Unless


class Directory(Protocol):
    """Principals, API keys and issuers. Cached for at most two seconds, so a revocation bites soon everywhere."""

    async def authenticate(self, token: str, now: float) -> Principal:
        """The principal behind an API key. Raises ``auth.invalid`` or ``auth.expired``."""

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        """Raises ``request.not_found``."""

    async def person(self, tenant: str, pseudonym: str) -> Principal:
        """The same by pseudonym. Raises ``request.not_found``."""

    async def standing(self, tenant: str, pseudonyms: Collection[str]) -> Standing:
        """Who of them may act now, for what must not take effect on the word of somebody who was revoked meanwhile."""

    async def names(self, tenant: str, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """Pseudonym -> id, also of who is revoked; without those that are nobody's (any more)."""

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """Raises ``verify.unknown_issuer``."""

    async def security_keys(self, tenant: str, pseudonym: str) -> Sequence[SecurityKey]:
        """The principal's security keys that are not revoked; none where the principal is. Read anew each time."""

    async def has_key(self, tenant: str, pseudonym: str) -> bool:
        """Whether the principal ever enrolled a security key, as the log says too."""

    async def used(self, tenant: str, key: SecurityKey, sign_count: int) -> Write:
        """The row that keeps a security key's counter. Raises ``approval.key`` where the key was revoked."""


class ClientMove(StrEnum):
    """What is said once about a step that its client runs, at whichever gateway."""

    REPORTED = "reported"
    """What came of it."""
    COLLECTED = "collected"
    """That the client was told to go ahead after people approved it."""


class PlanStore(Protocol):
    """Rows of plans, steps and approvals. Builders of writes do no I/O: the log's writer carries the rows, so that
    a state and the entry about it are durable together or not at all."""

    def guards(self, plan: PlanState) -> Sequence[Guard]:
        """The first-of-its-kind inserts of a new plan: ``(iss, jti)`` and the context's binding.

        Their conflicts raise ``verify.replayed`` and ``verify.context``, and :class:`gateway.errors.Mistaken` where the
        plan was judged as the first of its context and is not.
        """

    def bound(self, plan: PlanState) -> None:
        """Remember a context's binding, now that it is on record."""

    def knows_context(self, plan: PlanState) -> bool:
        """Whether the binding of the plan's context is remembered. Where it is not, the database says with the plan's
        first record whether somebody used the context before."""

    def fate_guard(self, plan: PlanState, state: StepState) -> Guard:
        """The insert that lets a step go, or ends it, once among all gateways; a conflict raises ``request.conflict``.
        Steps that go or end with their plan's first record need none: their rows are new then."""

    def once(self, plan_id: str, step_id: str, move: ClientMove) -> Guard:
        """The insert that says once among all gateways what becomes of a step that its client runs; a conflict raises
        ``request.conflict``."""

    def insert_plan(self, plan: PlanState, log_index: int) -> Write:
        """The plan's row."""

    def plan_status(self, plan: PlanState, status: PlanStatus | None = None) -> Write:
        """Bring the plan's status up to date, or set it."""

    def save_step(self, plan: PlanState, state: StepState, log_index: int, receipt: str | None, *, new: bool) -> Write:
        """A step's row."""

    def insert_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """An open approval request."""

    def rebind_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """Bind an open request to the step's new decision and put it to people anew."""

    def asking_guard(self, approval_id: str, asked: int, *, answered: bool = False) -> Guard:
        """The insert that ends one asking of an open request, once among all gateways: by an answer that decides it, by
        voiding it, or by asking anew.

        Args:
            answered: it is an answer that ends it. A conflict then raises ``approval.closed``, else
                ``request.conflict``.
        """

    def approval_status(self, approval_id: str, status: ApprovalStatus) -> Write:
        """Close an approval request."""

    def notices(self, tenant: str, approval_id: str, told: ApprovalStatus | Notice, at: float) -> Sequence[Write]:
        """Rows that have webhooks told of a request's new state, where any listens; to be written with that state."""

    def insert_answer(
        self,
        approval_id: str,
        asked: int,
        approver: Principal,
        answer: Answer,
        attested_by: Attestation,
        commitment: str,
        at: float,
    ) -> Guard:
        """A person's answer; a second one by the same person raises ``approval.closed``."""

    async def load(self, plan_id: str) -> StoredPlan | None:
        """A plan as the rows have it.

        Raises:
            HandrailError: ``gateway.internal`` where a row is not the one that the gateway wrote last: its MAC does not
                hold, or the log, which only grows, knows a later state.
        """

    async def find_receipt(self, receipt_id: str) -> tuple[str, str] | None:
        """``(plan_id, step_id)`` of a receipt."""

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval request with its answers."""

    async def approvals(
        self,
        tenant: str,
        status: ApprovalStatus | None,
        hands: Collection[str] | None,
        *,
        after: str | None,
        limit: int,
    ) -> Sequence[ApprovalRow]:
        """The tenant's approval requests, newest first.

        Args:
            hands: only those for these hands; ``None`` for every hand.
            after: id of the request that the page before ended with.

        Raises:
            Refused: ``request.malformed`` where the tenant has no request ``after``.
        """

    async def open_approvals(self, tenant: str, caller: str) -> int:
        """How many approval requests of plans that ``caller`` (a pseudonym) sent are open. An index answers it."""

    async def refused(self, plan: PlanState, state: StepState, since: float) -> Sequence[tuple[str, str, str]]:
        """``(approval_id, plan_id, step_id)`` of requests that a person refused since then (seconds since the epoch),
        about calls of the step's action by the plan's caller for its principal; in the plan's context, or in any where
        its client named none. The newest answer first, and not all where there are very many."""

    async def waiting(self, plan: PlanState, state: StepState) -> Sequence[str]:
        """Ids of other plans in which people are asked about calls of the step's action, by the plan's caller for its
        principal; not all where there are very many."""

    async def expired_approvals(self, now: float, limit: int) -> Sequence[tuple[str, str]]:
        """``(plan_id, approval_id)`` of open requests past their time."""

    async def outdated_approvals(self, policy_digest: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """``(plan_id, approval_id)`` of open requests, of plans that this gateway takes forward, that another bundle
        than ``policy_digest`` asked for; by id, those that follow ``after``."""

    async def unfinished(self) -> Sequence[str]:
        """Plans that this gateway owns and that were running when it last stopped."""

    async def restored(self) -> Sequence[str]:
        """Plans, whoever owns them, that were under way in the backup that the log was last restored from."""

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """Whether no other gateway of the database is in such a block; the lock dies with its holder.

        Raises:
            Unavailable: ``log.unavailable``.
        """
