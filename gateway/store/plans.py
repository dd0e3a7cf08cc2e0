"""Rows of plans, steps and approvals. Writes are handed to the log's writer; reads use connections of their own."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Row, and_, func, not_, select

from audit.history import NEWEST_RESTORE, plan_history, reports
from audit.retained import dropped, dropped_since
from gateway.errors import HandrailError
from gateway.model import (
    Answer,
    ApprovalRequest,
    ApprovalStatus,
    Attestation,
    Notice,
    PlanStatus,
    Principal,
    StepStatus,
)
from gateway.ports import ApprovalRow, ClientMove, Guard, StoredPlan, StoredStep, Write
from gateway.reasons import Reason
from gateway.state import PlanState, StepState
from gateway.store import plan_writes as writes
from gateway.store.alone import alone
from gateway.store.context_bindings import ContextBindings
from gateway.store.outbox import SqlOutbox
from gateway.store.plan_rows import (
    approval_page,
    approval_rows,
    refused_calls,
    stored_report,
    stored_step,
    waiting_calls,
)
from gateway.store.reading import Result, reading
from gateway.store.row_macs import RowMacs
from gateway.store.tables import approvals, plans, steps
from gateway.store.tables.offers import offers
from gateway.store.undelivered import SqlUndelivered

_OPEN: Final = approvals.c.status == str(ApprovalStatus.OPEN)


class SqlPlans:
    """``ports.PlanStore`` over SQLAlchemy Core."""

    def __init__(
        self,
        engine: Engine,
        owner: str,
        mac_key: bytes,
        outbox: SqlOutbox,
        undelivered: SqlUndelivered | None = None,
    ) -> None:
        """Use ``engine`` for reads.

        Args:
            owner: this gateway's id; marks the plans that it takes forward.
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key cannot turn a step that
                was denied, or waits, into one that runs.
            outbox: tells whoever listens of approval requests.
            undelivered: keeps which calls of the MCP ingress were not answered.
        """
        self._engine = engine
        self._owner = owner
        self._mac_key = mac_key
        self._request_macs = RowMacs(hmac.digest(mac_key, b"approval requests", "sha256"))
        self._outbox = outbox
        self._undelivered = undelivered
        self._contexts = ContextBindings()

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def guards(self, plan: PlanState) -> Sequence[Guard]:
        """See ``ports.PlanStore``."""
        the = plan.plan
        row = {"tenant": the.tenant, "issuer": the.issuer.id, "jti": the.jti, "expires_at": the.expires_at + 5}
        replay, context = Guard(writes.INSERT_REPLAY, row, writes.replayed), self._contexts.guard(plan)
        awaited = [] if self._undelivered is None else self._undelivered.guards(plan)
        return [replay, *([] if context is None else [context]), *awaited]

    def bound(self, plan: PlanState) -> None:
        """See ``ports.PlanStore``."""
        self._contexts.remember(plan)

    def knows_context(self, plan: PlanState) -> bool:
        """See ``ports.PlanStore``."""
        return self._contexts.remembers(plan)

    def fate_guard(self, plan: PlanState, state: StepState) -> Guard:
        """See ``ports.PlanStore``."""
        row = {"plan_id": plan.plan.plan_id, "step_id": state.step.id, "step_jti": state.step_jti}
        return Guard(writes.INSERT_FATE, row, writes.decided)

    def once(self, plan_id: str, step_id: str, move: ClientMove) -> Guard:
        """See ``ports.PlanStore``."""
        row = {"plan_id": plan_id, "step_id": step_id, "move": str(move)}
        return Guard(writes.INSERT_CLIENT_MOVE, row, writes.said)

    def insert_plan(self, plan: PlanState, log_index: int) -> Write:
        """See ``ports.PlanStore``."""
        the = plan.plan
        return Write(
            writes.INSERT_PLAN,
            {
                "plan_id": the.plan_id,
                "tenant": the.tenant,
                "context_id": the.context_id,
                "principal": the.principal.pseudonym,
                "caller": the.caller.pseudonym,
                "issuer": the.issuer.id,
                "kid": the.kid,
                "commitment": plan.commitment,
                "status": str(plan.next_status),
                "received_at": the.received_at,
                "owner": self._owner,
                "log_index": log_index,
            },
        )

    def plan_status(self, plan: PlanState, status: PlanStatus | None = None) -> Write:
        """See ``ports.PlanStore``."""
        return Write(writes.UPDATE_PLAN, {"the_plan": plan.plan.plan_id, "new_status": str(status or plan.next_status)})

    def save_step(self, plan: PlanState, state: StepState, log_index: int, receipt: str | None, *, new: bool) -> Write:
        """See ``ports.PlanStore``."""
        values = writes.step_values(plan, state, log_index, receipt)
        values["mac"] = self._mac(plan.plan.plan_id, state.step.id, values)
        if new:
            return Write(
                writes.INSERT_STEP,
                {
                    "plan_id": plan.plan.plan_id,
                    "step_id": state.step.id,
                    "position": list(plan.steps).index(state.step.id),
                    "hand": state.names[0],
                    "action": state.names[1],
                    **values,
                },
            )
        return Write(
            writes.UPDATE_STEP,
            {
                "the_plan": plan.plan.plan_id,
                "the_step": state.step.id,
                **{f"new_{name}": value for name, value in values.items()},
            },
        )

    def insert_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """See ``ports.PlanStore``."""
        return Write(writes.INSERT_APPROVAL, self._request_row(plan, state, request))

    def rebind_approval(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> Write:
        """See ``ports.PlanStore``."""
        row = self._request_row(plan, state, request)
        bound = {f"new_{name}": row[name] for name in writes.BOUND}
        return Write(writes.REBIND_APPROVAL, {"the_approval": request.approval_id, **bound})

    def _request_row(self, plan: PlanState, state: StepState, request: ApprovalRequest) -> dict[str, Any]:
        binding = state.binding(plan.plan.tenant, plan.plan.plan_id)
        row = {
            "approval_id": request.approval_id,
            "tenant": plan.plan.tenant,
            "plan_id": plan.plan.plan_id,
            "step_id": state.step.id,
            "context_id": plan.plan.context_id,
            "principal": plan.plan.principal.pseudonym,
            "caller": plan.plan.caller.pseudonym,
            "hand": state.step.hand,
            "action": state.step.action,
            "status": str(ApprovalStatus.OPEN),
            "policy_digest": binding.policy_digest,
            "manifest_digest": binding.manifest_digest,
            "fields": writes.as_json(state.commitments),
            "approver_role": request.approver_role,
            "quorum": request.quorum,
            "enrolled_key": request.enrolled_key,
            "requested_at": request.requested_at,
            "expires_at": request.expires_at,
            "asked": state.asked,
        }
        return self._request_macs.seal(approvals, row)

    def asking_guard(self, approval_id: str, asked: int, *, answered: bool = False) -> Guard:
        """See ``ports.PlanStore``."""
        row = {"approval_id": approval_id, "asked": asked}
        return Guard(writes.INSERT_END, row, writes.closed if answered else writes.ended)

    def approval_status(self, approval_id: str, status: ApprovalStatus) -> Write:
        """See ``ports.PlanStore``."""
        return Write(writes.UPDATE_APPROVAL, {"the_approval": approval_id, "new_status": str(status)})

    def notices(self, tenant: str, approval_id: str, told: ApprovalStatus | Notice, at: float) -> Sequence[Write]:
        """See ``ports.PlanStore``."""
        return self._outbox.rows(tenant, approval_id, told, at)

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
        """See ``ports.PlanStore``."""
        return Guard(
            writes.INSERT_ANSWER,
            {
                "approval_id": approval_id,
                "asked": asked,
                "approver": approver.pseudonym,
                "answer": str(answer),
                "attested_by": str(attested_by),
                "commitment": commitment,
                "answered_at": at,
            },
            writes.answered,
        )

    # --- reads -------------------------------------------------------------------------------------------------------

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "plans", read)

    async def load(self, plan_id: str) -> StoredPlan | None:
        """See ``ports.PlanStore``."""
        return await self._read(lambda connection: self._load(connection, plan_id))

    def _load(self, connection: Connection, plan_id: str) -> StoredPlan | None:
        history = plan_history(connection, plan_id)
        row = connection.execute(select(plans).where(plans.c.plan_id == plan_id)).one_or_none()
        if row is None:
            return None
        if history is None and row.log_index is not None and dropped(connection, row.log_index, row.log_index + 1):
            return None  # what vouched for it is over
        if history is None or (history.kid, history.principal, history.caller) != (row.kid, row.principal, row.caller):
            raise HandrailError(Reason.INTERNAL, f"plan {plan_id}: its row contradicts the log")
        step_rows = connection.execute(select(steps).where(steps.c.plan_id == plan_id).order_by(steps.c.position)).all()
        if any(not StepStatus(step.status).final and dropped_since(connection, step.log_index) for step in step_rows):
            return None  # an entry that moved the step may have gone, and so its row may be one that was put back
        requests = approval_rows(connection, self._request_macs, approvals.c.plan_id == plan_id)
        released = any(step.status == StepStatus.RELEASED for step in step_rows)
        said = {name: stored_report(one) for name, one in reports(connection, plan_id).items()} if released else {}
        return StoredPlan(
            plan_id=row.plan_id,
            tenant=row.tenant,
            context_id=row.context_id,
            principal=row.principal,
            caller=row.caller,
            issuer=row.issuer,
            kid=row.kid,
            commitment=row.commitment,
            received_at=row.received_at,
            log_index=row.log_index,
            steps=tuple(
                replace(self._stored_step(step, history.newest.get(step.step_id, 0)), reported=said.get(step.step_id))
                for step in step_rows
            ),
            approvals=tuple(requests),
        )

    def _mac(self, plan_id: str, step_id: str, values: Mapping[str, Any]) -> str:
        covered = [plan_id, step_id, *(values[name] for name in writes.STEP_STATE if name != "mac")]
        return hmac.digest(self._mac_key, orjson.dumps(covered), "sha256").hex()

    def _stored_step(self, row: Row[Any], newest: int) -> StoredStep:
        """The step, if the gateway wrote its row and no entry, the ``newest`` among them, changed the step since."""
        values = {name: getattr(row, name) for name in writes.STEP_STATE}
        try:
            holds = hmac.compare_digest(self._mac(row.plan_id, row.step_id, values), row.mac)
        except (TypeError, ValueError):
            holds = False  # a type or text that no MAC is: SQLite stores what it is given
        if not holds:
            raise HandrailError(Reason.INTERNAL, f"the row of step {row.plan_id}.{row.step_id} was changed")
        if newest > row.log_index:
            raise HandrailError(Reason.INTERNAL, f"the row of step {row.plan_id}.{row.step_id} was put back")
        return stored_step(row)

    async def find_receipt(self, receipt_id: str) -> tuple[str, str] | None:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> tuple[str, str] | None:
            row = connection.execute(
                select(steps.c.plan_id, steps.c.step_id).where(steps.c.receipt_id == receipt_id)
            ).first()
            return None if row is None else (row.plan_id, row.step_id)

        return await self._read(find)

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> ApprovalRow | None:
            found = approval_rows(connection, self._request_macs, approvals.c.approval_id == approval_id)
            return next(iter(found), None)

        return await self._read(find)

    async def approvals(
        self,
        tenant: str,
        status: ApprovalStatus | None,
        hands: Collection[str] | None,
        *,
        after: str | None,
        limit: int,
    ) -> Sequence[ApprovalRow]:
        """See ``ports.PlanStore``."""
        return await self._read(
            lambda connection: approval_page(connection, self._request_macs, tenant, status, hands, after, limit)
        )

    async def open_approvals(self, tenant: str, caller: str) -> int:
        """See ``ports.PlanStore``."""
        open_ = (approvals.c.tenant == tenant, approvals.c.caller == caller, _OPEN)
        counted = select(func.count()).select_from(approvals).where(*open_)
        return await self._read(lambda connection: int(connection.execute(counted).scalar_one()))

    async def refused(self, plan: PlanState, state: StepState, since: float) -> Sequence[tuple[str, str, str]]:
        """See ``ports.PlanStore``."""
        return await self._read(lambda connection: refused_calls(connection, plan, state, since))

    async def waiting(self, plan: PlanState, state: StepState) -> Sequence[str]:
        """See ``ports.PlanStore``."""
        return await self._read(lambda connection: waiting_calls(connection, plan, state))

    async def expired_approvals(self, now: float, limit: int) -> Sequence[tuple[str, str]]:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> Sequence[tuple[str, str]]:
            query = (
                select(approvals.c.plan_id, approvals.c.approval_id)
                .where(_OPEN, approvals.c.expires_at <= now)
                .order_by(approvals.c.expires_at.desc())
                .limit(limit)
            )
            return [(row.plan_id, row.approval_id) for row in connection.execute(query)]

        return await self._read(find)

    async def outdated_approvals(self, policy_digest: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> Sequence[tuple[str, str]]:
            query = (
                select(approvals.c.plan_id, approvals.c.approval_id)
                .join(plans, plans.c.plan_id == approvals.c.plan_id)
                .where(
                    _OPEN,
                    approvals.c.policy_digest != policy_digest,
                    approvals.c.approval_id > after,
                    plans.c.owner == self._owner,
                )
                .order_by(approvals.c.approval_id)
                .limit(limit)
            )
            return [(row.plan_id, row.approval_id) for row in connection.execute(query)]

        return await self._read(find)

    async def unfinished(self) -> Sequence[str]:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> Sequence[str]:
            unended = ("deferred", "held", "running")
            ongoing = select(func.count()).where(steps.c.plan_id == plans.c.plan_id, steps.c.status.in_(unended))
            offered = select(func.count()).where(offers.c.plan_id == plans.c.plan_id, offers.c.status != "ended")
            # Where hands have all that is left to do, there is nothing to take up: it may be ten thousand plans.
            elsewhere = and_(offered.scalar_subquery() > 0, ongoing.scalar_subquery() == offered.scalar_subquery())
            query = select(plans.c.plan_id).where(
                plans.c.status == "running", plans.c.owner == self._owner, not_(elsewhere)
            )
            return list(connection.execute(query).scalars())

        return await self._read(find)

    async def restored(self) -> Sequence[str]:
        """See ``ports.PlanStore``."""

        def find(connection: Connection) -> Sequence[str]:
            query = select(plans.c.plan_id).where(plans.c.status != "done", plans.c.log_index < NEWEST_RESTORE)
            return list(connection.execute(query).scalars())

        return await self._read(find)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """See ``ports.PlanStore``."""
        turn = alone(self._engine)
        mine = await asyncio.to_thread(turn.__enter__)
        try:
            yield mine
        finally:
            await asyncio.to_thread(turn.__exit__, None, None, None)


def forget_replays(now: float) -> Write:
    """Drop what is kept against replays of plans that are past their time by now (seconds since the epoch)."""
    return Write(writes.FORGET_REPLAYS, {"past": int(now)})
