"""Who the security admins are, whatever happens at once, and whatever somebody writes to the database."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from audit.database import changing_schema
from audit.tables import entries
from gateway.errors import HandrailError, Refused
from gateway.model import Role
from gateway.ports import Append
from gateway.store.directory_changes import principal_entry
from gateway.store.directory_links import CLAIMS, Identity
from gateway.store.tables import api_keys, identity_links, principals
from gateway.trust_journal import FILE, TrustJournal
from keys.access_tokens import VerifiedToken
from tests.trust.hall import ISSUER, Hall, hall, own_key

THREE = {"ann": "security_admin", "ben": "security_admin", "cat": "security_admin"}
MACHINE = Identity(CLAIMS, "default", ISSUER, "machine")
CLAIMED: dict[str, Any] = {
    "issuer": ISSUER,
    "audiences": ["https://g.example"],
    "algorithm": "ES256",
    "roles_claim": "/groups",
    "roles": {"admins": ["security_admin"], "readers": ["auditor"]},
    "privileged_roles": ["security_admin"],
}


def disguise(town: Hall, pseudonym: str, change: str, as_: str) -> None:
    """Write a column of an entry anew, as whoever owns the database can. Where an entry is gone, no gateway starts."""
    with town.gateway.engine.begin() as connection, changing_schema(connection):
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS entries_no_update")
        found = connection.execute(entries.select().where(entries.c.type == "PRNCHG")).mappings().all()
        for row in found:
            facts = json.loads(row["body"])["facts"]
            if (facts["subject"], facts["change"]) == (pseudonym, change):
                connection.execute(update(entries).where(entries.c.idx == row["idx"]).values(type=as_))


def take_rows(town: Hall, pseudonym: str) -> None:
    with town.gateway.engine.begin() as connection:
        connection.execute(delete(api_keys).where(api_keys.c.pseudonym == pseudonym))
        connection.execute(delete(principals).where(principals.c.pseudonym == pseudonym))
    town.gateway.directory.forget()


async def alone(town: Hall, who: str = "ann") -> int:
    """What somebody is answered who would let a second approver in alone: 201 where nobody else is asked."""
    _, public = own_key()
    body = {"id": "eva", "roles": ["approver"], "api_key": public}
    return (await town.ask(who, "POST", "/v1/principals", body)).status_code


# --- at once ---------------------------------------------------------------------------------------------------------


async def test_two_who_remove_each_other_at_once_leave_one_who_can_sign(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the rows and the count of the admins, the other one goes."""
    async with hall(tmp_path, database, people={"ann": "security_admin", "ben": "security_admin"}) as town:
        directory, once = town.gateway.directory, [True]
        gone = await town.ok("ben", "DELETE", "/v1/principals/ben", status=202)
        prepare = type(directory).prepare_revocation

        async def slow(self: Any, *args: Any) -> Any:
            prepared = await prepare(self, *args)
            if once:
                once.pop()
                await town.agree(gone, "ann")
            return prepared

        monkeypatch.setattr(type(directory), "prepare_revocation", slow)
        assert await town.refused("ann", "DELETE", "/v1/principals/ann") == (409, "request.conflict", "admin.last")
        assert (await town.ok("ann", "GET", "/v1/me"))["id"] == "ann"


async def test_of_three_who_remove_each_other_at_once_two_are_left(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=THREE) as town:
        answers = await asyncio.gather(
            town.ask("ann", "DELETE", "/v1/principals/ben"),
            town.ask("ben", "DELETE", "/v1/principals/cat"),
            town.ask("cat", "DELETE", "/v1/principals/ann"),
        )
        done = [answer for answer in answers if answer.status_code == 200]
        assert len(done) == 1, [answer.text for answer in answers]
        admins = await town.gateway.directory.administrators("default")
        assert len(admins.pseudonyms) == 2


async def test_nobody_goes_who_leaves_only_people_that_cannot_sign(tmp_path: Path, database: str | None) -> None:
    async with hall(tmp_path, database, people=THREE) as town:
        frozen = {"scope": "principal", "subject": "cat", "cause": "access_stolen"}
        await town.ok("ann", "POST", "/v1/freezes", frozen, status=201)
        # One who can sign would be left: that takes as many as can agree.
        made = await town.ok("ann", "DELETE", "/v1/principals/ben", status=202)
        await town.ok("ann", "POST", f"/v1/proposals/{made['id']}/withdraw")
        await town.ok("ann", "DELETE", "/v1/principals/cat")
        frozen = {"scope": "principal", "subject": "ben", "cause": "access_stolen"}
        await town.ok("ann", "POST", "/v1/freezes", frozen, status=201)
        assert (await town.refused("ann", "DELETE", "/v1/principals/ann"))[2] == "admin.last"


