"""One person alone changes no trust, whatever they ask for; and everything that takes trust away they do at once."""

from typing import Any

import pytest

from gateway.errors import Refused
from gateway.model import Role
from gateway.reasons import Reason
from tests.trust.hall import Hall, own_key, public_jwk

AGENT_JWK = public_jwk()
TRUSTED = [role for role in Role if role not in {Role.AGENT, Role.AUDITOR}]


async def first_issuer(town: Hall) -> None:
    made = await town.ok("ann", "POST", "/v1/issuers", {"id": "desk", "jwk": AGENT_JWK}, status=202)
    await town.agree(made, "ben")


CHANGES: dict[str, tuple[str, str, Any]] = {
    **{
        f"add {role}": ("POST", "/v1/principals", {"id": "new", "roles": [str(role)], "api_key": "own", **hands})
        for role in TRUSTED
        for hands in ({"hands": ["crm"]} if role is Role.HAND else {},)
    },
    "add a mixed one": ("POST", "/v1/principals", {"id": "new", "roles": ["auditor", "operator"], "api_key": "own"}),
    **{
        f"key of {name}": ("POST", f"/v1/principals/{name}/keys", {"api_key": "own"})
        for name in ("ann", "ben", "oli", "bob", "aut", "pia")
    },
    "link": ("POST", "/v1/principals/oli/links", {"issuer": "company", "subject": "s"}),
    "the last but one admin": ("DELETE", "/v1/principals/ben", None),
    "oneself": ("DELETE", "/v1/principals/ann", None),
    "issuer": ("POST", "/v1/issuers", {"id": "new", "jwk": public_jwk()}),
    "issuer that speaks": ("POST", "/v1/issuers", {"id": "new", "jwk": public_jwk(), "speaks_for": ["bot"]}),
    "issuer's key": ("POST", "/v1/issuers", {"id": "desk", "jwk": public_jwk()}),
}


def with_own(body: Any) -> tuple[str, Any]:
    if not isinstance(body, dict) or "api_key" not in body:
        return "hr_none", body
    token, public = own_key()
    return token, {**body, "api_key": public}


async def test_one_alone_changes_nothing_and_two_change_exactly_that(town: Hall) -> None:
    """Every kind in one life of a gateway: read back in the tables, in the log, and by a real request."""
    await first_issuer(town)
    for name, (method, path, body) in CHANGES.items():
        token, sent = with_own(body)
        before, changes = town.rows(), len(town.entries("PRNCHG", "ISSCHG"))
        made = await town.ok("ann", method, path, sent, status=202)
        assert (made["status"], made["needed"], len(made["signatures"])) == ("open", 2, 1), name
        assert await town.not_signed("ann", made) == (409, "request.conflict", "proposal.signed"), name
        assert town.rows() == before, name
        assert len(town.entries("PRNCHG", "ISSCHG")) == changes, name
        assert (await town.ask(token, "GET", "/v1/me")).status_code == 401, name
        for somebody in ("ann", "ben", "oli"):
            assert (await town.ask(somebody, "GET", "/v1/me")).status_code == 200, name
        # The same once more, also by the other: there is one open proposal about one thing.
        _, again = with_own(body)
        assert (await town.refused("ben", method, path, again))[2] == "proposal.open", name
        await town.ok("ann", "POST", f"/v1/proposals/{made['id']}/withdraw")
        assert await town.not_signed("ben", made) == (409, "proposal.closed", None), name
        assert town.rows() == before, name


@pytest.mark.parametrize("role", TRUSTED)
async def test_two_let_somebody_in_who_made_the_key_themselves(town: Hall, role: Role) -> None:
    made = await town.add("ada.lovelace", str(role))
    assert made["request"]["id"] == "ada.lovelace"
    assert "lovelace" not in str(made["document"]), "what stands in rows names nobody"
    assert made["document"]["before"] is None
    assert made["document"]["after"]["roles"] == [str(role)]
    await town.agree(made, "ben")
    me = await town.ok("ada.lovelace", "GET", "/v1/me")
    assert me["roles"] == [str(role)]
    proposed, signed, activated, added = town.entries()[-4:]
    assert [one["type"] for one in (proposed, signed, activated, added)] == ["PRPMAD", "PRPSGN", "PRPACT", "PRNCHG"]
    assert {one["facts"]["proposal"] for one in (proposed, signed, activated, added)} == {made["id"]}
    ann, ben = (await town.person("ann")).pseudonym, (await town.person("ben")).pseudonym
    assert [one["principal"] for one in (proposed, signed, activated, added)] == [ann, ben, ben, ben]
    assert (signed["facts"]["signatures"], signed["facts"]["needed"]) == (2, 2)


