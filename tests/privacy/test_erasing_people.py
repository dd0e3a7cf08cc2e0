"""Erasure over the real gateway, as an officer asks for it."""

import asyncio
import json
import shutil
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from audit.database import changing_schema
from audit.fsck import check
from gateway.canonical import b64url_encode
from gateway.connector import signed_plan
from gateway.ports.undelivered import MCP_ISSUER
from gateway.privacy import requests as privacy_requests
from tests.privacy.conftest import PEOPLE, World, running, upstream
from tests.until import until

ANN, BOB = "ann@example.com", "bob@example.com"


async def access(world: World, person: str, expect: int = 200) -> Any:
    return await world.json("POST", "/v1/privacy/access", "officer", {"person": person}, expect)


def values_of(export: Any) -> str:
    return json.dumps(export["values"])


async def test_a_customer_is_shown_all_that_is_held_and_then_erased(world: World) -> None:
    await world.note("bot", ANN, "Ann likes figs")
    await world.note("bot", BOB, "Bob likes pears")
    held = await access(world, ANN)
    assert "Ann likes figs" in values_of(held)
    assert f"phone of {ANN}" in values_of(held)
    assert "pears" not in json.dumps(held)
    assert held["end"] == {"values": len(held["values"]), "entries": len(held["entries"])}
    shown = await world.json("POST", "/v1/privacy/preview", "officer", {"person": "ANN@example.com "})
    assert (shown["principal"], shown["acts"]) == (False, 0)
    assert shown["values"] >= 4  # args, result, plan, evaluation, and that she was shown them
    size = world.gateway.reader.head()
    done = await world.erase(ANN)
    assert done["values"] >= shown["values"]
    await access(world, ANN, 404)
    assert "Bob likes pears" in values_of(await access(world, BOB))
    assert world.gateway.reader.root(size[0]) == size[1]
    assert list(check(world.gateway.engine, epochs=world.gateway.epochs)) == []
    entry = await world.json("GET", "/v1/audit/entries?type=ERADON", "auditor")
    assert entry["entries"][0]["index"] == done["done_index"]
    assert ANN not in json.dumps(entry)


async def test_why_has_a_decision_whose_input_was_erased(world: World) -> None:
    """By which it is told from a step that no rule was asked about."""
    await world.note("bot", ANN, "Ann likes figs")
    [entry] = (await world.json("GET", "/v1/audit/entries?type=STPEXE", "auditor"))["entries"]
    path = f"/v1/plans/{entry['entry']['plan_id']}/steps/{entry['entry']['step_id']}/why"
    before = await world.json("GET", path, "auditor")
    await world.erase(ANN)
    after = await world.json("GET", path, "auditor")
    assert before["input"] is not None
    assert after["input"] is None
    assert after["decision"]["effect"] == before["decision"]["effect"] == "allow"


async def test_what_concerns_two_people_goes_with_one_and_what_is_the_others_alone_stays(world: World) -> None:
    await world.note("bot", ANN, "Ann met Bob", friend=BOB)
    await world.note("bot", BOB, "Bob alone")
    held = await access(world, BOB)
    shared = [one for one in held["values"] if "Ann met Bob" in json.dumps(one)]
    assert shared
    assert all(one["shared_with"] >= 1 for one in shared)
    await world.erase(ANN)
    left = values_of(await access(world, BOB))
    assert "Ann met Bob" not in left
    assert "Bob alone" in left


async def test_a_principal_is_revoked_and_its_name_is_gone_from_every_row(world: World) -> None:
    await world.note("jo.agent", BOB, "of Bob")
    await world.json("POST", "/v1/principals/jo.agent/keys", "admin", {"ttl_days": 3}, 201)
    assert "jo.agent" not in dump(world), "no row names anybody, before an erasure either"
    held = await access(world, "jo.agent")
    assert held["rows"]["principal"][0]["id"] == "jo.agent"
    assert len(held["rows"]["api_keys"]) == 2
    assert "secret" not in json.dumps(held["rows"]["api_keys"])
    old = held["about"]["pseudonym"]
    assert any(entry["entry"]["type"] == "STPEXE" for entry in held["entries"])
    await world.erase("jo.agent")
    assert (await world.send("GET", "/v1/me", "jo.agent")).status_code == 401
    assert "jo.agent" not in dump(world)
    await access(world, "jo.agent", 404)
    assert "of Bob" in values_of(await access(world, BOB)), "Bob's own stays"
    again = await world.json("POST", "/v1/principals", "admin", {"id": "jo.agent", "roles": ["agent"]}, 201)
    assert again["principal"]["id"] == "jo.agent"
    assert (await access(world, "jo.agent"))["about"]["pseudonym"] not in {old, None}
    assert (await world.send("GET", "/v1/me", "jo.agent")).status_code == 401, "the old key is nobody's"


