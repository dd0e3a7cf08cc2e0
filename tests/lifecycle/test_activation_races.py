"""What two people decide does not take effect on the word of one who was revoked or frozen before it is in the log.

Each interleaving is made by taking the activation's own append and doing the other thing right before it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.entries import EntryType
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.ports import Append
from gateway.reasons import Reason
from tests.lifecycle.town import ALLOW, ASK, Town, refusal


def before_activation(
    town: Town, act: Callable[[], Awaitable[Any]], times: int = 1, kind: EntryType = EntryType.POLICY_ACTIVATED
) -> Callable[[], int]:
    """Do ``act`` right before an activation is handed to the log, so many times; returns how often one was."""
    log, seen = town.gateway.log, 0
    real = log.append

    async def append(item: Append) -> Any:
        nonlocal seen
        if item.entries and item.entries[0].type is kind:
            seen += 1
            if seen <= times:
                await act()
        return await real(item)

    log.append = append  # type: ignore[method-assign]
    return lambda: seen


@pytest.mark.parametrize(
    ("who", "reason"),
    [("oli", Reason.AUTH_FORBIDDEN), ("ann", Reason.PROPOSAL_OUTDATED)],
    ids=["activator", "proposer"],
)
async def test_who_is_revoked_between_check_and_commit_activates_nothing(town: Town, who: str, reason: Reason) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW, by="kim")))
    before_activation(town, lambda: town.gateway.directory.revoke_principal(town.people["sec"], who))
    assert await refusal(town.activate(proposal)) is reason
    assert (town.digest, town.entries("POLACT")) == ("", [])


async def test_who_is_frozen_between_check_and_commit_activates_nothing(town: Town) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW, by="kim")))
    order = FreezeOrder(Scope.PRINCIPAL, "oli")
    before_activation(town, lambda: town.gateway.freezing.set(town.people["sec"], order))
    assert await refusal(town.activate(proposal)) is Reason.FREEZE_ACTIVE
    assert (town.digest, town.entries("POLACT")) == ("", [])


async def test_a_change_of_somebody_else_makes_it_look_again_and_no_more(town: Town) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW, by="kim")))
    appended = before_activation(town, lambda: town.gateway.directory.revoke_principal(town.people["sec"], "bot"))
    await town.activate(proposal)
    assert appended() == 2
    assert len(town.entries("POLACT")) == 1
    assert town.digest == proposal["subject"]


async def test_changes_without_end_end_the_activation_and_leave_it_to_be_tried_again(town: Town) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW, by="kim")))
    appended = before_activation(town, lambda: town.gateway.directory.issue_api_key(town.people["sec"], "bot"), times=5)
    assert await refusal(town.activate(proposal)) is Reason.OVERLOADED
    assert (appended(), town.digest, town.entries("POLACT")) == (5, "", [])
    await town.activate(proposal)
    assert town.digest == proposal["subject"]


async def test_who_is_revoked_between_check_and_commit_rolls_nothing_back(town: Town) -> None:
    """One person is enough for it, so that one has to be somebody."""
    first = await town.put_in_force(ALLOW)
    second = await town.put_in_force(ASK)
    back = EntryType.POLICY_ROLLED_BACK
    before_activation(town, lambda: town.gateway.directory.revoke_principal(town.people["sec"], "oli"), kind=back)
    assert await refusal(town.rollback(first)) is Reason.AUTH_FORBIDDEN
    assert (town.digest, town.entries("POLRBK")) == (second, [])


async def test_a_change_of_somebody_else_delays_a_rollback_and_no_more(town: Town) -> None:
    first = await town.put_in_force(ALLOW)
    await town.put_in_force(ASK)
    back = EntryType.POLICY_ROLLED_BACK
    appended = before_activation(
        town, lambda: town.gateway.directory.revoke_principal(town.people["sec"], "bot"), kind=back
    )
    await town.rollback(first)
    assert (appended(), town.digest, len(town.entries(str(back)))) == (2, first, 1)
