"""What contexts and principals did and read before (``ports.Contexts``): accounts in memory, rebuilt from the log.

The log is the truth, and every record about a step is a reservation or the end of one. So nothing is written for the
accounts: they are kept up to date as records are made, and read from the log where they are not at hand: a principal's
at its first use in this process, a context's where it was used before. A context that nobody used needs no reading,
and the database itself says with the plan's first record whether that was so (``errors.Mistaken``).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from gateway.manifest import Manifest, SideEffects, Trust
from gateway.model import Effect, StepStatus
from gateway.policy.accounts import (
    LONGEST_SECONDS,
    ContextAccount,
    Past,
    PrincipalAccount,
    Reservation,
    StepKey,
    Sums,
)
from gateway.policy.rebuild import context_account, principal_account
from gateway.ports import Hands, LoggedStep, Payloads
from gateway.ports import Past as Record
from gateway.state import PlanState, StepState

PRINCIPALS_MAX: Final = 4096
CONTEXTS_MAX: Final = 8192
"""Accounts kept in memory. One that made room is read from the log again when it is used."""
RECALLED_MAX: Final = 200_000
"""Entries of a principal's last day that are read. The longer windows of a busier one begin with the newest of them."""
_OPEN_BATCH: Final = 500

Account = TypeVar("Account", PrincipalAccount, ContextAccount)
Key = tuple[str, ...]


@dataclass(slots=True)
class _Use:
    """A plan that is being taken forward, and the accounts that it uses."""

    principal: PrincipalAccount
    context: ContextAccount
    pending: list[StepKey] = field(default_factory=list)
    """Reserved for a round that is not on record yet."""


