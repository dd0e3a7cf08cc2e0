"""What contexts and principals did and read before (``ports.Contexts``): accounts in memory, rebuilt from the log.

The log is the truth, and every record about a step is a reservation or the end of one. So nothing is written for the
accounts: they are kept up to date as records are made, and read from the log where they are not at hand: a principal's
at its first use in this process, a context's where it was used before. A context that nobody used needs no reading,
and the database itself says with the plan's first record whether that was so (``errors.Mistaken``).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gateway.manifest import SideEffects, Trust
from gateway.model import Effect, StepStatus
from gateway.policy.accounts import ContextAccount, Past, PrincipalAccount, Reservation, StepKey, Sums
from gateway.policy.memory import Memory, Origin, Source
from gateway.policy.provenance import provenance
from gateway.policy.recall import Recall, approve, public, trust
from gateway.settings import ProvenanceSettings
from gateway.state import PlanState, StepState

PRINCIPALS_MAX: Final = 4096
CONTEXTS_MAX: Final = 8192
"""Accounts kept in memory. One that made room is read from the log again when it is used."""
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
        self, recall: Recall, settings: ProvenanceSettings, knows_context: Callable[[PlanState], bool]
    ) -> None:
        """Read by ``recall`` what is not at hand.

        Args:
            knows_context: ``ports.PlanStore.knows_context``.
        """
        self._read = recall
        self._settings = settings
        self._knows_context = knows_context
        self._principals: OrderedDict[Key, PrincipalAccount] = OrderedDict()
        self._contexts: OrderedDict[Key, ContextAccount] = OrderedDict()
        self._first: dict[Key, asyncio.Event] = {}
        """Contexts that are taken to be new, until their first plan is on record, or refused."""
        self._bytes = 0
        """What memories hold, as far as it was fed here."""
        self._uses: dict[str, _Use] = {}
        self._recalling: dict[Key, asyncio.Task[Any]] = {}

    # --- ports.Contexts ----------------------------------------------------------------------------------------------

    async def recall(self, plan: PlanState) -> None:
        """See ``ports.Contexts``."""
        if plan.plan.plan_id in self._uses:
            return
        principal = self._principals.get(_principal_key(plan))
        if principal is None:
            principal = await self._once(
                self._principals, _principal_key(plan), lambda: self._read.principal(plan.plan)
            )
        while (first := self._first.get(_context_key(plan))) is not None:
            # Whether the context is new shows with the record of its first plan. The others wait for that.
            await first.wait()
        context = self._contexts.get(_context_key(plan))
        if context is None:
            if plan.log_index is None and not self._knows_context(plan):
                context = ContextAccount(plan.plan.context_id, presumed=True, memory=self._memory())
                self._contexts[_context_key(plan)] = context
                self._first[_context_key(plan)] = asyncio.Event()
            else:
                context = await self._once(
                    self._contexts,
                    _context_key(plan),
                    lambda: self._read.context(plan.plan, self._memory(), self._settings.idle_seconds),
                )
        plan.first_of_context = context.presumed
        self._uses[plan.plan.plan_id] = _Use(principal, context)
        self._hear(context, plan)
        self._principals.move_to_end(_principal_key(plan))
        self._contexts.move_to_end(_context_key(plan))
        self._make_room()

    def consider(self, plan: PlanState, states: Sequence[StepState], now: float) -> Mapping[str, Any]:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        context = use.context
        # A step that is judged anew must not find itself among what came before it.
        own = [(plan.plan.plan_id, state.step.id) for state in states]
        for key in own:
            self._release(use, key)
        itself = {id(context.under_way[key]) for key in own if key in context.under_way}
        seen = {
            "spent": {"context": context.spent.document(), "principal": use.principal.spent(now)},
            "history": [past.document(now) for past in reversed(context.history) if id(past) not in itself],
            "taint": [_taint(action, trust) for action, trust in context.taint.items()],
            "principal_taint": [
                _taint(action, Trust.UNTRUSTED) for action in use.principal.taint_beside(context.context_id, now)
            ],
            "private": [{"hand": hand, "action": action} for hand, action in context.private],
        }
        context.memory.begin_round()
        for state in states:
            key = (plan.plan.plan_id, state.step.id)
            if state.manifest is not None and state.args is not None:
                action = state.manifest.actions[state.step.action]
                if action.roles:
                    state.provenance = provenance(state.args, action, context.memory, state.provenance, key[0])
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
        if use.context.presumed:
            use.context.presumed = False
            self._first.pop(_context_key(plan)).set()
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
            if state.approved and state.args is not None:
                origin = Origin(Source.APPROVED, *key, *state.names, side_effects=_side_effects(state))
                approve(use.context.memory, state.args, state.manifest, origin)

    def outcome(self, plan: PlanState, state: StepState, document: bytes | None, now: float) -> None:
        """See ``ports.Contexts``."""
        principal = self._principals.get(_principal_key(plan))
        context = self._contexts.get(_context_key(plan))
        if principal is None or context is None:
            return  # Nobody uses them; whoever does next reads this outcome from the log.
        self._ended(_Use(principal, context), plan, state)
        if document is not None and state.status in {StepStatus.SUCCEEDED, StepStatus.FAILED}:
            self._bytes += context.memory.result(
                document, plan.plan.plan_id, state.step.id, state.manifest, state.names
            )
            if trust(state.manifest, state.step.action) is not Trust.TRUSTED:
                context.read(state.names, str(Trust.UNTRUSTED))
                principal.read(state.names, context.context_id, now)
            if not public(state.manifest):
                context.read_private(state.names)

    def left(self, plan: PlanState, *, certain: bool) -> None:
        """See ``ports.Contexts``."""
        use = self._uses.pop(plan.plan.plan_id, None)
        if use is None:
            return
        if certain:
            for key in use.pending:
                self._release(use, key)
        if use.context.presumed:
            # Nothing of it is on record, as far as this process can tell.
            del self._contexts[_context_key(plan)]
            self._first.pop(_context_key(plan)).set()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _memory(self) -> Memory:
        memory = Memory(self._settings.context_max_bytes)
        memory.operator(self._settings.known)
        return memory

    def _hear(self, context: ContextAccount, plan: PlanState) -> None:
        """Take in what the user asked for, before anything is judged by it."""
        the = plan.plan
        if the.received_at - context.used_at > self._settings.idle_seconds and context.used_at:
            context.memory = self._memory()
        context.used_at = max(context.used_at, the.received_at)
        if plan.log_index is None and the.request is not None and the.issuer.attests_request:
            self._bytes += context.memory.request(the.request, the.plan_id)

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
        most = CONTEXTS_MAX if self._bytes <= self._settings.total_max_bytes else len(self._contexts) // 2
        if len(self._contexts) > most + CONTEXTS_MAX // 8 or most < CONTEXTS_MAX:
            _shrink(self._contexts, most, {id(use.context) for use in self._uses.values()})
            self._bytes = sum(context.memory.size_bytes for context in self._contexts.values())

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
