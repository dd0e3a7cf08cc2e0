"""Accounts from the log: what a process that was not there would know, had it been. No I/O."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from gateway.entries import EntryType
from gateway.manifest import SideEffects, Trust
from gateway.messages_api import usage
from gateway.model import StepStatus
from gateway.policy.accounts import ContextAccount, PastStep, PrincipalAccount, Reservation, StepKey, Sums
from gateway.ports import LoggedStep

TrustOf = Callable[[LoggedStep], Trust]
"""How far the result that an entry is about may vouch."""

JUDGED: Final = frozenset(
    {
        EntryType.POLICY_ALLOWED,
        EntryType.POLICY_OBSERVED,
        EntryType.APPROVAL_REQUESTED,
        EntryType.APPROVAL_REBOUND,
    }
)
"""The step spends from here on."""
UNSPENT: Final = frozenset(
    {
        EntryType.POLICY_DENIED,
        EntryType.APPROVAL_EXPIRED,
        EntryType.APPROVAL_VOIDED,
        EntryType.STEP_SKIPPED,
        EntryType.STEP_CANCELLED,
    }
)
"""A step that was not dispatched before spends nothing."""
LET_GO: Final = frozenset({EntryType.STEP_DISPATCHED, EntryType.STEP_RELEASED})
"""What the step spends is spent."""
SHOWN: Final = frozenset({EntryType.STEP_EXECUTED, EntryType.STEP_FAILED, EntryType.STEP_REPORTED})
"""The caller has a result, and it is known."""
READ: Final = frozenset({EntryType.STEP_EXECUTED, EntryType.STEP_FAILED, EntryType.STEP_RELEASED})
"""The caller has a result from here on. What is released the client runs, whether or not it ever says what came of
it."""
_STATUS: Final[Mapping[EntryType, StepStatus]] = {
    EntryType.POLICY_ALLOWED: StepStatus.DEFERRED,
    EntryType.POLICY_OBSERVED: StepStatus.DEFERRED,
    EntryType.POLICY_DENIED: StepStatus.DENIED,
    EntryType.APPROVAL_REQUESTED: StepStatus.HELD,
    EntryType.APPROVAL_REBOUND: StepStatus.HELD,
    EntryType.APPROVAL_EXPIRED: StepStatus.EXPIRED,
    EntryType.APPROVAL_VOIDED: StepStatus.DEFERRED,
    EntryType.STEP_DISPATCHED: StepStatus.RUNNING,
    EntryType.STEP_EXECUTED: StepStatus.SUCCEEDED,
    EntryType.STEP_FAILED: StepStatus.FAILED,
    EntryType.STEP_AMBIGUOUS: StepStatus.AMBIGUOUS,
    EntryType.STEP_SKIPPED: StepStatus.SKIPPED,
    EntryType.STEP_CANCELLED: StepStatus.CANCELLED,
    EntryType.STEP_RELEASED: StepStatus.RELEASED,
}


def tell_principal(
    account: PrincipalAccount, steps: Iterable[LoggedStep], amounts: Mapping[str, float], trust_of: TrustOf
) -> set[StepKey]:
    """Take into an account what a principal spent and read, from entries about its steps, oldest first.

    Args:
        amounts: commitment -> amount. One that was erased counts nothing: nobody knows it any more.

    Returns:
        The steps whose spending these entries tell of, unless it was released.
    """
    counted: set[StepKey] = set()
    for step in steps:
        key = (step.plan_id, step.step_id or "")
        if step.type in JUDGED:
            account.release(key)
            account.reserve(key, Reservation(_sums(step, amounts), step.at))
            counted.add(key)
        elif step.type in UNSPENT:
            account.release(key)
            counted.discard(key)
        elif step.type in LET_GO:
            account.settle(key)
        if tokens := usage.total(step.facts):
            account.use(tokens, step.at)
        if step.type in READ and trust_of(step) is not Trust.TRUSTED:
            account.read((step.hand, step.action), step.context_id, step.at)
    return counted


def tell_context(
    account: ContextAccount, steps: Iterable[LoggedStep], amounts: Mapping[str, float], trust_of: TrustOf
) -> set[StepKey]:
    """The same for a context, from entries about its plans and steps."""
    counted: set[StepKey] = set()
    for step in steps:
        if step.step_id is None:
            continue
        key = (step.plan_id, step.step_id)
        if step.type is EntryType.STEP_REPORTED:
            continue  # it moves nothing: the step was read when it was released
        if step.type in JUDGED or step.type in UNSPENT:
            account.release(key)
            counted.discard(key)
        if step.type in JUDGED:
            account.reserve(key, _sums(step, amounts))
            counted.add(key)
        elif step.type in LET_GO:
            account.settle(key)
        if tokens := usage.total(step.facts):
            account.use(tokens)
        if step.type in READ and trust_of(step) is not Trust.TRUSTED:
            account.read((step.hand, step.action), str(Trust.UNTRUSTED))
        _remember(account, key, step)
    return counted


def _remember(account: ContextAccount, key: tuple[str, str], step: LoggedStep) -> None:
    status = _STATUS[step.type]
    known = account.under_way.get(key)
    if known is None or step.type in JUDGED:
        if step.effect is not None:
            past = PastStep(step.hand, step.action, step.effect, side_effects(step), str(status), step.at)
            account.note(key, past, final=status.final)
        return
    if step.type is EntryType.POLICY_DENIED and step.effect is not None:
        known.effect = step.effect
    account.move(key, str(status), final=status.final)


def side_effects(step: LoggedStep) -> str:
    """What a judged step may change; what an entry does not say counts as the worst."""
    return str(step.facts.get("side_effects", SideEffects.EXTERNAL))


def _sums(step: LoggedStep, amounts: Mapping[str, float]) -> Sums:
    changes = int(side_effects(step) != SideEffects.NONE)
    return Sums(1, changes, amounts.get(step.commitments.get("amount", ""), 0.0))
