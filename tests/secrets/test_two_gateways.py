"""Two gateways of one database: what a security admin changes at one, the steps of the other are given in five seconds,
without a restart; and a step under way ends with the value that it began with."""

import asyncio
from pathlib import Path

import pytest

from gateway.reasons import Reason
from gateway.settings import SecretSettings
from tests.canaries import Canaries, rows_of
from tests.secrets.world import Api, joined, opened
from tests.until import until

WITHIN_SECONDS = 5.0
BEARER = {"token": {}}


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_a_rotation_at_one_reaches_the_other_and_breaks_no_call(
    tmp_path: Path, api: Api, canaries: Canaries, kind: str, request: pytest.FixtureRequest
) -> None:
    assert SecretSettings().fresh_seconds < WITHIN_SECONDS
    database = {"url": f"sqlite:///{tmp_path / 'shared.db'}"}
    if kind == "postgresql":
        database = {"url": str(request.getfixturevalue("postgres_url"))}
    first, second = canaries.plant(), canaries.plant()
    async with (
        opened(tmp_path / "one", api, BEARER, database=database) as one,
        joined(tmp_path, one, api, BEARER, database=database) as two,
    ):
        admin = one.people["admin"]
        await one.gateway.secrets.set(admin, "token", first)
        assert (await two.call())["status"] == "succeeded"
        assert api.headers[-1]["authorization"] == f"Bearer {first}"

        entered, leave = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            entered.set()
            await leave.wait()

        api.meanwhile = meanwhile
        under_way = asyncio.create_task(two.call("raw"))
        await entered.wait()
        api.meanwhile = None
        await one.gateway.secrets.rotate(admin, "token", second)

        async def arrived() -> bool:
            assert (await two.call())["status"] == "succeeded"
            return api.headers[-1]["authorization"] == f"Bearer {second}"

        await until(arrived, WITHIN_SECONDS)
        leave.set()
        ended = await under_way
        assert ended["status"] == "succeeded"
        assert "[secret]" in str(ended["result"]), "the old value is still known to be one"

        await one.gateway.secrets.remove(admin, "token")

        async def stopped() -> bool:
            step = await two.call()
            return step["status"] == "failed" and step["error"]["code"] == Reason.SECRET_MISSING

        await until(stopped, WITHIN_SECONDS)
        canaries.must_not_be_in("the database", rows_of(two.gateway.engine))