async def test_two_give_a_key_a_link_and_an_issuer(town: Hall) -> None:
    token, public = own_key()
    made = await town.ok("ann", "POST", "/v1/principals/oli/keys", {"api_key": public}, status=202)
    await town.agree(made, "ben")
    assert (await town.ok(token, "GET", "/v1/me"))["id"] == "oli"
    asked = {"issuer": "company", "subject": "s"}
    await town.agree(await town.ok("ann", "POST", "/v1/principals/oli/links", asked, status=202), "ben")
    links = (await town.ok("ann", "GET", "/v1/principals/oli/links"))["links"]
    assert [one["subject"] for one in links] == ["s"]
    body = {"id": "desk", "jwk": AGENT_JWK, "speaks_for": ["bot"], "attests_request": True}
    await town.agree(await town.ok("ann", "POST", "/v1/issuers", body, status=202), "ben")
    issuer = await town.gateway.directory.issuer("desk", "default")
    assert (issuer.speaks_for, issuer.attests_request) == (frozenset({"bot"}), True)
    assert town.entries()[-1]["type"] == "ISSCHG"


async def test_whoever_hands_a_key_over_could_be_the_second_person(town: Hall) -> None:
    """So the gateway makes none for people who decide, where two have to agree."""
    body = {"id": "new", "roles": ["security_admin"]}
    answer = await town.ask("ann", "POST", "/v1/principals", body)
    assert (answer.status_code, answer.json()["pointer"]) == (400, "/api_key")
    assert (await town.ask("ann", "POST", "/v1/principals/ben/keys", {})).json()["pointer"] == "/api_key"
    for wrong in ("hr_x", "hr_" + "0" * 16, "hr_" + "0" * 16 + ":" + "0" * 63, own_key()[0]):
        assert (await town.refused("ann", "POST", "/v1/principals", {**body, "api_key": wrong}))[0] == 400
    taken = own_key()[1]
    await town.agree(await town.ok("ann", "POST", "/v1/principals", {**body, "api_key": taken}, status=202), "ben")
    again = await town.ok("ann", "POST", "/v1/principals", {**body, "id": "other", "api_key": taken}, status=202)
    assert await town.not_signed("ben", again) == (409, "request.conflict", "id.taken")
    assert (await town.refused("other", "GET", "/v1/me"))[0] == 401
    assert (await town.ask("ann", "GET", "/readyz")).status_code == 200, "the log took the refusal in its stride"


async def test_who_decides_nothing_is_added_by_one(town: Hall) -> None:
    for role in ("agent", "auditor"):
        made = await town.ok("ann", "POST", "/v1/principals", {"id": role, "roles": [role]}, status=201)
        assert (await town.ok(made["api_key"]["token"], "GET", "/v1/me"))["roles"] == [role]
    await town.ok("ann", "POST", "/v1/principals/bot/keys", {}, status=201)
    await town.ok("ann", "POST", "/v1/principals/bot/links", {"issuer": "company", "subject": "m"}, status=201)


