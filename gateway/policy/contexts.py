"""What contexts and principals did and read before (``ports.Contexts``): accounts in memory, rebuilt from the log.

The log is the truth, and every record about a step is a reservation or the end of one. So nothing is written for the
accounts: they are kept up to date as records are made, and read from the log where they are not at hand: a principal's
at its first use in this process, a context's where it was used before. A context that nobody used needs no reading,
and the database itself says with the plan's first record whether that was so (``errors.Mistaken``).

Other gateways may serve the same contexts and principals. What a round was judged by goes with its record
(:meth:`Contexts.rests_on`): where others wrote more meanwhile, the record is refused (``errors.Outdated``), the
accounts are caught up and the round is judged again. So nothing is decided by less than the log says, and a gateway
that is alone asks the database nothing for it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.canonical import MAX_SAFE_INTEGER
from gateway.manifest import SideEffects, Trust
from gateway.messages_api import usage
from gateway.model import Effect, StepStatus
from gateway.policy import traces
from gateway.policy.accounts import ContextAccount, PrincipalAccount, Reservation, StepKey, Sums
from gateway.policy.kept import Kept, Key
from gateway.policy.memory import Memory
from gateway.policy.provenance import provenance
from gateway.policy.recall import Recall, context_topic, principal_topic, public, read, trust
from gateway.ports import Others, Topic
from gateway.settings import ProvenanceSettings
from gateway.state import PlanState, Reported, StepState

PRINCIPALS_MAX: Final = 4096
CONTEXTS_MAX: Final = 8192
"""Accounts kept in memory. One that made room is read from the log again when it is used."""
INLINE_MAX_BYTES: Final = 32_768
"""What a memory takes apart of in the event loop: some ten milliseconds at worst. More goes to a thread."""


@dataclass(slots=True)
class _Use:
    """A plan that is being taken forward, and the accounts that it uses."""

    plan: PlanState
    principal: PrincipalAccount
    context: ContextAccount
    pending: list[StepKey] = field(default_factory=list)
    """Reserved for a round that is not on record yet."""
    rests_on: Mapping[Topic, int] = field(default_factory=dict)
    """What that round was judged by."""


class Contexts:
    """Belongs to one event loop."""

    def __init__(
        self,
        recall: Recall,
        settings: ProvenanceSettings,
        knows_context: Callable[[PlanState], bool],
        others: Others,
    ) -> None:
        """Read by ``recall`` what is not at hand.

        Args:
            knows_context: ``ports.PlanStore.knows_context``.
        """
        self._read = recall
        self._settings = settings
        self._knows_context = knows_context
        self._principals: Kept[PrincipalAccount] = Kept(others, self._replaced_principal)
        self._contexts: Kept[ContextAccount] = Kept(others, self._replaced_context)
        self._first: dict[Key, asyncio.Event] = {}
        """Contexts that are taken to be new, until their first plan is on record, or refused."""
        self._bytes = 0
        """What memories hold, as far as it was fed here."""
        self._uses: dict[str, _Use] = {}
        self._apart: dict[int, asyncio.Task[None]] = {}
        """``id()`` of a memory -> its being taken apart, in a thread."""

    # --- ports.Contexts ----------------------------------------------------------------------------------------------

    async def recall(self, plan: PlanState) -> None:
        """See ``ports.Contexts``."""
        use = self._uses.get(plan.plan.plan_id)
        if use is not None:
            if not use.context.presumed:
                await self._principal(plan)
                await self._context(plan)
            return
        principal = await self._principal(plan)
        while (first := self._first.get(_context_key(plan))) is not None:
            # Whether the context is new shows with the record of its first plan. The others wait for that.
            await first.wait()
        if plan.log_index is None and self._contexts.get(_context_key(plan)) is None and not self._knows_context(plan):
            fresh = ContextAccount(plan.plan.context_id, context_topic(plan.plan), presumed=True, memory=self._memory())
            context = self._contexts.put(_context_key(plan), fresh)
            self._first[_context_key(plan)] = asyncio.Event()
        else:
            context = await self._context(plan)
        # Either may have been read anew while the other was waited for.
        principal = self._principals.get(_principal_key(plan)) or principal
        plan.first_of_context = context.presumed
        self._uses[plan.plan.plan_id] = use = _Use(plan, principal, context)
        self._take_request(use)
        self._make_room()

    async def prepare(self, plan: PlanState) -> None:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        while True:
            memory = use.context.memory
            task = self._apart.get(id(memory))
            if task is None:
                if memory.new_bytes <= INLINE_MAX_BYTES:
                    return  # the first look takes it apart
                task = self._apart[id(memory)] = asyncio.ensure_future(self._take_apart_beside(memory))
            await asyncio.shield(task)

    def rests_on(self, plan: PlanState) -> Mapping[Topic, int]:
        """See ``ports.Contexts``."""
        use = self._uses.get(plan.plan.plan_id)
        return {} if use is None else use.rests_on

    def consider(self, plan: PlanState, states: Sequence[StepState], now: float) -> Mapping[str, Any]:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        context = use.context
        use.rests_on = {use.principal.topic: use.principal.as_of}
        if not context.presumed:  # else the database says with the first record whether it is new
            use.rests_on[context.topic] = context.as_of
        # A step that is judged anew must not find itself among what came before it.
        own = [(plan.plan.plan_id, state.step.id) for state in states]
        for key in own:
            self._release(use, key)
        itself = {id(context.under_way[key]) for key in own if key in context.under_way}
        seen = {
            "spent": {"context": context.spent.document(), "principal": use.principal.spent(now)},
            "history": [past.document(now) for past in reversed(context.history) if id(past) not in itself],
            "taint": [traces.taint(action, trust) for action, trust in context.taint.items()],
            "principal_taint": [
                traces.taint(action, Trust.UNTRUSTED) for action in use.principal.taint_beside(context.context_id, now)
            ],
            "private": [{"hand": hand, "action": action} for hand, action in context.private],
            "personal_data": sorted(context.personal_data),
        }
        context.memory.begin_round()
        for state in states:
            key = (plan.plan.plan_id, state.step.id)
            if state.manifest is not None and state.args is not None:
                action = state.manifest.actions[state.step.action]
                if action.roles:
                    state.provenance = provenance(state.args, action, context.memory, state.provenance, key[0])
            sums = Sums(1, int(traces.side_effects(state) != SideEffects.NONE), state.amount)
            use.principal.reserve(key, Reservation(sums, now))
            context.reserve(key, sums)
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
        index: int,
    ) -> None:
        """See ``ports.Contexts``."""
        use = self._uses[plan.plan.plan_id]
        use.pending.clear()
        use.rests_on = {}
        if use.context.presumed:
            use.context.presumed = False
            # The plan's own entry is the first one about this context.
            use.context.size = use.context.as_of = plan.log_index or 0
            self._first.pop(_context_key(plan)).set()
        released = [state for state in launched if state.status.final]
        dropped = [state for state in judged if state.status.final and not any(state is one for one in released)]
        dropped += [state for state in ended if not state.dispatched]

        def tell_principal(principal: PrincipalAccount) -> None:
            for state in dropped:
                principal.release((plan.plan.plan_id, state.step.id))
            for state in launched:
                principal.settle((plan.plan.plan_id, state.step.id))
            for state in filter(traces.untrusted, released):
                principal.read(state.names, plan.plan.context_id, now)

        def tell_context(context: ContextAccount) -> None:
            traces.written(context, plan, index)
            for state in dropped:
                context.release((plan.plan.plan_id, state.step.id))
            traces.judged(context, plan, judged, now)
            for state in ended:
                context.move((plan.plan.plan_id, state.step.id), str(state.status), final=True)
            for state in launched:
                key = (plan.plan.plan_id, state.step.id)
                context.settle(key)
                context.move(key, str(state.status), final=state.status.final)
                self._bytes += traces.let_go(context, plan, state)
            traces.read_by_client(context, released)

        self._principals.tell(_principal_key(plan), index, tell_principal)
        self._contexts.tell(_context_key(plan), index, tell_context)

    def outcome(self, plan: PlanState, state: StepState, document: bytes | None, now: float, index: int) -> None:
        """See ``ports.Contexts``."""
        key = (plan.plan.plan_id, state.step.id)
        shown = document if state.status in {StepStatus.SUCCEEDED, StepStatus.FAILED} else None
        untrusted = shown is not None and trust(state.manifest, state.step.action) is not Trust.TRUSTED
        tokens = usage.total(state.used())

        def tell_principal(principal: PrincipalAccount) -> None:
            if not state.dispatched:
                principal.release(key)
            if tokens:
                principal.use(tokens, now)
            if untrusted:
                principal.read(state.names, plan.plan.context_id, now)

        def tell_context(context: ContextAccount) -> None:
            traces.written(context, plan, index)
            if not state.dispatched:
                context.release(key)
            if tokens:
                context.use(tokens)
            context.move(key, str(state.status), final=True)
            if shown is not None:
                self._bytes += read(context.memory, shown, key, state.manifest, state.names)
                if not public(state.manifest):
                    context.read_private(state.names)
                context.personal_data |= state.personal_data.keys()
            if untrusted:
                context.read(state.names, str(Trust.UNTRUSTED))

        self._principals.tell(_principal_key(plan), index, tell_principal)
        self._contexts.tell(_context_key(plan), index, tell_context)

    def reported(self, plan: PlanState, state: StepState, reported: Reported, document: bytes) -> None:
        """See ``ports.Contexts``."""
        key = (plan.plan.plan_id, state.step.id)

        def tell(context: ContextAccount) -> None:
            traces.written(context, plan, reported.log_index)
            self._bytes += context.memory.result(document, *key, state.manifest, state.names)
            context.personal_data |= reported.personal_data.keys()

        self._contexts.tell(_context_key(plan), reported.log_index, tell)

    def forget(self, tenant: str, principal_id: str, context_id: str | None = None) -> None:
        """See ``ports.Contexts``."""

        def lose(context: ContextAccount) -> None:
            self._bytes -= context.memory.size_bytes
            context.memory = self._memory()

        for key in self._contexts.every_key():
            if key[:2] == (tenant, principal_id) and context_id in {None, key[2]}:
                self._contexts.tell(key, MAX_SAFE_INTEGER, lose)

    def forget_all(self) -> None:
        """See ``ports.Contexts``."""
        used = {id(use.context) for use in self._uses.values()}
        self._contexts.shrink(0, used)
        for context in self._contexts:
            if not context.presumed:
                context.memory = self._memory()
        self._bytes = sum(context.memory.size_bytes for context in self._contexts)

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
            self._contexts.drop(_context_key(plan))
            self._first.pop(_context_key(plan)).set()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _memory(self) -> Memory:
        memory = Memory(self._settings.context_max_bytes)
        memory.operator(self._settings.known)
        return memory

    async def _principal(self, plan: PlanState) -> PrincipalAccount:
        the = plan.plan
        return await self._principals.at_hand(
            _principal_key(plan),
            principal_topic(the),
            lambda: self._read.principal(the),
            lambda account, indices: self._read.others_of_principal(the.tenant, account, indices),
        )

    async def _context(self, plan: PlanState) -> ContextAccount:
        the, idle_seconds = plan.plan, self._settings.idle_seconds
        return await self._contexts.at_hand(
            _context_key(plan),
            context_topic(the),
            lambda: self._read.context(the, self._memory(), idle_seconds),
            lambda account, indices: self._read.others_of_context(the.tenant, account, indices, idle_seconds),
        )

    async def _take_apart_beside(self, memory: Memory) -> None:
        try:
            await asyncio.to_thread(memory.take_apart, memory.take_new())
        finally:
            del self._apart[id(memory)]

    def _replaced_principal(self, old: PrincipalAccount, new: PrincipalAccount, counted: Collection[StepKey]) -> None:
        """The account was read anew while plans use it: what they reserved and is not on record goes with them."""
        for use in self._uses.values():
            if use.principal is old:
                use.principal = new
                for step in use.pending:
                    reservation = old.reservation(step)
                    if reservation is not None and step not in counted:
                        new.reserve(step, reservation)

    def _replaced_context(self, old: ContextAccount, new: ContextAccount, counted: Collection[StepKey]) -> None:
        for use in self._uses.values():
            if use.context is old:
                use.context = new
                self._take_request(use)
                for step in use.pending:
                    if step in old.reserved and step not in counted:
                        new.reserve(step, old.reserved[step])

    def _take_request(self, use: _Use) -> None:
        """Take in what the user asked for, before anything is judged by it."""
        the, context = use.plan.plan, use.context
        if the.received_at - context.used_at > self._settings.idle_seconds and context.used_at:
            context.memory = self._memory()
        context.used_at = max(context.used_at, the.received_at)
        unread = use.plan.log_index is None or use.plan.log_index >= context.size
        if unread and the.request is not None and the.issuer.attests_request:
            self._bytes += context.memory.request(the.request, the.plan_id)
            if use.plan.log_index is None:
                context.unrecorded.add(the.plan_id)

    def _release(self, use: _Use, key: StepKey) -> None:
        use.principal.release(key)
        use.context.release(key)

    def _make_room(self) -> None:
        """Now and then, and then for many: to look for what nobody uses costs a look at everything."""
        if len(self._principals) > PRINCIPALS_MAX + PRINCIPALS_MAX // 8:
            self._principals.shrink(PRINCIPALS_MAX, {id(use.principal) for use in self._uses.values()})
        most = CONTEXTS_MAX if self._bytes <= self._settings.total_max_bytes else len(self._contexts) // 2
        if len(self._contexts) > most + CONTEXTS_MAX // 8 or most < CONTEXTS_MAX:
            self._contexts.shrink(most, {id(use.context) for use in self._uses.values()})
            self._bytes = sum(context.memory.size_bytes for context in self._contexts)


def _principal_key(plan: PlanState) -> Key:
    return (plan.plan.tenant, plan.plan.principal.id)


def _context_key(plan: PlanState) -> Key:
    return (plan.plan.tenant, plan.plan.principal.id, plan.plan.context_id)
