"""Ten thousand steps that wait for a remote hand, on both databases: rows, and nothing else."""

import time
from pathlib import Path

import pytest

from gateway.recovery import recover
from tests.pipeline.house import close_house
from tests.pipeline.remote import CRM, claim, give, note, pass_time, remote_house

PLANS, STEPS = 100, 100
"""As many as the default of ``queue_max`` lets wait."""


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_ten_thousand_steps_wait_and_are_handed_out_and_end(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = {"url": request.getfixturevalue("postgres_url")} if database == "postgresql" else {}
    house = await remote_house(tmp_path, database=url)
    try:
        for _ in range(PLANS):
            plan = house.brain.payload(*(note(f"s{number}") for number in range(STEPS)))
            view = await house.submit(plan, wait=0, at=time.time())
            await house.until_settled(view["plan_id"])
        full = await house.plan(note("last"))
        assert (full["steps"][0]["status"], full["steps"][0]["error"]["code"]) == ("failed", "gateway.overloaded")
        assert not house.pipeline._live
        assert await house.store.unfinished() == [], "a start has none of these to look at"
        await recover(house.pipeline, first=True)
        first = await house.claims.work(CRM, "crm", 100, 0.0)
        assert len(set(first)) == 100
        for step_jti in first[:5]:
            assert await give(house, step_jti, await claim(house, step_jti)) == {"status": "succeeded"}
        assert not set(first[:5]) & set(await house.claims.work(CRM, "crm", 100, 0.0))
        pass_time(house, 301)
        assert await house.claims.work(CRM, "crm", 100, 0.0) == []
        assert await house.offer_upkeep.expire() == 256, "so many in one turn"
    finally:
        await close_house(house)
