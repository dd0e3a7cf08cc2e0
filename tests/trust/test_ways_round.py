"""Ways round the threshold: credentials that are planted before there is trust, people who have no name, one stolen key
that is two people, and rows of signatures that are there twice."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, literal, select

from audit.database import changing_schema
from audit.tables import erased_keys
from gateway.store.directory_links import CLAIMS, Identity
from gateway.store.tables import principals, proposal_signatures
from tests.trust.hall import ISSUER, Hall, hall, own_key

MACHINE = Identity(CLAIMS, "default", ISSUER, "machine")
FOUR = dict.fromkeys(("ann", "ben", "cat", "dan"), "security_admin")


async def made_by_claims(town: Hall) -> str:
    await town.gateway.directory.provision(MACHINE, "company", ["auditor"], None)
    linked = await town.gateway.directory.linked(MACHINE)
    assert linked is not None
    assert linked.principal is not None
    return linked.principal.id


async def unname(town: Hall, name: str) -> str:
    """As whoever writes to the database can, and as a restore without epoch keys does: nobody knows who it is."""
    person = await town.person(name)
    with town.gateway.engine.begin() as connection:
        # One statement: a transaction that has read is refused the write where the gateway wrote meanwhile.
        key = select(principals.c.name_key, literal("0" * 32)).where(principals.c.pseudonym == person.pseudonym)
        connection.execute(insert(erased_keys).from_select(["key_id", "erasure_id"], key))
    town.gateway.log.names.forget()
    town.gateway.directory.forget()
    return person.pseudonym


# --- planted before there is trust -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [("keys", {"api_key": own_key()[1]}), ("links", {"issuer": "company", "subject": "thief"})],
    ids=["key", "link"],
)
async def test_a_credential_of_whom_an_issuer_may_make_an_approver_takes_two(
    town: Hall, path: str, body: dict[str, Any]
) -> None:
    """An auditor by claims today: one admin gives it a key, and waits until its own tokens make it an operator."""
    person = await made_by_claims(town)
    before = town.rows()
    made = await town.ok("ann", "POST", f"/v1/principals/{person}/{path}", body, status=202)
    assert (made["status"], made["needed"]) == ("open", 2)
    assert town.rows() == before
    # What was shown is not what it is by now.
    linked = await town.gateway.directory.linked(MACHINE)
    assert linked is not None
    assert linked.principal is not None
    await town.gateway.directory.widen(linked.principal, ["operator"])
    assert (await town.not_signed("ben", made))[:2] == (409, "proposal.outdated")


async def test_whose_link_by_claims_is_revoked_grows_no_more(town: Hall) -> None:
    person = await made_by_claims(town)
    [link] = (await town.ok("ann", "GET", f"/v1/principals/{person}/links"))["links"]
    await town.ok("ann", "DELETE", f"/v1/principals/{person}/links/{link['id']}")
    await town.ok("ann", "POST", f"/v1/principals/{person}/keys", {}, status=201)


# --- people without a name -------------------------------------------------------------------------------------------


async def test_whoever_has_no_name_keeps_the_weight_of_their_roles(town: Hall) -> None:
    """Else one admin links an identity of their own to an operator without a name, and then names them."""
    pseudonym = await unname(town, "oli")
    before = town.rows()
    for path, body in (
        ("keys", {"api_key": own_key()[1]}),
        ("links", {"issuer": "company", "subject": "thief"}),
        ("name", {"id": "cfo"}),
    ):
        made = await town.ok("ann", "POST", f"/v1/principals/{pseudonym}/{path}", body, status=202)
        assert (made["status"], made["needed"]) == ("open", 2), path
        assert town.rows() == before, path
        await town.ok("ann", "POST", f"/v1/proposals/{made['id']}/withdraw")


async def test_two_name_whoever_decides_and_one_whoever_does_not(town: Hall) -> None:
    oli, bot = await unname(town, "oli"), await unname(town, "bot")
    made = await town.ok("ann", "POST", f"/v1/principals/{oli}/name", {"id": "oliver"}, status=202)
    assert made["request"] == {"id": "oliver", "pseudonym": oli}
    assert "oliver" not in str(made["document"]), "what stands in rows names nobody"
    assert (made["document"]["before"]["named"], made["document"]["after"]["named"]) == (False, True)
    await town.agree(made, "ben")
    assert (await town.ok("oli", "GET", "/v1/me"))["id"] == "oliver"
    assert (await town.ok("ann", "POST", f"/v1/principals/{bot}/name", {"id": "robot"}))["id"] == "robot"


async def test_admins_without_names_name_each_other(town: Hall) -> None:
    """Everybody after a restore without epoch keys."""
    ann, ben = await unname(town, "ann"), await unname(town, "ben")
    for pseudonym, name in ((ann, "ann"), (ben, "ben")):
        made = await town.ok("ann", "POST", f"/v1/principals/{pseudonym}/name", {"id": name}, status=202)
        await town.agree(made, "ben")
    assert [(await town.ok(one, "GET", "/v1/me"))["id"] for one in ("ann", "ben")] == ["ann", "ben"]


# --- one stolen key --------------------------------------------------------------------------------------------------


async def test_nobody_gives_themselves_a_ticket_for_a_security_key(town: Hall) -> None:
    token, public = own_key()
    body = {"id": "cat", "roles": ["approver", "security_admin"], "api_key": public}
    await town.agree(await town.ok("ann", "POST", "/v1/principals", body, status=202), "ben")
    town.tokens["cat"] = token
    assert (await town.refused("cat", "POST", "/v1/principals/cat/enrolments"))[:2] == (403, "auth.forbidden")
    assert (await town.ok("ann", "POST", "/v1/principals/cat/enrolments", status=201))["ticket"]


async def test_the_only_admin_has_nobody_to_ask_for_a_ticket(tmp_path: Path) -> None:
    async with hall(tmp_path, people={"ann": "security_admin"}) as town:
        both = {"id": "zoe", "roles": ["approver", "security_admin"]}
        made = await town.ok("ann", "POST", "/v1/principals", both, status=201)
        token = made["api_key"]["token"]
        await town.agree(await town.ok(token, "DELETE", "/v1/principals/ann", status=202), "ann")
        assert (await town.ok(token, "POST", "/v1/principals/zoe/enrolments", status=201))["ticket"]


# --- a signature's row, twice ----------------------------------------------------------------------------------------


async def test_a_signature_that_is_there_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the table can take its uniqueness away and copy a row, whose MAC holds."""
    async with hall(tmp_path, people=FOUR, proposals={"principals_threshold": 3}) as town:
        made = await town.add("new", "approver")
        with town.gateway.engine.begin() as connection, changing_schema(connection):
            [row] = connection.execute(select(proposal_signatures)).mappings().all()
            connection.exec_driver_sql("ALTER TABLE proposal_signatures RENAME TO aside")
            connection.exec_driver_sql("CREATE TABLE proposal_signatures AS SELECT * FROM aside")
            connection.execute(insert(proposal_signatures).values(**row))
        assert (await town.sign("ben", made))["status"] == "open"
        assert (await town.refused("new", "GET", "/v1/me"))[0] == 401
        await town.agree(made, "cat")