# --- whoever owns the database, and has one admin's key --------------------------------------------------------------


@pytest.mark.parametrize("how", ["another type", "a revocation that is made up"])
@pytest.mark.parametrize("rows", ["rows stay", "rows go"])
async def test_an_entry_that_is_hidden_or_made_up_ends_no_dual_control(tmp_path: Path, how: str, rows: str) -> None:
    people = {"ann": "security_admin", "ben": "security_admin"}
    async with hall(tmp_path, people=people) as town:
        tokens, ben = town.tokens, (await town.person("ben")).pseudonym
        assert await alone(town) == 202
        if how == "a revocation that is made up":
            # As if another gateway had written it: well-formed, under the root, and of nobody's doing.
            found = await town.gateway.directory._principal("default", "ben")
            await town.gateway.log.append(Append([principal_entry(found, "system", "revoked")]))
        else:
            disguise(town, ben, "added", "HNDREG")
        if rows == "rows go":
            take_rows(town, ben)
    async with hall(tmp_path, people={}) as again:
        again.tokens = tokens
        made = await again.ok("ann", "GET", "/v1/proposals?status=open")
        assert [one["needed"] for one in made["proposals"]] == [2]
        _, public = own_key()
        body = {"id": "max", "roles": ["approver"], "api_key": public}
        assert (await again.ask("ann", "POST", "/v1/principals", body)).status_code == 202


async def test_who_is_revoked_and_erased_is_not_remembered_for_ever(tmp_path: Path) -> None:
    async with hall(tmp_path, people={**THREE, "pia": "privacy_officer"}) as town:
        cat = (await town.person("cat")).pseudonym
        assert cat in (tmp_path / FILE).read_text()
        await town.ok("ann", "DELETE", "/v1/principals/cat")
        assert cat not in (tmp_path / FILE).read_text()
        await town.ok("pia", "POST", "/v1/privacy/erasures", {"person": "cat"}, status=202)
        assert cat not in (await town.gateway.directory.administrators("default")).pseudonyms


async def test_a_home_that_was_away_forgets_who_was_revoked_and_erased_meanwhile(tmp_path: Path) -> None:
    people = {**THREE, "pia": "privacy_officer"}
    async with hall(tmp_path, people=people) as town:
        tokens, cat = town.tokens, (await town.person("cat")).pseudonym
        before = (tmp_path / FILE).read_bytes()
        assert cat.encode() in before
        await town.ok("ann", "DELETE", "/v1/principals/cat")
        await town.ok("pia", "POST", "/v1/privacy/erasures", {"person": "cat"}, status=202)
    (tmp_path / FILE).write_bytes(before)
    async with hall(tmp_path, people={}) as again:
        again.tokens = tokens
        await again.gateway.directory.keep_administrators()
        assert cat not in (await again.gateway.directory.administrators("default")).pseudonyms
        assert cat not in (tmp_path / FILE).read_text()


async def test_a_seal_of_somebody_else_ends_nobody(tmp_path: Path) -> None:
    """Whoever writes to the database has seen the seal of a revocation, and gives it to another one."""
    async with hall(tmp_path, people=THREE) as town:
        ben = (await town.person("ben")).pseudonym
        await town.ok("ann", "DELETE", "/v1/principals/cat")
        [seal] = [entry["facts"]["seal"] for entry in town.entries("PRNCHG") if "seal" in entry["facts"]]
        found = await town.gateway.directory._principal("default", "ben")
        for made_up in (seal, "", "A" * 43, "\u00e9"):
            draft = principal_entry(found, "system", "revoked")
            await town.gateway.log.append(Append([replace(draft, facts={**draft.facts, "seal": made_up})]))
        take_rows(town, ben)
        assert ben in (await town.gateway.directory.administrators("default")).pseudonyms


@pytest.mark.postgres
async def test_a_home_remembers_whom_another_gateway_added(tmp_path: Path, postgres_url: str) -> None:
    keys: dict[str, Any] = {"keys": {"store": "database", "master_key_file": str(tmp_path / "first" / "master.key")}}
    keys["keys"]["root_file"] = str(tmp_path / "first" / "root.key")
    shared = {**keys, "privacy": {"epochs": str(tmp_path / "first" / "epochs")}}
    async with (
        hall(tmp_path / "first", postgres_url, people={"ann": "security_admin"}, **shared) as here,
        hall(tmp_path / "second", postgres_url, people={}, **shared) as there,
    ):
        made = await here.ok("ann", "POST", "/v1/principals", {"id": "ben", "roles": ["security_admin"]}, status=201)
        assert made["principal"]["id"] == "ben"
        ben = (await here.person("ben")).pseudonym
        await there.gateway.directory.keep_administrators()
        assert ben in (tmp_path / "second" / FILE).read_text()


