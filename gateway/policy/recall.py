"""Accounts of principals and contexts, read from the log and the sealed side table."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.arguments import by_role
from gateway.canonical import b64url_decode, parse
from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused
from gateway.manifest import Manifest, Trust
from gateway.model import Plan
from gateway.policy.accounts import LONGEST_SECONDS, ContextAccount, PrincipalAccount, StepKey
from gateway.policy.memory import Memory, Origin, Source
from gateway.policy.rebuild import READ, context_account, principal_account, side_effects
from gateway.policy.values import scalar_text
from gateway.ports import Hands, LoggedStep, Past, Payloads
from gateway.reasons import Reason

ENTRIES_MAX: Final = 200_000
"""Entries of a principal's last day that are read. The longer windows of a busier one begin with the newest of them."""
_OPEN_BATCH: Final = 200

Attests = Callable[[str, str], Awaitable[bool]]
"""Tenant and issuer id -> whether the issuer may attest a user's words."""


class Recall:
    """Reads what a process that was not there would know, had it been."""

    def __init__(self, past: Past, payloads: Payloads, hands: Hands, attests: Attests) -> None:
        self._past = past
        self._payloads = payloads
        self._hands = hands
        self._attests = attests

    async def principal(self, plan: Plan) -> PrincipalAccount:
        """The account of a plan's principal. Raises ``log.unavailable``."""
        since = plan.received_at - LONGEST_SECONDS
        steps = await self._past.of_principal(plan.tenant, plan.principal.pseudonym, since, ENTRIES_MAX)
        return principal_account(steps, await self._amounts(steps), self._trust_of(plan.tenant))

    async def context(self, plan: Plan, memory: Memory, idle_seconds: float) -> ContextAccount:
        """The account of a plan's context. Raises ``log.unavailable``.

        Args:
            memory: to be filled with what the context remembers.
            idle_seconds: what was remembered before a pause as long as this is forgotten.
        """
        steps = await self._past.of_context(plan.tenant, plan.context_id)
        account = context_account(plan.context_id, steps, await self._amounts(steps), self._trust_of(plan.tenant))
        for step in steps:
            if step.type in READ and not public(self._manifest(plan.tenant, step)):
                account.read_private((step.hand, step.action))
        await self._remember(plan.tenant, _since_last_pause(steps, plan.received_at, idle_seconds), memory)
        account.memory = memory
        account.used_at = steps[-1].at if steps else 0.0
        return account

    async def _remember(self, tenant: str, steps: Sequence[LoggedStep], memory: Memory) -> None:
        """Feed the memory in the order of the log. What was erased is not remembered: it is unknown."""
        asked: dict[StepKey, LoggedStep] = {}
        async for step, opened in self._opened(steps):
            if memory.full:
                return
            key = (step.plan_id, step.step_id or "")
            if step.type is EntryType.PLAN_RECEIVED and "plan" in opened:
                text = await self._request(tenant, opened["plan"])
                if text is not None:
                    memory.request(text, step.plan_id)
            elif step.type in READ and "result" in opened:
                names = (step.hand, step.action)
                memory.result(opened["result"], *key, self._manifest(tenant, step), names)
            elif step.type is EntryType.APPROVAL_REQUESTED:
                asked[key] = step
            elif step.type in {EntryType.POLICY_ALLOWED, EntryType.POLICY_OBSERVED}:
                asked.pop(key, None)
            elif step.type is EntryType.STEP_DISPATCHED and key in asked and "args" in opened:
                approve(memory, orjson.loads(opened["args"]), self._manifest(tenant, step), _approved(asked[key]))

    async def _opened(self, steps: Sequence[LoggedStep]) -> AsyncIterator[tuple[LoggedStep, Mapping[str, bytes]]]:
        for start in range(0, len(steps), _OPEN_BATCH):
            batch = steps[start : start + _OPEN_BATCH]
            wanted = {step.index: _wanted(step) for step in batch}
            values = await self._payloads.open(sorted({one for names in wanted.values() for one in names.values()}))
            for step in batch:
                named = wanted[step.index].items()
                yield step, {name: values[commitment][1] for name, commitment in named if commitment in values}

    async def _request(self, tenant: str, raw: bytes) -> str | None:
        """The user's words in a plan on record, where its issuer may attest them, still."""
        try:
            claims = parse(b64url_decode(raw.split(b".")[1].decode("ascii")))
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


def trust(manifest: Manifest | None, action: str) -> Trust:
    """The operator's word on an action's results; where it is not known any more, they are not trusted."""
    if manifest is None or action not in manifest.actions:
        return Trust.UNTRUSTED
    return manifest.actions[action].trust or manifest.trust


def public(manifest: Manifest | None) -> bool:
    """Whether the results of a hand are for everybody, by the operator's label ``public``."""
    return manifest is not None and "public" in manifest.labels


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
    elif step.type in READ:
        names = ("result",)
    else:
        names = ("args",) if step.type is EntryType.STEP_DISPATCHED else ()
    return {name: step.commitments[name] for name in names if name in step.commitments}


def _since_last_pause(steps: Sequence[LoggedStep], now: float, idle_seconds: float) -> Sequence[LoggedStep]:
    times = [*(step.at for step in steps), now]
    for index in range(len(steps) - 1, -1, -1):
        if times[index + 1] - times[index] > idle_seconds:
            return steps[index + 1 :]
    return steps
