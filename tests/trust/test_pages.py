"""Signing a change of trust at the page: what is signed is what was shown, by a key that is the person's now."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.errors import Refused
from gateway.reasons import Reason
from gateway.store.directory import NewPrincipal
from gateway.store.tables import proposal_signatures, security_keys
from gateway.webauthn import PROPOSAL, Assertion, verify_assertion
from tests.approvals.authenticator import PRESENT, Authenticator
from tests.approvals.visitor import hidden
from tests.approvals.world import World, asserted, person
from tests.trust.desk import (
    at,
    changed,
    desk,
    enrolled,
    fields,
    lift,
    parts,
    payload,
    proposal,
    propose,
    sign,
)
from tests.trust.hall import ISSUER, own_key


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with desk(tmp_path) as running:
        yield running


async def revoke_key(here: World, who: str, by: str) -> None:
    [key] = await here.gateway.directory.security_keys("default", (await person(here, who)).pseudonym)
    await here.gateway.directory.revoke_security_key(await person(here, by), who, key.kid)


# --- what it is for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
async def test_a_security_key_signs_the_exact_change_which_takes_effect(here: World, kind: str) -> None:
    key = await enrolled(here, "ann", kind)
    made = await propose(here)
    ann = await at(here, "ann")
    page = (await ann.get(f"/proposals/{made['id']}")).text
    for word in ("Let cat in as: operator", "1 of 2", "runs hands", "root", "signs exactly this"):
        assert word in page
    answer = await sign(ann, key, made["id"])
    assert (answer.status_code, answer.headers["location"]) == (303, f"/proposals/{made['id']}")
    done = await proposal(here, made["id"])
    assert (done["status"], done["decided_attested_by"]) == ("activated", "webauthn")
    by_ann = done["signatures"][1]
    assert (by_ann["by"], by_ann["attested_by"], by_ann["counts"]) == ("ann", "webauthn", True)
    assert by_ann["kid"] == key.enrolled.kid
    page = (await ann.get(f"/proposals/{made['id']}")).text
    assert "In effect, by ann" in page
    assert key.enrolled.kid in page
    assert 'value="sign"' not in page
    [_, signed] = here.entries("PRPMAD") + here.entries("PRPSGN")
    assert (signed["facts"]["attested_by"], signed["facts"]["kid"]) == ("webauthn", key.enrolled.kid)
    # The proof is on record, and anybody with the public key can verify it.
    with here.gateway.engine.connect() as connection:
        kept = connection.execute(select(proposal_signatures.c.commitment).where(proposal_signatures.c.number == 2))
        commitment = kept.scalar_one()
    recorded = json.loads((await here.gateway.log.open([commitment]))[commitment][1])
    assert recorded["typ"] == PROPOSAL
    kept_act = Assertion.from_parts(recorded)
    verify_assertion(kept_act, key.enrolled, origin=here.url)
    assert json.loads(kept_act.payload)["proposal"]["document_sha256"] == made["document_sha256"]
    assert "cat" in str((await here.http.get("/v1/principals", headers=here.bearer("ann"))).json())


async def test_whoever_activates_signs_with_their_key_too(here: World) -> None:
    key = await enrolled(here, "ann")
    made = await lift(here)
    ann = await at(here, "ann")
    page = (await ann.get(f"/proposals/{made['id']}")).text
    for word in ("Lift the freeze", "The freeze", "mail", "drill", 'value="activate"'):
        assert word in page
    refused = await ann.post(f"/proposals/{made['id']}", {**await fields(ann, made["id"]), "act": "activate"})
    assert (refused.status_code, "not signed by it" in refused.text) == (403, True)
    assert (await sign(ann, key, made["id"], "activate")).status_code == 303
    done = await proposal(here, made["id"])
    assert (done["status"], done["decided_attested_by"]) == ("activated", "webauthn")


async def test_the_list_has_what_waits_and_what_ended_and_why(here: World) -> None:
    made, freeze = await propose(here), await lift(here)
    ben = await at(here, "ben")
    listed = (await ben.get("/proposals")).text
    for word in (made["id"], freeze["id"], "Let ", "1 of 2 agreed", "expires in ", "Lift the freeze"):
        assert word in listed
    page = await fields(ben, made["id"])
    assert (await ben.post(f"/proposals/{made['id']}", {**page, "act": "withdraw"})).status_code == 303
    assert made["id"] not in (await ben.get("/proposals")).text
    assert "Withdrawn, by ben" in (await ben.get("/proposals?all=1")).text
    shown = (await ben.get(f"/proposals/{made['id']}")).text
    assert "there is nothing left to agree to" in shown
    assert '<button type="submit" name="act"' not in shown


# --- who may not, and why --------------------------------------------------------------------------------------------


async def test_whoever_may_not_is_told_why(here: World) -> None:
    made, freeze = await propose(here), await lift(here)
    for who, one, said in (
        ("root", made, "a person counts once"),
        ("oli", made, "takes a security admin"),
        ("dee", made, "takes a security admin"),
        ("oli", freeze, "cannot activate it"),
    ):
        visit = await at(here, who)
        page = (await visit.get(f"/proposals/{one['id']}")).text
        assert said in page, (who, said)
        assert 'value="sign"' not in page
        assert 'value="activate"' not in page
        if who == "dee":
            assert 'value="withdraw"' not in page
            assert "cat" not in page.replace("indicat", ""), "whom it is about is for those who may sign"
        token = hidden((await visit.get("/proposals")).text)["csrf_token"]
        for act in ("sign", "activate"):
            form = {"csrf_token": token, "act": act, "shown": (await fields(visit, one["id"])).get("shown", "")}
            answer = await visit.post(f"/proposals/{one['id']}", form)
            assert answer.status_code in {403, 409}, (who, act, answer.status_code)
    assert (await proposal(here, made["id"]))["status"] == "open"
    assert (await proposal(here, freeze["id"]))["status"] == "open"


async def test_who_proposed_with_a_security_key_counts_once_they_signed(here: World) -> None:
    """Their API key alone, which may be stolen, is nobody's word."""
    key = await enrolled(here, "root")
    made = await propose(here)
    assert made["signatures"] == []
    body = {"document_sha256": made["document_sha256"]}
    stolen = await here.http.post(f"/v1/proposals/{made['id']}/sign", json=body, headers=here.bearer("root"))
    assert (stolen.status_code, stolen.json()["code"]) == (403, "proposal.key")
    root, ben = await at(here, "root"), await at(here, "ben")
    assert (await sign(root, key, made["id"])).status_code == 303
    again = await root.post(f"/proposals/{made['id']}", {**await fields(root, made["id"]), "act": "sign"})
    assert again.status_code in {403, 409}, "the proposer counted twice"
    assert (await proposal(here, made["id"]))["status"] == "open"
    assert (
        await ben.post(f"/proposals/{made['id']}", {**await fields(ben, made["id"]), "act": "sign"})
    ).status_code == 303
    assert (await proposal(here, made["id"]))["status"] == "activated"


