"""Accounts of principals and contexts, read from the log and the sealed side table."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import orjson

from gateway.arguments import by_role
from gateway.canonical import b64url_decode, parse
from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused
from gateway.manifest import CONVERSATIONS, Manifest, Trust
from gateway.messages_api.heard import answered, heard
from gateway.messages_api.showing import shown
from gateway.model import Effect, Plan
from gateway.policy.accounts import LONGEST_SECONDS, ContextAccount, PrincipalAccount, StepKey
from gateway.policy.memory import Memory, Origin, Source
from gateway.policy.rebuild import LET_GO, READ, SHOWN, side_effects, tell_context, tell_principal
from gateway.policy.values import scalar_text
from gateway.ports import Hands, LoggedStep, Past, Payloads, Topic, TopicKind
from gateway.reasons import Reason

ENTRIES_MAX: Final = 200_000
"""Entries of a principal's last day that are read. The longer windows of a busier one begin with the newest of them."""
_OPEN_BATCH: Final = 200

Attests = Callable[[str, str], Awaitable[bool]]
"""Tenant and issuer id -> whether the issuer may attest a user's words."""
Counted = set[StepKey]
"""Steps whose spending an account has from the log."""
AskedSteps = dict[StepKey, LoggedStep]
"""Steps that a person was asked about, by the entry that says so."""


def principal_topic(plan: Plan) -> Topic:
    """What entries about the plan's principal are known by."""
    return Topic(TopicKind.PRINCIPAL, plan.tenant, plan.principal.pseudonym)


def context_topic(plan: Plan) -> Topic:
    """What entries about the plan's context are known by."""
    return Topic(TopicKind.CONTEXT, plan.tenant, plan.context_id)