ASKING = """\
package handrail

import rego.v1

decisions contains decision if {
    some step in input.steps
    reasons := [{"code": "test.ask", "message": "About everything."}]
    decision := {"step": step.id, "effect": effect(step), "reasons": reasons}
}

effect(step) := "ask" if input.hands[step.hand].actions[step.action]
else := "deny"
"""


async def held_note(world: World) -> str:
    """What became of a note that policy asks about."""
    gateway = world.gateway
    caller = await gateway.directory.authenticate(world.keys["jo.agent"]["authorization"][7:], time.time())
    action = {"id": "a", "hand": "crm", "action": "note", "args": {"customer": BOB, "text": "of Bob"}}
    plan = signed_plan(MCP_ISSUER, gateway.keyset, gateway.settings, caller, "ctx", [action], now=time.time())
    [step] = (await gateway.pipeline.submit(plan, wait_seconds=20))["steps"]
    return str(step["status"])


async def test_what_waits_for_people_ends_with_whoever_asked(tmp_path: Any, database: dict[str, Any]) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "decisions.rego").write_text(ASKING)
    async with upstream() as below, running(tmp_path / "home", below, policy={"bundle": rules}, **database) as world:
        assert await held_note(world) == "held"
        await world.erase("jo.agent")
        page = await world.json("GET", "/v1/audit/entries?type=APRVOI", "auditor")
        assert [one["entry"]["step_id"] for one in page["entries"]] == ["a"]


async def test_an_erasure_waits_no_longer_for_a_plan_that_does_not_settle_than_for_any(
    tmp_path: Any, database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "decisions.rego").write_text(ASKING)
    async with upstream() as below, running(tmp_path / "home", below, policy={"bundle": rules}, **database) as world:
        assert await held_note(world) == "held"
        monkeypatch.setattr(privacy_requests, "ENDING_SECONDS", 0.3)
        monkeypatch.setattr(world.gateway.privacy, "_settle", lambda _: asyncio.Event().wait())
        body = {"person": "jo.agent"}
        answer = await world.json("POST", "/v1/privacy/erasures", "officer", body, 409)
        assert answer["problem"] == "plans.under_way"


async def test_an_issuer_that_spoke_for_somebody_erased_stays_sound_and_speaks_for_nobody(world: World) -> None:
    """Its row is not written by the erasure: beside a revocation one of them would leave a MAC that does not hold."""
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64url_encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
    }
    asked = {"id": "desk", "jwk": jwk, "speaks_for": ["jo.agent"]}
    made = await world.json("POST", "/v1/issuers", "admin", asked, 202)
    path, seen = f"/v1/proposals/{made['id']}/sign", {"document_sha256": made["document_sha256"]}
    await world.json("POST", path, "other-admin", seen)
    found = {"person": "jo.agent"}
    erasing = await world.json("POST", "/v1/privacy/erasures", "officer", found, 202)
    await world.json("DELETE", "/v1/issuers/desk", "admin")

    async def done() -> bool:
        state = await world.json("GET", f"/v1/privacy/erasures/{erasing['erasure_id']}", "officer")
        return bool(state["state"] == "done")

    await until(done)
    [issuer] = (await world.json("GET", "/v1/issuers", "admin"))["issuers"]
    assert issuer["revoked_at"] is not None
    [pseudonym] = issuer["speaks_for"]
    assert pseudonym.startswith("p-"), "of nobody, for good"
    again = await world.json("POST", "/v1/principals", "admin", {"id": "jo.agent", "roles": ["agent"]}, 201)
    assert again["principal"]["id"] == "jo.agent"
    assert (await world.json("GET", "/v1/issuers", "admin"))["issuers"] == [issuer]


def dump(world: World) -> str:
    """Every row of every table, as text."""
    with world.gateway.engine.connect() as connection:
        tables = world.gateway.engine.dialect.get_table_names(connection)
        return "\n".join(
            repr(tuple(row)) for table in tables for row in connection.execute(text(f'SELECT * FROM "{table}"')).all()
        )