class Contexts:
    """Belongs to one event loop."""

    def __init__(
        self, past: Record, payloads: Payloads, hands: Hands, knows_context: Callable[[PlanState], bool]
    ) -> None:
        """Read from ``past`` and ``payloads``.

        Args:
            knows_context: ``ports.PlanStore.knows_context``.
        """
        self._past = past
        self._payloads = payloads
        self._hands = hands
        self._knows_context = knows_context
        self._principals: OrderedDict[Key, PrincipalAccount] = OrderedDict()
        self._contexts: OrderedDict[Key, ContextAccount] = OrderedDict()
        self._uses: dict[str, _Use] = {}
        self._recalling: dict[Key, asyncio.Task[Any]] = {}

    # --- ports.Contexts ----------------------------------------------------------------------------------------------

    async def recall(self, plan: PlanState) -> None:
        """See ``ports.Contexts``."""
        if plan.plan.plan_id in self._uses:
            return
        principal = self._principals.get(_principal_key(plan))
        if principal is None:
            principal = await self._once(self._principals, _principal_key(plan), lambda: self._read_principal(plan))
        context = self._contexts.get(_context_key(plan))
        if context is None:
            if plan.log_index is None and not self._knows_context(plan):
                context = self._contexts[_context_key(plan)] = ContextAccount(plan.plan.context_id, presumed=True)
            else:
                context = await self._once(self._contexts, _context_key(plan), lambda: self._read_context(plan))
        plan.first_of_context = context.presumed
        self._uses[plan.plan.plan_id] = _Use(principal, context)
        self._principals.move_to_end(_principal_key(plan))
        self._contexts.move_to_end(_context_key(plan))
        self._make_room()

    def consider(self, plan: PlanState, states: Sequence[StepState], now: float) -> Mapping[str, Any]:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        context = use.context
        seen = {
            "spent": {"context": context.spent.document(), "principal": use.principal.spent(now)},
            "history": [past.document(now) for past in reversed(context.history)],
            "taint": [_taint(action, trust) for action, trust in context.taint.items()],
            "principal_taint": [
                _taint(action, Trust.UNTRUSTED) for action in use.principal.taint_beside(context.context_id, now)
            ],
        }
        for state in states:
            key = (plan.plan.plan_id, state.step.id)
            self._release(use, key)
            sums = Sums(1, int(_side_effects(state) != SideEffects.NONE), state.amount)
            use.principal.reserve(key, Reservation(sums, now, context.context_id))
            context.spent.add(sums)
            use.pending.append(key)
        return seen

    def decided(self, plan: PlanState, states: Sequence[StepState]) -> None:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        for state in states:
            if state.decision is None or state.decision.effect is Effect.DENY:
                self._release(use, (plan.plan.plan_id, state.step.id))

    def recorded(
        self,
        plan: PlanState,
        judged: Sequence[StepState],
        ended: Sequence[StepState],
        launched: Sequence[StepState],
        now: float,
    ) -> None:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        use.context.presumed = False
        use.pending.clear()
        for state in judged:
            key = (plan.plan.plan_id, state.step.id)
            if state.status.final:
                self._release(use, key)
            if state.decision is not None:
                past = Past(*state.names, str(state.decision.effect), _side_effects(state), str(state.status), now)
                use.context.note(key, past, final=state.status.final)
        for state in ended:
            self._ended(use, plan, state)
        for state in launched:
            key = (plan.plan.plan_id, state.step.id)
            use.principal.settle(key)
            use.context.move(key, str(state.status), final=False)

    def outcome(self, plan: PlanState, state: StepState, now: float) -> None:
        """See ``ports.Contexts``."""
        principal = self._principals.get(_principal_key(plan))
        context = self._contexts.get(_context_key(plan))
        if principal is None or context is None:
            return  # Nobody uses them; whoever does next reads this outcome from the log.
        self._ended(_Use(principal, context), plan, state)
        if state.result is not None and state.status in {StepStatus.SUCCEEDED, StepStatus.FAILED}:
            trust = self._trust(state.manifest, state.step.action)
            if trust is not Trust.TRUSTED:
                context.read(state.names, str(trust))
                principal.read(state.names, context.context_id, now)

    def mistaken(self, plan: PlanState) -> None:
        """See ``ports.Contexts``."""
        use = self._uses.get(plan.plan.plan_id)
        self.left(plan, certain=True)
        if use is not None and use.context.presumed:
            self._contexts.pop(_context_key(plan), None)

    def left(self, plan: PlanState, *, certain: bool) -> None:
        """See ``ports.Contexts``."""
        use = self._uses.pop(plan.plan.plan_id, None)
        if use is not None and certain:
            for key in use.pending:
                self._release(use, key)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _release(self, use: _Use, key: StepKey) -> None:
        reservation = use.principal.release(key)
        if reservation is not None:
            use.context.spent.add(reservation.sums, -1)

    def _ended(self, use: _Use, plan: PlanState, state: StepState) -> None:
        key = (plan.plan.plan_id, state.step.id)
        if not state.dispatched:
            self._release(use, key)
        use.context.move(key, str(state.status), final=True)

    def _make_room(self) -> None:
        """Now and then, and then for many: to look for what nobody uses costs a look at everything."""
        if len(self._principals) > PRINCIPALS_MAX + PRINCIPALS_MAX // 8:
            _shrink(self._principals, PRINCIPALS_MAX, {id(use.principal) for use in self._uses.values()})
        if len(self._contexts) > CONTEXTS_MAX + CONTEXTS_MAX // 8:
            _shrink(self._contexts, CONTEXTS_MAX, {id(use.context) for use in self._uses.values()})

    async def _once(
        self, known: OrderedDict[Key, Account], key: Key, read: Callable[[], Awaitable[Account]]
    ) -> Account:
        """Read an account once for all who want it now."""

        async def work() -> Account:
            try:
                account = known[key] = await read()
                return account
            finally:
                del self._recalling[key]

        task: asyncio.Task[Account] | None = self._recalling.get(key)
        if task is None:
            task = self._recalling[key] = asyncio.ensure_future(work())
        return await asyncio.shield(task)

    async def _read_principal(self, plan: PlanState) -> PrincipalAccount:
        the = plan.plan
        since = the.received_at - LONGEST_SECONDS
        steps = await self._past.of_principal(the.tenant, the.principal.pseudonym, since, RECALLED_MAX)
        return principal_account(steps, await self._amounts(steps), self._trust_of(the.tenant))

    async def _read_context(self, plan: PlanState) -> ContextAccount:
        the = plan.plan
        steps = await self._past.of_context(the.tenant, the.context_id)
        return context_account(the.context_id, steps, await self._amounts(steps), self._trust_of(the.tenant))

    async def _amounts(self, steps: Iterable[LoggedStep]) -> dict[str, float]:
        wanted = sorted({step.commitments["amount"] for step in steps if "amount" in step.commitments})
        found: dict[str, float] = {}
        for start in range(0, len(wanted), _OPEN_BATCH):
            opened = await self._payloads.open(wanted[start : start + _OPEN_BATCH])
            found |= {commitment: float(orjson.loads(value)) for commitment, (_, value) in opened.items()}
        return found

    def _trust_of(self, tenant: str) -> Callable[[LoggedStep], Trust]:
        def trust_of(step: LoggedStep) -> Trust:
            manifest = self._hands.manifest(tenant, step.hand)
            pinned = manifest is not None and manifest.digest == step.manifest_digest
            return self._trust(manifest if pinned else None, step.action)

        return trust_of

    @staticmethod
    def _trust(manifest: Manifest | None, action: str) -> Trust:
        """The operator's word on an action's results; where it is not known any more, they are not trusted."""
        if manifest is None or action not in manifest.actions:
            return Trust.UNTRUSTED
        return manifest.actions[action].trust or manifest.trust


def _side_effects(state: StepState) -> str:
    """What a step may change; what is not known any more counts as the worst."""
    if state.manifest is None:
        return str(SideEffects.EXTERNAL)
    return str(state.manifest.actions[state.step.action].side_effects)


def _taint(action: tuple[str, str], trust: str) -> dict[str, str]:
    return {"hand": action[0], "action": action[1], "trust": str(trust)}


def _principal_key(plan: PlanState) -> Key:
    return (plan.plan.tenant, plan.plan.principal.id)


def _context_key(plan: PlanState) -> Key:
    return (plan.plan.tenant, plan.plan.principal.id, plan.plan.context_id)


def _shrink(known: OrderedDict[Key, Account], most: int, used: set[int]) -> None:
    """Forget the accounts that were used longest ago, but none that is used now."""
    surplus = len(known) - most
    for key in [key for key, account in known.items() if id(account) not in used][:surplus]:
        del known[key]