class Recall:
    """Reads what a process that was not there would know, had it been."""

    def __init__(self, past: Past, payloads: Payloads, hands: Hands, attests: Attests) -> None:
        self._past = past
        self._payloads = payloads
        self._hands = hands
        self._attests = attests

    async def principal(self, plan: Plan) -> tuple[PrincipalAccount, Counted]:
        """The account of a plan's principal. Raises ``log.unavailable``."""
        since = plan.received_at - LONGEST_SECONDS
        logged = await self._past.of_principal(plan.tenant, plan.principal.pseudonym, since, ENTRIES_MAX)
        account = PrincipalAccount(principal_topic(plan))
        account.size = account.as_of = logged.size
        amounts = await self._amounts(logged.steps)
        return account, tell_principal(account, logged.steps, amounts, self._trust_of(plan.tenant))

    async def context(self, plan: Plan, memory: Memory, idle_seconds: float) -> tuple[ContextAccount, Counted]:
        """The account of a plan's context. Raises ``log.unavailable``.

        Args:
            memory: to be filled with what the context remembers.
            idle_seconds: what was remembered before a pause as long as this is forgotten.
        """
        logged = await self._past.of_context(plan.tenant, plan.context_id)
        steps = logged.steps
        account = ContextAccount(plan.context_id, context_topic(plan), memory=memory)
        account.size = account.as_of = logged.size
        counted = tell_context(account, steps, await self._amounts(steps), self._trust_of(plan.tenant))
        self._tell_read(account, plan.tenant, steps)
        asked: AskedSteps = {}
        async for step, opened in self._opened(_since_last_pause(steps, plan.received_at, idle_seconds)):
            if memory.full:
                break
            words = await self._words(plan.tenant, step, opened)
            self._remember(plan.tenant, memory, step, opened, words, asked)
            self._hear(plan.tenant, account, step, opened)
        account.used_at = steps[-1].at if steps else 0.0
        return account, counted

    async def others_of_principal(self, tenant: str, account: PrincipalAccount, indices: Sequence[int]) -> bool:
        """Take into an account what other gateways wrote at these indices. Raises ``log.unavailable``."""
        steps = [step for step in await self._past.these(indices) if step.type is not EntryType.PLAN_RECEIVED]
        tell_principal(account, steps, await self._amounts(steps), self._trust_of(tenant))
        account.as_of = indices[-1] + 1
        return True

    async def others_of_context(
        self, tenant: str, account: ContextAccount, indices: Sequence[int], idle_seconds: float
    ) -> bool:
        """The same for a context; ``False`` where the account must be read anew, because what is in it already came
        later, and *the first source wins*. Raises ``log.unavailable``.
        """
        memory = account.memory
        steps = await self._past.these(indices)
        times = [account.used_at, *(step.at for step in steps)]
        if any(later - earlier > idle_seconds for earlier, later in pairwise(times)):
            return False
        if any(step.type in LET_GO and step.effect == Effect.ASK for step in steps):
            return False  # whose request for approval may lie before these entries
        amounts = await self._amounts(steps)
        # All of it is read before any of it is told: nothing of this process may come between.
        opened = [(step, values, await self._words(tenant, step, values)) async for step, values in self._opened(steps)]
        if account.torn or account.unrecorded or account.newest > indices[0] or account.memory is not memory:
            return False
        tell_context(account, steps, amounts, self._trust_of(tenant))
        self._tell_read(account, tenant, steps)
        for step, values, words in opened:
            self._remember(tenant, memory, step, values, words, {})
            self._hear(tenant, account, step, values)
        account.used_at = max(account.used_at, steps[-1].at if steps else 0.0)
        account.as_of = indices[-1] + 1
        return True

    def _tell_read(self, account: ContextAccount, tenant: str, steps: Iterable[LoggedStep]) -> None:
        for step in steps:
            if step.type is EntryType.PLAN_RECEIVED and "run" in step.facts:
                account.runs.add(step.plan_id)
            if step.type in READ and not public(self._manifest(tenant, step)):
                account.read_private((step.hand, step.action))
            if self._asks(tenant, account, step):
                tell_heard(account, (step.hand, step.action))
            if step.type in SHOWN:
                account.personal_data |= _kinds(step)

    def _remember(
        self,
        tenant: str,
        memory: Memory,
        step: LoggedStep,
        opened: Mapping[str, bytes],
        words: str | None,
        asked: AskedSteps,
    ) -> None:
        """Feed the memory in the order of the log. What was erased is not remembered: it is unknown."""
        key = (step.plan_id, step.step_id or "")
        if words is not None:
            memory.request(words, step.plan_id)
        elif step.type in SHOWN and "result" in opened:
            read(memory, opened["result"], key, self._manifest(tenant, step), (step.hand, step.action))
        elif step.type is EntryType.APPROVAL_REQUESTED:
            asked[key] = step
        elif step.type in {EntryType.POLICY_ALLOWED, EntryType.POLICY_OBSERVED}:
            asked.pop(key, None)
        elif step.type in LET_GO and key in asked and "args" in opened:
            approve(memory, orjson.loads(opened["args"]), self._manifest(tenant, step), _approved(asked[key]))

    def _hear(self, tenant: str, account: ContextAccount, step: LoggedStep, opened: Mapping[str, bytes]) -> None:
        """Feed the memory what a model was told."""
        if self._asks(tenant, account, step) and "args" in opened:
            key, names = (step.plan_id, step.step_id or ""), (step.hand, step.action)
            hear(account.memory, orjson.loads(opened["args"]), key, names)

    def _asks(self, tenant: str, account: ContextAccount, step: LoggedStep) -> bool:
        let_go = step.type in LET_GO and step.plan_id not in account.runs
        return let_go and asks(self._manifest(tenant, step), step.action)

    async def _opened(self, steps: Sequence[LoggedStep]) -> AsyncIterator[tuple[LoggedStep, Mapping[str, bytes]]]:
        for start in range(0, len(steps), _OPEN_BATCH):
            batch = steps[start : start + _OPEN_BATCH]
            wanted = {step.index: _wanted(step) for step in batch}
            values = await self._payloads.open(sorted({one for names in wanted.values() for one in names.values()}))
            for step in batch:
                named = wanted[step.index].items()
                yield step, {name: values[commitment][1] for name, commitment in named if commitment in values}

    async def _words(self, tenant: str, step: LoggedStep, opened: Mapping[str, bytes]) -> str | None:
        """The user's words in a plan on record, where its issuer may attest them, still."""
        if step.type is not EntryType.PLAN_RECEIVED or "plan" not in opened:
            return None
        try:
            claims = parse(b64url_decode(opened["plan"].split(b".")[1].decode("ascii")))
            text = claims.get("request")
            return text if isinstance(text, str) and await self._attests(tenant, claims["iss"]) else None
        except Refused:
            return None
        except (LookupError, ValueError, AttributeError):
            raise HandrailError(Reason.INTERNAL, "a plan on record cannot be read") from None

    async def _amounts(self, steps: Iterable[LoggedStep]) -> dict[str, float]:
        wanted = sorted({step.commitments["amount"] for step in steps if "amount" in step.commitments})
        found: dict[str, float] = {}
        for start in range(0, len(wanted), _OPEN_BATCH):
            opened = await self._payloads.open(wanted[start : start + _OPEN_BATCH])
            found |= {commitment: float(orjson.loads(value)) for commitment, (_, value) in opened.items()}
        return found

    def _manifest(self, tenant: str, step: LoggedStep) -> Manifest | None:
        """By which a step was judged, if that is still the one that is pinned."""
        manifest = self._hands.manifest(tenant, step.hand)
        pinned = manifest is not None and manifest.digest == step.manifest_digest
        return manifest if pinned and manifest is not None and step.action in manifest.actions else None

    def _trust_of(self, tenant: str) -> Callable[[LoggedStep], Trust]:
        return lambda step: trust(self._manifest(tenant, step), step.action)