async def test_a_hold_stands_against_an_erasure_and_is_named(world: World) -> None:
    await world.note("bot", ANN, "Ann likes figs")
    hold = await world.json("POST", "/v1/privacy/holds", "officer", {"person": ANN, "code": "legal_claim"}, 201)
    refused = await world.json("POST", "/v1/privacy/erasures", "officer", {"person": ANN}, 409)
    assert refused["code"] == "privacy.held"
    assert hold["hold_id"] in refused["holds"]
    assert "legal_claim" in refused["holds"]
    assert "Ann likes figs" in values_of(await access(world, ANN))
    listed = await world.json("GET", "/v1/privacy/holds", "officer")
    assert [(one["person"], one["in_force"]) for one in listed["holds"]] == [(ANN, True)]
    await world.json("DELETE", f"/v1/privacy/holds/{hold['hold_id']}", "officer")
    await world.erase(ANN)
    codes = [one["code"] for one in (await world.json("GET", "/v1/audit/entries?limit=1000", "auditor"))["entries"]]
    assert [code for code in codes if code in {"HLDSET", "HLDLFT", "ERAREF", "ERAREQ", "ERADON"}] == [
        "HLDSET",
        "ERAREF",
        "HLDLFT",
        "ERAREQ",
        "ERADON",
    ]


async def test_a_hold_that_a_writer_of_rows_takes_away_erases_nobody(world: World) -> None:
    await world.note("bot", ANN, "Ann likes figs")
    await world.json("POST", "/v1/privacy/holds", "officer", {"person": ANN, "code": "legal_claim"}, 201)
    with world.gateway.engine.begin() as connection, changing_schema(connection):
        connection.execute(text("UPDATE holds SET until = 1"))
    assert (await world.send("POST", "/v1/privacy/erasures", "officer", {"person": ANN})).status_code == 503
    with world.gateway.engine.begin() as connection:
        connection.execute(text("DELETE FROM holds"))
    assert (await world.send("POST", "/v1/privacy/erasures", "officer", {"person": ANN})).status_code == 503


@pytest.mark.parametrize("who", sorted(set(PEOPLE) - {"officer"}))
async def test_nobody_else_may_look_erase_or_hold(world: World, who: str) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/privacy/access", {"person": ANN}),
        ("POST", "/v1/privacy/preview", {"person": ANN}),
        ("POST", "/v1/privacy/erasures", {"person": ANN}),
        ("GET", "/v1/privacy/erasures/00", None),
        ("GET", "/v1/privacy/holds", None),
        ("POST", "/v1/privacy/holds", {"person": ANN, "code": "legal_claim"}),
        ("DELETE", "/v1/privacy/holds/00", None),
    ]
    for method, path, body in asked:
        refused = await world.json(method, path, who, body, 403)
        assert refused["code"] == "auth.forbidden"


async def test_an_officer_erases_not_themselves_nor_the_last_admin(world: World) -> None:
    await world.json("POST", "/v1/privacy/erasures", "officer", {"person": "officer"}, 409)
    refused = await world.json("POST", "/v1/privacy/erasures", "officer", {"person": "other-admin"}, 409)
    assert refused["code"] == "proposal.required", "where one of two goes, the two of them agree first"
    made = await world.json("DELETE", "/v1/principals/other-admin", "admin", None, 202)
    path, seen = f"/v1/proposals/{made['id']}/sign", {"document_sha256": made["document_sha256"]}
    await world.json("POST", path, "other-admin", seen)
    await world.erase("other-admin")
    refused = await world.json("POST", "/v1/privacy/erasures", "officer", {"person": "admin"}, 409)
    assert refused["code"] == "request.conflict"
    assert (await world.send("GET", "/v1/me", "admin")).status_code == 200
    await world.json("POST", "/v1/privacy/erasures", "officer", {"person": "nobody"}, 404)


async def test_another_gateway_remembers_nothing_either(tmp_path: Any, database: dict[str, Any]) -> None:
    """Its memory of contexts is emptied when it hears of the erasure, though nobody calls it."""
    async with upstream() as below:
        shared = {"privacy": {"epochs": tmp_path / "home" / "epochs"}}
        if not database:
            database = {"database": {"url": f"sqlite:///{tmp_path / 'shared.db'}"}}
        async with running(tmp_path / "home", below, **database) as first:
            (tmp_path / "second").mkdir(mode=0o700)
            for name in ("master.key", "root.key"):
                (tmp_path / "second" / name).write_bytes((tmp_path / "home" / name).read_bytes())
                (tmp_path / "second" / name).chmod(0o600)
            shutil.copytree(tmp_path / "home" / "keys", tmp_path / "second" / "keys")
            async with running(tmp_path / "second", below, first.keys, **database, **shared) as second:
                await second.note("bot", ANN, "Ann likes figs")
                remembered = second.gateway.pipeline.contexts
                assert len(remembered._contexts) == 1
                await first.erase(ANN)
                await until(lambda: len(remembered._contexts) == 0)
                await access(second, ANN, 404)