async def test_taking_trust_away_is_one_persons_act(town: Hall) -> None:
    await first_issuer(town)
    await town.agree(await town.add("cat", "security_admin"), "ben")
    for name in ("oli", "bob", "aut", "pia"):
        assert (await town.ok("ann", "DELETE", f"/v1/principals/{name}"))["revoked_at"], name
    assert (await town.ok("ann", "DELETE", "/v1/issuers/desk"))["revoked_at"]
    assert (await town.ok("ann", "DELETE", "/v1/principals/cat"))["revoked_at"], "two are left"
    assert (await town.refused("cat", "GET", "/v1/me"))[0] == 401
    made = await town.ok("ann", "DELETE", "/v1/principals/ben", status=202)
    assert made["document"]["change"] == "principal.revoke"
    assert (await town.ask("ben", "GET", "/v1/me")).status_code == 200
    await town.agree(made, "ben")
    assert (await town.refused("ben", "GET", "/v1/me"))[0] == 401
    # One is left, and acts alone again: plainly, not by accident.
    await town.ok("ann", "POST", "/v1/principals", {"id": "dan", "roles": ["security_admin"]}, status=201)
    assert (await town.refused("ann", "POST", "/v1/principals", {"id": "fay", "roles": ["author"]}))[0] == 400


async def test_an_erasure_is_no_way_around(town: Hall) -> None:
    pia = await town.person("pia")
    with pytest.raises(Refused) as caught:
        await town.gateway.directory.retire_principal(pia, "ben")
    assert (caught.value.reason, caught.value.facts["needed"]) == (Reason.PROPOSAL_REQUIRED, 2)
    status, code, _ = await town.refused("pia", "POST", "/v1/privacy/erasures", {"person": "ben"})
    assert (status, code) == (409, "proposal.required")
    assert (await town.ask("ben", "GET", "/v1/me")).status_code == 200


async def test_what_is_held_of_a_person_has_what_they_signed_and_forgets_whom_it_was_about(town: Hall) -> None:
    made = await town.add("ada.lovelace", "operator")
    await town.agree(made, "ben")
    held = await town.ok("pia", "POST", "/v1/privacy/access", {"person": "ben"})
    assert "signer" in str(held["rows"]["signatures"])
    await town.ok("pia", "POST", "/v1/privacy/erasures", {"person": "ada.lovelace"}, status=202)
    shown = await town.ok("ann", "GET", f"/v1/proposals/{made['id']}")
    assert "request" not in shown
    assert "lovelace" not in str(shown)


@pytest.mark.parametrize("name", ["oli", "bob", "aut", "eve", "bot", "pia"])
async def test_only_security_admins_propose_and_sign(town: Hall, name: str) -> None:
    for method, path, body in CHANGES.values():
        _, sent = with_own(body)
        assert (await town.refused(name, method, path, sent))[:2] == (403, "auth.forbidden"), path
    made = await town.add("new", "operator")
    assert (await town.not_signed(name, made))[:2] == (403, "auth.forbidden")
    may_read = name in {"oli", "aut", "eve"}
    answer = await town.ask(name, "GET", f"/v1/proposals/{made['id']}")
    assert answer.status_code == (200 if may_read else 403)
    if may_read:
        assert "request" not in answer.json(), "whom it is about is for those who sign"
        assert answer.json()["signatures"][0]["by"] == "ann"


async def test_the_general_route_takes_no_change_of_trust(town: Hall) -> None:
    for kind in ("trust.principal", "trust.issuer"):
        asked = {"kind": kind, "document": {"change": "principal.add"}}
        answer = await town.ask("ann", "POST", "/v1/proposals", asked)
        assert (answer.status_code, answer.json()["pointer"]) == (400, "/kind")
    made = await town.add("new", "operator")
    body = {"document_sha256": made["document_sha256"]}
    assert (await town.refused("ben", "POST", f"/v1/proposals/{made['id']}/activate", body))[2] == "proposal.counted"
    other = {"kind": "policy.observe", "document": {"hand": "git", "lasts_seconds": 60}}
    lift = await town.ask("oli", "POST", "/v1/proposals", other)
    assert lift.status_code == 404, "no such hand here"
    frozen = await town.ok("oli", "POST", "/v1/freezes", {"scope": "all", "cause": "drill"}, status=201)
    asked = {"kind": "freeze.lift", "document": {"freeze": frozen["id"]}}
    one = await town.ok("oli", "POST", "/v1/proposals", asked, status=201)
    assert (await town.refused("ann", "POST", "/v1/proposals", asked))[2] == "proposal.open"
    assert (await town.not_signed("ann", one))[2] == "proposal.not_counted"