def _kinds(step: LoggedStep) -> set[str]:
    """Kinds of personal data that an entry says were left in a result (``stages.drafts.found``)."""
    return {one.partition(":")[0] for one in str(step.facts.get("personal_data", "")).split()}


def trust(manifest: Manifest | None, action: str) -> Trust:
    """The operator's word on an action's results; where it is not known any more, they are not trusted."""
    if manifest is None or action not in manifest.actions:
        return Trust.UNTRUSTED
    return manifest.actions[action].trust or manifest.trust


def public(manifest: Manifest | None) -> bool:
    """Whether the results of a hand are for everybody, by the operator's label ``public``."""
    return manifest is not None and "public" in manifest.labels


def asks(manifest: Manifest | None, action: str) -> bool:
    """Whether a step asks a model. Where it is not known any more, whatever looks like a conversation is one."""
    return action in CONVERSATIONS if manifest is None else manifest.converses(action)


def tell_heard(account: ContextAccount, names: tuple[str, str]) -> None:
    """A model was asked, outside of a run: what its conversation has from others was read, whatever the operator says
    of what the model itself returns.

    Args:
        names: hand and action.
    """
    account.read(names, str(Trust.UNTRUSTED))
    account.read_private(names)


def hear(memory: Memory, args: Mapping[str, Any], key: StepKey, names: tuple[str, str]) -> int:
    """Remember what a conversation with a model has from others. Returns the bytes that are kept.

    Args:
        names: hand and action.
    """
    return 0 if memory.full else memory.heard(heard(shown(args)), *key, names)


def read(memory: Memory, document: bytes, key: StepKey, manifest: Manifest | None, names: tuple[str, str]) -> int:
    """A caller was shown what came of a step: remember it. Returns the bytes that are kept.

    Of a model's answer only what it has from others: what a model says itself supplies nothing, or the arguments of
    each call that it asks for would stand in a result.

    Args:
        document: ``{content, structured}`` as JSON.
    """
    structured = orjson.loads(document).get("structured") if manifest is not None and manifest.model else None
    blocks = answered(structured) if isinstance(structured, Mapping) else None
    if blocks is not None:
        return memory.heard(blocks, *key, names)
    # Counts and errors are of what the caller chose to send: they vouch for nothing either.
    model = manifest is not None and manifest.model
    return memory.result(document, *key, None if model else manifest, names)


def approve(memory: Memory, args: Mapping[str, Any], manifest: Manifest | None, origin: Origin) -> None:
    """A person approved a call: remember its arguments."""
    if manifest is None:
        return
    for _, role, scalar in by_role(args, manifest.actions[origin.action]):
        text = scalar_text(scalar)
        if text is not None:
            memory.approve(role, text, origin)


def _approved(step: LoggedStep) -> Origin:
    return Origin(
        Source.APPROVED,
        step.plan_id,
        step.step_id or "",
        step.hand,
        step.action,
        side_effects=side_effects(step),
    )


def _wanted(step: LoggedStep) -> dict[str, str]:
    """Name -> commitment of what the memory wants of an entry."""
    names: tuple[str, ...]
    if step.type is EntryType.PLAN_RECEIVED:
        names = ("plan",)
    elif step.type in SHOWN:
        names = ("result",)
    else:
        names = ("args",) if step.type in LET_GO else ()
    return {name: step.commitments[name] for name in names if name in step.commitments}


def _since_last_pause(steps: Sequence[LoggedStep], now: float, idle_seconds: float) -> Sequence[LoggedStep]:
    times = [*(step.at for step in steps), now]
    for index in range(len(steps) - 1, -1, -1):
        if times[index + 1] - times[index] > idle_seconds:
            return steps[index + 1 :]
    return steps