async def test_two_keys_of_one_person_are_one_person(here: World) -> None:
    first, second = await enrolled(here, "ann"), await enrolled(here, "ann", "EdDSA")
    made = await propose(here, by="ann")
    ann = await at(here, "ann")
    assert (await sign(ann, first, made["id"])).status_code == 303
    page = await ann.get(f"/proposals/{made['id']}/challenge")
    assert page.status_code == 409
    said = second.sign(b"{}")
    form = {**hidden((await ann.get("/proposals")).text), **parts(said), "act": "sign"}
    answer = await ann.post(f"/proposals/{made['id']}", {**await fields(ann, made["id"]), **form})
    assert answer.status_code == 409
    assert (await proposal(here, made["id"]))["status"] == "open"


# --- attacks ---------------------------------------------------------------------------------------------------------


async def test_a_page_that_showed_another_proposal_signs_nothing(here: World) -> None:
    key = await enrolled(here, "ann")
    shown, other = await propose(here, "cat"), await propose(here, "eve")
    ann = await at(here, "ann")
    form = await fields(ann, shown["id"])
    said = key.sign(await payload(ann, other["id"]))
    answer = await ann.post(f"/proposals/{other['id']}", {**form, **parts(said), "act": "sign"})
    assert (answer.status_code, "read it, and say anew" in answer.text) == (409, True)
    # The right form, and a signature for another proposal.
    answer = await sign(ann, key, shown["id"], said=await payload(ann, other["id"]))
    assert answer.status_code == 409
    for one in (shown, other):
        assert len((await proposal(here, one["id"]))["signatures"]) == 1


BINDING: dict[str, dict[str, Any]] = {
    "another document": {"document_sha256": "0" * 64},
    "another id": {"id": "0" * 32},
    "another tenant": {"tenant": "acme"},
    "another kind": {"kind": "trust.issuer"},
    "another subject": {"subject": "p-" + "0" * 32},
}


async def test_what_is_signed_binds_tenant_proposal_document_person_and_log(here: World) -> None:
    key = await enrolled(here, "ann")
    made = await propose(here)
    ann = await at(here, "ann")
    said = await payload(ann, made["id"])
    bound = json.loads(said)["proposal"]
    attempts = {name: changed(said, proposal={**bound, **members}) for name, members in BINDING.items()}
    attempts |= {
        "another act": changed(said, act="activate"),
        "another person": changed(said, by="ben"),
        "another log": changed(said, aud="another.example/log"),
        "longer": changed(said, exp=json.loads(said)["exp"] + 1000),
        "over": changed(said, iat=1, exp=200),
        "ahead": changed(said, iat=4_000_000_000, exp=4_000_000_100),
        "more": changed(said, more=1),
    }
    for name, one in attempts.items():
        assert (await sign(ann, key, made["id"], said=one)).status_code in {400, 401, 403, 409}, name
    assert len((await proposal(here, made["id"]))["signatures"]) == 1
    assert (await sign(ann, key, made["id"])).status_code == 303


