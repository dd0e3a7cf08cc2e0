"""Every promise has a hand that breaks it, and is found out; one that keeps them all is not."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.reasons import Reason
from hand_adapters.conformance import Options, Promise, Report, Status, check_adapter
from hand_adapters.conformance.promises import TEXTS
from hand_adapters.contract import HandError
from tests.hands.conformance import liars
from tests.hands.conformance.honest import SETTINGS, Shelf

SEED = 7


def options(**changes: Any) -> Options:
    values = {"examples": 6, "seed": SEED, "allow_effects": frozenset({"put"}), "grace_seconds": 1.0}
    return Options(**{**values, "analysis_seconds": 0.1, **changes})


async def check(kind: type[Shelf], **changes: Any) -> Report:
    return await check_adapter(kind, SETTINGS, options=options(**changes))


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    await liars.tidy()


async def test_one_that_keeps_its_promises_passes() -> None:
    report = await check(Shelf)
    assert not report.broken, report.text()
    kept = {one.promise for one in report.verdicts if one.status is Status.KEPT}
    assert kept == {*Promise} - {Promise.ERRORS}, "and no promise of it went untried"
    assert report.called == ("echo", "put", "read")
    assert list(report.left_out) == ["burn"], "what may do harm is not called"


@pytest.mark.parametrize(("promise", "action", "kind"), liars.LIARS, ids=lambda one: getattr(one, "__name__", str(one)))
async def test_a_liar_is_found_out(promise: Promise, action: str | None, kind: type[Shelf]) -> None:
    report = await check(kind, actions=frozenset({"read", action or "echo"}))
    found = {one.promise for one in report.broken}
    assert promise in found, report.document()
    assert found <= {promise, *liars.BESIDES.get(kind, ())}, report.text()
    assert action in {one.action for one in report.broken if one.promise is promise}, report.text()


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (liars.FailsToBeBuilt, "building it raised KeyError"),
        (liars.FailsToSayWhatItOffers, "manifest raised ZeroDivisionError, which is no HandError"),
    ],
)
async def test_one_that_does_not_come_as_far_as_a_manifest_is_found_out(kind: type[Shelf], seen: str) -> None:
    report = await check(kind)
    assert [(one.promise, one.seen) for one in report.broken] == [(Promise.ERRORS, seen)]
    assert not report.complete
    assert report.junit().count("<failure") == 1


async def test_one_that_says_why_it_cannot_be_asked_is_believed() -> None:
    with pytest.raises(HandError) as caught:
        await check(liars.IsAway)
    assert caught.value.reason is Reason.HAND_UNAVAILABLE


async def test_a_hand_without_actions_was_not_checked() -> None:
    report = await check_adapter(Shelf, {"adapter": "shelf"}, options=Options())
    assert (report.broken, report.complete) == ((), False)


async def test_every_promise_has_a_liar() -> None:
    assert {promise for promise, _, _ in liars.LIARS} == {*Promise} == {*TEXTS}


async def test_a_finding_is_met_again_by_its_command() -> None:
    """With the seed, the number of examples and the action that it names, nothing else."""
    first = (await check(liars.RaisesWhatItLikes)).broken
    finding = next(one for one in first if one.promise is Promise.ERRORS)
    words = shlex.split((await check(liars.RaisesWhatItLikes)).again(finding))
    assert words == ["hands", "check", "hand", "--seed", str(SEED), "--examples", "6", "--action", "echo",
                     "--allow-effects", "put"]  # fmt: skip
    again = (await check(liars.RaisesWhatItLikes, actions=frozenset({"echo"}))).broken
    assert [(one.seen, one.args) for one in again] == [(one.seen, one.args) for one in first if one.action == "echo"]


async def test_one_that_never_ends_does_not_hold_the_check_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends it, so whoever asks is told to leave the process."""
    seconds = {"call_seconds": 0.1, "grace_seconds": 0.1}
    report = await check(liars.NeverEnds, actions=frozenset({"echo"}), allow_effects=frozenset(), **seconds)
    assert report.unended
    assert Promise.DEADLINE in {one.promise for one in report.broken}
    monkeypatch.setattr(liars.NeverEnds, "over", True)
    running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