def test_what_the_home_remembers_is_whole_or_refused(tmp_path: Path) -> None:
    journal = TrustJournal(tmp_path, "a.example/log")
    assert journal.load() == {}
    journal.keep({"default": {"p-1", "p-2"}})
    assert journal.load() == {"default": frozenset({"p-1", "p-2"})}
    assert TrustJournal(tmp_path, "b.example/log").load() == {}, "a restored log says itself who they are"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    for wrong in (b"", b"[]", b"{}", b'{"origin": "a.example/log", "admins": []}'):
        (tmp_path / FILE).write_bytes(wrong)
        with pytest.raises(HandrailError):
            journal.load()


async def test_a_home_that_cannot_be_read_or_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with hall(tmp_path, people={"ann": "security_admin"}) as town:
        tokens = town.tokens
    (tmp_path / FILE).write_text("not JSON")
    async with hall(tmp_path, people={}) as again:
        again.tokens = tokens
        assert await alone(again) == 500, "it cannot be known who has to agree"


async def test_who_was_made_by_claims_is_known_by_the_log(town: Hall) -> None:
    """Else whoever deletes the link's row has one admin give a key to somebody whom the next token makes one."""
    await town.gateway.directory.provision(MACHINE, "company", ["auditor"], None)
    linked = await town.gateway.directory.linked(MACHINE)
    assert linked is not None
    assert linked.principal is not None
    with town.gateway.engine.begin() as connection:
        connection.execute(delete(identity_links))
    town.gateway.directory.forget()
    asked = {"api_key": own_key()[1]}
    made = await town.ok("ann", "POST", f"/v1/principals/{linked.principal.id}/keys", asked, status=202)
    assert made["needed"] == 2


# --- whom claims made ------------------------------------------------------------------------------------------------


async def token(town: Hall, groups: list[str], iat: float) -> None:
    """A token of the subject, as the issuer's key and the checks of it let it in."""
    bearers = town.gateway.directory.bearers
    provider = bearers.source_of("company")
    assert provider is not None
    await bearers.subject(provider, VerifiedToken(ISSUER, "machine", {"groups": groups, "iat": iat}, None))


async def test_a_signature_counts_while_the_newest_token_gives_the_role(tmp_path: Path) -> None:
    async with hall(tmp_path, people=THREE, claims=CLAIMED, proposals={"principals_threshold": 3}) as town:
        await token(town, ["admins"], 100)
        linked = await town.gateway.directory.linked(MACHINE)
        assert linked is not None
        assert linked.principal is not None
        machine = linked.principal
        assert Role.SECURITY_ADMIN in machine.roles
        made = await town.add("new", "operator")
        signed = await town.gateway.proposals.sign(made["id"], machine, document_sha256=made["document_sha256"])
        assert [one["counts"] for one in signed["signatures"]] == [True, True]
        # The group is gone with the next token; an older one that comes late changes nothing.
        with pytest.raises(Refused):
            await token(town, ["nothing"], 200)
        await token(town, ["admins"], 150)
        shown = await town.ok("ann", "GET", f"/v1/proposals/{made['id']}")
        assert [one["counts"] for one in shown["signatures"]] == [True, False]
        assert (await town.sign("ben", made))["status"] == "open"
        with pytest.raises(Refused):
            await town.gateway.proposals.sign(made["id"], machine, document_sha256=made["document_sha256"])
        await token(town, ["admins"], 300)
        shown = await town.ok("ann", "GET", f"/v1/proposals/{made['id']}")
        assert [one["counts"] for one in shown["signatures"]] == [True, True, True]


async def test_whose_issuer_gives_the_role_no_more_does_not_count(tmp_path: Path) -> None:
    async with hall(tmp_path, people={"ann": "security_admin"}, claims=CLAIMED) as town:
        await token(town, ["admins"], 100)
        tokens = town.tokens
        made = await town.add("new", "operator")
        assert made["needed"] == 2
    without = {**CLAIMED, "roles": {"readers": ["auditor"]}}
    async with hall(tmp_path, people={}, claims=without) as again:
        again.tokens = tokens
        known = await again.gateway.directory.administrators("default")
        able = await again.gateway.directory.able(known, known.pseudonyms)
        assert [one.id for one in able.values()] == ["ann"]
        # Nobody alone, all the same: whoever writes the configuration is above this, and says so on the machine.
        assert (await again.ok("ann", "GET", f"/v1/proposals/{made['id']}"))["needed"] == 2