async def test_an_authenticator_that_is_not_honest_signs_nothing(here: World) -> None:
    key, strange = await enrolled(here, "ann"), Authenticator()
    bens = await enrolled(here, "ben")
    made = await propose(here)
    ann = await at(here, "ann")
    strange.party = key.party
    for name, changes in {
        "another origin": {"origin": "https://evil.example"},
        "another site": {"rp_id": "evil.example"},
        "in a frame": {"crossOrigin": True},
        "a top frame": {"topOrigin": "https://evil.example"},
        "nobody verified": {"flags": PRESENT},
        "a registration": {"kind": "webauthn.create"},
        "another challenge": {"challenge": b"x" * 32},
        "another's signature": {"signed_by": strange},
    }.items():
        assert (await sign(ann, key, made["id"], **changes)).status_code in {400, 401, 403, 409}, name
    for name, other in {"never enrolled": strange, "somebody else's": bens}.items():
        assert (await sign(ann, other, made["id"])).status_code == 403, name
    assert len((await proposal(here, made["id"]))["signatures"]) == 1


async def test_a_counter_that_does_not_grow_is_a_copys(here: World) -> None:
    key = await enrolled(here, "ann")
    first, second = await propose(here, "cat", by="ann"), await propose(here, "eve", by="ann")
    ann = await at(here, "ann")
    assert (await sign(ann, key, first["id"])).status_code == 303
    [row] = await here.gateway.directory.security_keys("default", (await person(here, "ann")).pseudonym)
    assert row.sign_count == key.count
    assert (await sign(ann, key, second["id"], count=key.count)).status_code == 403
    assert (await sign(ann, key, second["id"])).status_code == 303


async def test_an_answer_to_a_call_is_no_word_on_a_proposal_nor_the_other_way_round(here: World) -> None:
    key = await enrolled(here, "bob")
    approval_id = await here.ask()
    answer = await asserted(here, key, approval_id)
    made = await propose(here)
    ann_key = await enrolled(here, "ann")
    ann = await at(here, "ann")
    refused = await sign(ann, ann_key, made["id"], said=answer.payload)
    assert refused.status_code == 409
    proposed = await payload(ann, made["id"])
    with pytest.raises(Refused) as refusal:
        await here.gateway.approvals.answer(approval_id, await person(here, "bob"), asserted=key.sign(proposed))
    assert refusal.value.reason is Reason.APPROVAL_MISMATCH
    assert (await here.approval(approval_id))["answers"] == []
    # Nor is a recorded one of one kind read as the other.
    with pytest.raises(Refused):
        Assertion.from_document(ann_key.sign(proposed).document(PROPOSAL))


async def test_a_key_that_is_revoked_between_page_and_form_signs_nothing(here: World) -> None:
    key = await enrolled(here, "ann")
    made = await propose(here)
    ann = await at(here, "ann")
    said, form = key.sign(await payload(ann, made["id"])), await fields(ann, made["id"])
    await revoke_key(here, "ann", "root")
    answer = await ann.post(f"/proposals/{made['id']}", {**form, **parts(said), "act": "sign"})
    assert answer.status_code == 403
    # With the key gone the login alone does not speak for her: a stolen API key would take the key away first.
    bare = {**await fields(ann, made["id"]), "act": "sign", "shown": form["shown"]}
    assert (await ann.post(f"/proposals/{made['id']}", bare)).status_code == 403
    page = (await ann.get(f"/proposals/{made['id']}")).text
    assert "only one speaks for you" in page
    body = {"document_sha256": made["document_sha256"]}
    stolen = await here.http.post(f"/v1/proposals/{made['id']}/sign", json=body, headers=here.bearer("ann"))
    assert (stolen.status_code, stolen.json()["code"]) == (403, "proposal.key")
    assert len((await proposal(here, made["id"]))["signatures"]) == 1


async def test_taking_the_rows_of_keys_away_makes_no_login_enough(here: World) -> None:
    await enrolled(here, "ann")
    made = await propose(here)
    with here.gateway.engine.begin() as connection:
        connection.execute(security_keys.delete())
    body = {"document_sha256": made["document_sha256"]}
    stolen = await here.http.post(f"/v1/proposals/{made['id']}/sign", json=body, headers=here.bearer("ann"))
    assert (stolen.status_code, stolen.json()["code"]) == (403, "proposal.key")


