"""The posture check ``retention-set`` on a real log: what lies there too long, and what was dropped under a hold."""

from datetime import datetime

import pytest

from audit import holds
from audit.retention import survey
from gateway.ports import Append
from gateway.posture.model import State
from gateway.posture.retention import CHECKS
from gateway.posture.scene import Scene
from gateway.settings import Settings
from tests.audit.conftest import TIME
from tests.audit.retention.conftest import MONTH, retention


def looked(engine, now=TIME, months=24):
    database = {"url": engine.url.render_as_string(hide_password=False)}
    scene = Scene(Settings(database=database, log={"retention_months": months}), now)
    try:
        [check] = CHECKS
        return check.look(scene)
    finally:
        scene.close()


async def test_what_is_over_and_still_there_is_found_and_dropping_it_mends_it(aged, opened, clock):
    verdict = looked(aged)
    assert verdict.state is State.FAIL
    assert "8,192 entries" in verdict.detail
    assert "retention apply" in verdict.remedy
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        for number in (0, 1):
            assert await one.drop(number)
    verdict = looked(aged)
    assert verdict.state is State.PASS
    assert "24 months" in verdict.detail


async def test_what_is_over_only_since_yesterday_may_lie_there(aged):
    with aged.connect() as connection:
        newest = next(survey(connection, "")).newest
    over = datetime.fromisoformat(newest).timestamp() + 24.5 * MONTH
    assert looked(aged, now=over).state is State.PASS
    assert looked(aged, now=over + 2 * MONTH).state is State.FAIL


async def test_a_hold_that_was_kept_is_no_fault(aged, opened, clock):
    async with opened(aged) as log:
        await log.append(Append([holds.setting(holds.Held(), "2026/17")[1]]))
    assert looked(aged).state is State.PASS


@pytest.mark.parametrize(
    ("held", "partitions", "state"),
    [
        (holds.Held(), [0, 1], State.FAIL),
        (holds.Held(first=10, last=20), [0, 1], State.FAIL),
        (holds.Held(first=4000), [0], State.FAIL),
        (holds.Held(first=7, last=7), [0, 1], State.PASS),  # it stands, and so is there
        (holds.Held(first=4096, last=8191), [0], State.PASS),
    ],
)
async def test_dropping_under_a_hold_is_found(aged, opened, clock, monkeypatch, held, partitions, state):
    """By a program that looks for no holds, as the owner of the tables could run it."""
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        await log.append(Append([holds.setting(held, "2026/17")[1]]))
        with monkeypatch.context() as blind:
            blind.setattr("audit.retention.in_force", lambda _: [])
            for number in partitions:
                assert await one.drop(number)
    verdict = looked(aged)
    assert verdict.state is state
    assert ("2026/17" in verdict.detail) is (state is State.FAIL)


async def test_a_hold_that_was_set_or_lifted_about_what_was_gone_is_no_fault(aged, opened, clock):
    async with opened(aged) as log:
        one = retention(aged, log, clock)
        for number in (0, 1):
            await one.drop(number)
        await log.append(Append([holds.setting(holds.Held(first=0, last=9), "2026/18")[1]]))
    assert looked(aged).state is State.PASS
