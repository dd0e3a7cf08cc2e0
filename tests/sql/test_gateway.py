"""A database behind a real gateway, with the shipped rules: what is judged is the statement, and the record has it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handrail import Plan, Signer, SigningKey

from gateway.app import build
from gateway.model import UnverifiedPlan
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from tests import mariadb
from tests.sql.conftest import ACTIONS, WRITES, Database
from tests.web.conftest import serving

PASSWORD = {"database": {"place": "password"}}


class World:
    """A gateway with the hand ``db``, pinned."""

    def __init__(self, gateway: Any, url: str, signer: Signer, people: dict[str, Any], tokens: dict[str, Any]) -> None:
        self.gateway, self.url, self.signer, self.people, self.tokens = gateway, url, signer, people, tokens

    async def call(self, action: str, sql: str, **parameters: Any) -> dict[str, Any]:
        plan = Plan()
        plan.step("db", action, {"sql": sql, "parameters": parameters})
        unverified = UnverifiedPlan(self.signer.sign(plan).encode(), self.people["bot"], time.time())
        view = await self.gateway.pipeline.submit(unverified, wait_seconds=30)
        step: dict[str, Any] = view["steps"][0]
        return {**step, "plan_id": view["plan_id"]}


@asynccontextmanager
async def opened(home: Path, database: Database) -> AsyncIterator[World]:
    from gateway.web.asgi import create_app

    hand = {
        "adapter": "sql",
        "private_network": True,
        "database": {"dialect": database.dialect, "writes": WRITES, **database.place},
        "actions": ACTIONS,
        "secrets": PASSWORD if database.password else {},
    }
    home.mkdir()
    gateway = build(Settings(home=home, server={"port": 0}, hands={"db": hand}))
    async with serving(create_app(gateway), gateway.settings) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            assert (await http.get("/readyz")).status_code == 200
        names = [("admin", "security_admin"), ("op", "operator"), ("eve", "auditor"), ("bot", "agent")]
        people = await gateway.directory.bootstrap([NewPrincipal(name, [role]) for name, role in names])
        tokens = {one["principal"]["id"]: {"authorization": f"Bearer {one['api_key']['token']}"} for one in people}
        found = {name: await gateway.directory.principal("default", name) for name in tokens}
        key = SigningKey.generate()
        await gateway.directory.add_issuer(found["admin"], "brain", key.public.jwk(), ["bot"], attests_request=False)
        await gateway.hands.settled()
        await gateway.hands.pin("db", (await gateway.hands.offer("db")).digest, found["op"])
        signer = Signer("brain", key, gateway.log.origin, "default", "bot")
        yield World(gateway, f"http://127.0.0.1:{port}", signer, found, tokens)


async def test_the_rules_judge_what_a_statement_does(tmp_path: Path, sqlite_database: Database) -> None:
    async with opened(tmp_path / "home", sqlite_database) as world:
        read = await world.call("query", "SELECT name FROM users WHERE id = :id", id=1)
        assert (read["status"], read["result"]["structured"]["rows"]) == ("succeeded", [["Ann"]])
        everything = await world.call("execute", "DELETE FROM users WHERE 1 = 1")
        assert everything["status"] == "denied"
        assert "statements.everything" in {reason["code"] for reason in everything["decision"]["reasons"]}
        strange = await world.call("query", "SELECT load_extension('/tmp/x')")
        assert (strange["status"], strange["error"]["code"]) == ("denied", "schema.analysis")
        assert strange["error"]["problem"] == "sql.function"
        broken = await world.call("query", "SELECT nothing FROM users")
        assert (broken["status"], broken["error"]["code"]) == ("failed", "hand.failed")
        assert sqlite_database.ask("SELECT count(*) FROM users") == [(4,)]

        async with httpx2.AsyncClient(base_url=world.url, timeout=30) as http:
            target = f"/v1/plans/{read['plan_id']}/steps/{read['id']}/why"
            why = (await http.get(target, headers=world.tokens["eve"])).json()
        (judged,) = why["input"]["steps"]
        assert judged["analysis"]["columns"] == ["main.users.id", "main.users.name"]


@pytest.mark.parametrize("which", ["postgresql", "mariadb_database"])
async def test_the_password_is_the_secret_of_the_hand_and_its_use_is_on_record(
    request: pytest.FixtureRequest, tmp_path: Path, which: str
) -> None:
    database: Database = request.getfixturevalue(which)
    async with opened(tmp_path / "home", database) as world:
        without = await world.call("query", "SELECT 1 AS a")
        assert (without["status"], without["error"]["code"]) == ("failed", "secret.missing")
        await world.gateway.secrets.set(world.people["admin"], "database", database.password or mariadb.PASSWORD)
        assert (await world.call("query", "SELECT 1 AS a"))["status"] == "succeeded"
        with world.gateway.engine.connect() as connection:
            used = connection.exec_driver_sql("SELECT count(*) FROM entries WHERE type = 'SECUSE'").scalar_one()
        assert used == 1