async def test_a_signature_of_a_key_that_is_revoked_since_counts_no_more(here: World) -> None:
    key = await enrolled(here, "root")
    made = await propose(here)
    root = await at(here, "root")
    assert (await sign(root, key, made["id"])).status_code == 303
    await revoke_key(here, "root", "ann")
    ben = await at(here, "ben")
    assert "does not count" in (await ben.get(f"/proposals/{made['id']}")).text
    form = {**await fields(ben, made["id"]), "act": "sign"}
    assert (await ben.post(f"/proposals/{made['id']}", form)).status_code == 303
    assert (await proposal(here, made["id"]))["status"] == "open", "ben is one"
    # Whoever writes to the database gives no signature another key.
    with here.gateway.engine.begin() as connection:
        connection.execute(update(proposal_signatures).values(kid=None, attested_by="gateway"))
    assert [one["by"] for one in (await proposal(here, made["id"]))["signatures"]] == ["ben"]


async def test_after_its_time_and_after_its_end_nothing_is_signed(here: World) -> None:
    key = await enrolled(here, "ann")
    made, other = await propose(here, "cat"), await propose(here, "eve")
    ann, ben = await at(here, "ann"), await at(here, "ben")
    said, form = await payload(ann, made["id"]), await fields(ann, made["id"])
    await ben.post(f"/proposals/{made['id']}", {**await fields(ben, made["id"]), "act": "withdraw"})
    answer = await ann.post(f"/proposals/{made['id']}", {**form, **parts(key.sign(said)), "act": "sign"})
    assert (answer.status_code, "already decided" in answer.text) == (409, True)
    now = here.gateway.clock()
    here.gateway.proposals.clock = lambda: now + here.gateway.settings.proposals.ttl_seconds + 1
    form = await fields(ann, other["id"])
    assert 'value="sign"' not in (await ann.get(f"/proposals/{other['id']}")).text
    assert (await ann.get(f"/proposals/{other['id']}/challenge")).status_code == 409


async def test_another_tenants_session_sees_and_signs_nothing(here: World) -> None:
    [made] = await here.gateway.directory.bootstrap([NewPrincipal("ann", ["security_admin"])], "acme")
    here.keys["acme"] = str(made["api_key"]["token"])
    ours = await propose(here)
    ann = await at(here, "acme")
    form = {**hidden((await ann.get("/proposals")).text), "shown": "0" * 64, "act": "sign"}
    for answer in (
        await ann.get(f"/proposals/{ours['id']}"),
        await ann.get(f"/proposals/{ours['id']}/challenge"),
        await ann.post(f"/proposals/{ours['id']}", form),
    ):
        assert answer.status_code == 404
    assert ours["id"] not in (await ann.get("/proposals?all=1")).text


async def test_other_sites_forms_and_forms_without_the_sessions_token_do_nothing(here: World) -> None:
    made = await propose(here)
    ben = await at(here, "ben")
    form = {**await fields(ben, made["id"]), "act": "sign"}
    for headers in (
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "null"},
        {"origin": ""},
    ):
        assert (await ben.post(f"/proposals/{made['id']}", form, **headers)).status_code == 403
    for token in ("", "0" * 64):
        assert (await ben.post(f"/proposals/{made['id']}", {**form, "csrf_token": token})).status_code == 403
    page = await ben.get(f"/proposals/{made['id']}")
    assert page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (await proposal(here, made["id"]))["status"] == "open"


async def test_what_is_asked_for_cannot_look_like_something_else(tmp_path: Path) -> None:
    """A subject elsewhere may be any text: it is escaped, spelled out where it reorders, and pointed at."""
    company = {"issuer": ISSUER, "audiences": ["https://g.example"], "algorithm": "ES256"}
    async with desk(tmp_path, identity={"company": company}) as here:
        body = {"issuer": "company", "subject": "</pre><script>alert(1)</script>\u202eadm\u0456n"}
        answer = await here.http.post("/v1/principals/oli/links", json=body, headers=here.bearer("root"))
        assert answer.status_code == 202, answer.text
        page = (await (await at(here, "ann")).get(f"/proposals/{answer.json()['id']}")).text
        assert page.count("<script") == 1, "the pages' own"
        assert "\u202e" not in page
        assert "\\u{202e}" in page
        assert "Look twice at: /subject." in page
        assert "call as " in page
        for name in ("c\u0430t", "cat\u202e", "c at", "<b>"):
            body = {"id": name, "roles": ["operator"], "api_key": own_key()[1]}
            refused = await here.http.post("/v1/principals", json=body, headers=here.bearer("root"))
            assert refused.status_code == 400, "ids are plain letters"
