"""Security keys: what is verified, by attack; an independent library must agree with every acceptance."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fido2.cose import CoseKey
from fido2.webauthn import AuthenticatorData, CollectedClientData

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused
from gateway.model import Answer
from gateway.reasons import Reason
from gateway.webauthn import (
    Assertion,
    RelyingParty,
    check_counter,
    relying_party,
    verify_assertion,
    verify_registration,
)
from tests.approvals.authenticator import (
    ATTESTED,
    BACKED_UP,
    ELIGIBLE,
    EXTENSIONS,
    PARTY,
    PRESENT,
    VERIFIED,
    Authenticator,
)
from tests.approvals.world import CHALLENGE, World, asserted, enrol, person, pseudonym, world

KINDS = ["ES256", "EdDSA"]


def reason_of(call: Any, *args: Any, **kwargs: Any) -> Reason:
    with pytest.raises(HandrailError) as refused:
        call(*args, **kwargs)
    return refused.value.reason


# --- what is accepted, another library accepts -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_registration_is_read_as_another_library_reads_it(kind: str) -> None:
    key = Authenticator(kind)
    client_data, data = key.registration(CHALLENGE)
    registered = verify_registration(client_data, data, challenge=CHALLENGE, party=PARTY)
    assert (registered.jwk, b64url_decode(registered.credential_id)) == (key.jwk, key.credential_id)
    theirs = AuthenticatorData(data).credential_data
    assert theirs is not None
    assert theirs.credential_id == key.credential_id
    assert theirs.public_key[-2] == b64url_decode(registered.jwk["x"])
    assert CollectedClientData(client_data).challenge == CHALLENGE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [0, ELIGIBLE, ELIGIBLE | BACKED_UP, EXTENSIONS])
def test_an_assertion_is_verified_as_another_library_verifies_it(kind: str, flags: int) -> None:
    key = Authenticator(kind)
    after = bytes.fromhex("a0") if flags & EXTENSIONS else b""
    assertion = key.sign(b"payload", flags=PRESENT | VERIFIED | flags, after=after)
    assert verify_assertion(assertion, key.enrolled, origin=PARTY.origin) == key.count == 1
    assert Assertion.from_document(assertion.document()) == assertion
    _, data = key.registration(CHALLENGE)
    public = AuthenticatorData(data).credential_data
    assert public is not None
    signed = assertion.authenticator_data + CollectedClientData(assertion.client_data_json).hash
    CoseKey.parse(public.public_key).verify(signed, assertion.signature)


# --- attacks ---------------------------------------------------------------------------------------------------------

ASSERTIONS: dict[str, tuple[dict[str, Any], Reason]] = {
    "another payload's challenge": ({"challenge": bytes(32)}, Reason.APPROVAL_MISMATCH),
    "another site": ({"origin": "https://gateway.example.evil"}, Reason.APPROVAL_KEY),
    "another port": ({"origin": "https://gateway.example:444"}, Reason.APPROVAL_KEY),
    "over plain http": ({"origin": "http://gateway.example"}, Reason.APPROVAL_KEY),
    "a subdomain": ({"origin": "https://a.gateway.example"}, Reason.APPROVAL_KEY),
    "no origin": ({"origin": ...}, Reason.VERIFY_MALFORMED),
    "another relying party": ({"rp_id": "evil.example"}, Reason.APPROVAL_KEY),
    "a registration as an answer": ({"kind": "webauthn.create"}, Reason.VERIFY_TYPE),
    "a payment as an answer": ({"kind": "payment.get"}, Reason.VERIFY_TYPE),
    "in a frame": ({"crossOrigin": True}, Reason.APPROVAL_KEY),
    "under a foreign page": ({"topOrigin": "https://evil.example"}, Reason.APPROVAL_KEY),
    "nobody was there": ({"flags": VERIFIED}, Reason.APPROVAL_KEY),
    "the person was not verified": ({"flags": PRESENT}, Reason.APPROVAL_KEY),
    "backed up and not eligible": ({"flags": PRESENT | VERIFIED | BACKED_UP}, Reason.VERIFY_MALFORMED),
    "bytes after it": ({"after": b"x"}, Reason.VERIFY_MALFORMED),
    "a registration's data": ({"flags": PRESENT | VERIFIED | ATTESTED, "after": b"x"}, Reason.VERIFY_MALFORMED),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_that_is_not_for_this_is_refused_although_its_signature_holds(name: str, kind: str) -> None:
    key = Authenticator(kind)
    changes, expected = ASSERTIONS[name]
    assert reason_of(verify_assertion, key.sign(b"payload", **changes), key.enrolled, origin=PARTY.origin) is expected


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_bit_anywhere_is_refused(kind: str) -> None:
    key = Authenticator(kind)
    assertion = key.sign(b"payload")
    for member in ("payload", "authenticator_data", "client_data_json", "signature"):
        raw = getattr(assertion, member)
        for at in {0, len(raw) // 2, len(raw) - 1}:
            changed = replace(assertion, **{member: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]})
            assert reason_of(verify_assertion, changed, key.enrolled, origin=PARTY.origin)


@pytest.mark.parametrize("kind", KINDS)
def test_another_persons_key_signs_nothing(kind: str) -> None:
    mine, other = Authenticator(kind), Authenticator(kind)
    forged = mine.sign(b"payload", signed_by=other)
    assert reason_of(verify_assertion, forged, mine.enrolled, origin=PARTY.origin) is Reason.VERIFY_SIGNATURE
    assert reason_of(verify_assertion, other.sign(b"p"), mine.enrolled, origin=PARTY.origin) is Reason.APPROVAL_KEY


def test_duplicate_members_of_the_client_data_are_refused() -> None:
    key = Authenticator()
    assertion = key.sign(b"payload")
    twice = assertion.client_data_json[:-1] + b', "origin": "https://gateway.example"}'
    assert reason_of(
        verify_assertion, replace(assertion, client_data_json=twice), key.enrolled, origin=PARTY.origin
    ) is Reason.SCHEMA_JSON  # fmt: skip


@pytest.mark.parametrize(
    ("before", "now", "sound"), [(0, 0, True), (0, 1, True), (3, 4, True), (3, 3, False), (3, 0, False), (4, 3, False)]
)
def test_a_counter_that_does_not_grow_is_a_copy(before: int, now: int, sound: bool) -> None:
    key = replace(Authenticator().enrolled, sign_count=before)
    if sound:
        check_counter(key, now)
    else:
        assert reason_of(check_counter, key, now) is Reason.APPROVAL_KEY


REGISTRATIONS: dict[str, tuple[dict[str, Any], Reason]] = {
    "another challenge": ({"challenge": b64url_encode(bytes(32))}, Reason.APPROVAL_MISMATCH),
    "another origin": ({"origin": "https://evil.example"}, Reason.APPROVAL_KEY),
    "an assertion": ({"type": "webauthn.get"}, Reason.VERIFY_TYPE),
    "another site": ({"rp_id": "evil.example"}, Reason.APPROVAL_KEY),
    "no verification": ({"flags": PRESENT | ATTESTED}, Reason.APPROVAL_KEY),
    "no key": ({"flags": PRESENT | VERIFIED}, Reason.VERIFY_MALFORMED),
    "an empty key": ({"cose": b""}, Reason.VERIFY_ALGORITHM),
    "RS256": ({"cose": bytes.fromhex("a401030339010020590100")}, Reason.VERIFY_ALGORITHM),
    "ES256 in another order": (
        {"cose": bytes.fromhex("a5032601022001215820") + bytes(32) + bytes.fromhex("225820") + bytes(32)},
        Reason.VERIFY_ALGORITHM,
    ),
    "a compressed point": (
        {"cose": bytes.fromhex("a5010203262001215820") + bytes(32) + b"\x22\xf5"},
        Reason.VERIFY_ALGORITHM,
    ),
    "bytes after the key": ({"cose": Authenticator().cose + b"x"}, Reason.VERIFY_MALFORMED),
}


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_a_registration_that_is_not_for_this_is_refused(name: str) -> None:
    changes, expected = REGISTRATIONS[name]
    client_data, data = Authenticator().registration(CHALLENGE, **changes)
    assert reason_of(verify_registration, client_data, data, challenge=CHALLENGE, party=PARTY) is expected


def test_truncated_registrations_are_refused() -> None:
    client_data, data = Authenticator().registration(CHALLENGE)
    for length in range(len(data)):
        assert reason_of(verify_registration, client_data, data[:length], challenge=CHALLENGE, party=PARTY)


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://gateway.example", RelyingParty("gateway.example", "https://gateway.example")),
        ("https://gateway.example:443/", RelyingParty("gateway.example", "https://gateway.example")),
        ("https://gateway.example:8443", RelyingParty("gateway.example", "https://gateway.example:8443")),
        ("http://localhost:8080", RelyingParty("localhost", "http://localhost:8080")),
        ("http://gateway.example", None),
        ("https://192.0.2.1", None),
        ("https://[2001:db8::1]", None),
        ("http://127.0.0.1:8080", None),
        (None, None),
    ],
)
def test_security_keys_are_of_a_name_that_a_browser_takes(url: str | None, party: RelyingParty | None) -> None:
    assert relying_party(url) == party


def test_parts_that_are_no_assertion_are_refused() -> None:
    good = json.loads(Authenticator().sign(b"p").document())
    for changes in (
        {"signature": ""}, {"signature": "a"}, {"signature": "=="}, {"payload": None}, {"credential_id": ""},
        {"credential_id": 7}, {"authenticator_data": "A" * 20_000},
    ):  # fmt: skip
        assert reason_of(Assertion.from_parts, {**good, **changes}) is Reason.VERIFY_MALFORMED
    assert reason_of(Assertion.from_document, b'{"v":2,"typ":"approval+webauthn"}') is Reason.VERIFY_MALFORMED
    assert reason_of(Assertion.from_document, b"[]") is Reason.VERIFY_MALFORMED


# --- enrolment and answers, over a real gateway ----------------------------------------------------------------------


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, duties={"enrolled_key": True}) as running:
        yield running


async def refused(call: Any) -> Reason:
    with pytest.raises(HandrailError) as refusal:
        await call
    return refusal.value.reason


@pytest.mark.parametrize("kind", KINDS)
async def test_a_security_key_approves_the_exact_call_and_the_receipt_says_so(here: World, kind: str) -> None:
    key = Authenticator(kind)
    enrolled = await enrol(here, key)
    approval_id = await here.ask()
    bob = await person(here, "bob")
    assert await refused(here.gateway.approvals.answer(approval_id, bob, answer=Answer.APPROVE)) is Reason.APPROVAL_KEY
    assertion = await asserted(here, key, approval_id)
    answered = await here.gateway.approvals.answer(approval_id, bob, asserted=assertion)
    assert (answered["status"], answered["answers"][0]["attested_by"]) == ("granted", "webauthn")
    await here.gateway.pipeline.finish()
    assert len(here.sent) == 1
    plan = await here.gateway.pipeline.load(answered["plan_id"])
    receipt = parse(b64url_decode(str(plan.steps["s0"].receipt).split(".")[1]))
    assert receipt["approvals"] == [{"approver": bob.pseudonym, "attested_by": "webauthn"}]
    [after] = await here.gateway.directory.security_keys("default", await pseudonym(here, "bob"))
    assert (after.kid, after.sign_count) == (enrolled.kid, key.count)
    changes = [entry["facts"]["change"] for entry in here.entries(EntryType.PRINCIPAL_CHANGED)]
    assert changes[-2:] == ["enrolment_offered", "security_key_added"]


@pytest.mark.parametrize(
    "members",
    [
        {"answer": "perhaps"},
        {"approver": "cy"},
        {"aud": "other/log"},
        {"approval_id": "0" * 32},
        {"binding": {}},
        {"extra": 1},
        {"iat": 1, "exp": 2},
        {"exp": 2**33},
        {"iat": 2**33, "exp": 2**33 + 9},
    ],
)
async def test_a_key_that_signed_something_else_approves_nothing(here: World, members: dict[str, Any]) -> None:
    key = Authenticator()
    await enrol(here, key)
    approval_id = await here.ask()
    assertion = await asserted(here, key, approval_id, members=members)
    assert await refused(here.gateway.approvals.answer(approval_id, await person(here, "bob"), asserted=assertion))
    assert (await here.approval(approval_id))["answers"] == []


async def test_an_assertion_fits_one_request_one_person_and_one_time(here: World) -> None:
    key = Authenticator()
    await enrol(here, key)
    first, second = await here.ask({"to": "a"}), await here.ask({"to": "b"})
    bob, cy = await person(here, "bob"), await person(here, "cy")
    approvals = here.gateway.approvals
    assertion = await asserted(here, key, first)
    assert await refused(approvals.answer(second, bob, asserted=assertion)) is Reason.APPROVAL_MISMATCH
    assert await refused(approvals.answer(first, cy, asserted=assertion)) is Reason.APPROVAL_KEY
    await approvals.answer(first, bob, asserted=assertion)
    assert await refused(approvals.answer(first, bob, asserted=assertion)) is Reason.APPROVAL_CLOSED


async def test_a_copied_authenticator_is_noticed_by_its_counter(here: World) -> None:
    key = Authenticator()
    await enrol(here, key)
    first, second = await here.ask(), await here.ask()
    bob = await person(here, "bob")
    await here.gateway.approvals.answer(first, bob, asserted=await asserted(here, key, first, count=7))
    copy = await asserted(here, key, second, count=7)
    assert await refused(here.gateway.approvals.answer(second, bob, asserted=copy)) is Reason.APPROVAL_KEY


async def test_a_refusal_needs_no_key(here: World) -> None:
    approval_id = await here.ask()
    await here.gateway.approvals.answer(approval_id, await person(here, "bob"), answer=Answer.REFUSE)
    assert (await here.approval(approval_id))["status"] == "refused"
    assert here.sent == []


async def test_a_ticket_enrols_one_key_of_one_person_once(here: World) -> None:
    directory = here.gateway.directory
    root = await person(here, "root")
    ticket = (await directory.offer_enrolment(root, "bob"))["ticket"]
    assert await refused(enrol(here, Authenticator(), "cy", ticket)) is Reason.APPROVAL_KEY
    await enrol(here, Authenticator(), "bob", ticket)
    assert await refused(enrol(here, Authenticator(), "bob", ticket)) is Reason.APPROVAL_KEY
    for bad in ("", "hre_", "hre_x.y", ticket[:-1], ticket.replace("hre_", "hrx_"), "hre_" + "A" * 5000, f"{ticket}.x"):
        assert await refused(enrol(here, Authenticator(), "bob", bad)) is Reason.APPROVAL_KEY
    assert len(await directory.security_keys("default", await pseudonym(here, "bob"))) == 1


async def test_a_ticket_lasts_a_day_and_comes_from_a_security_admin_to_an_approver(
    here: World,
) -> None:
    directory = here.gateway.directory
    root = await person(here, "root")
    ticket = (await directory.offer_enrolment(root, "bob"))["ticket"]
    now = here.gateway.clock()
    directory._clock = lambda: now + 86_401
    assert await refused(enrol(here, Authenticator(), "bob", ticket)) is Reason.APPROVAL_KEY
    for who in ("bob", "bot", "dee"):
        assert await refused(directory.offer_enrolment(await person(here, who), "bob")) is Reason.AUTH_FORBIDDEN
    assert await refused(directory.offer_enrolment(root, "bot")) is Reason.REQUEST_CONFLICT
    assert await refused(directory.offer_enrolment(root, "nobody")) is Reason.REQUEST_NOT_FOUND


async def test_a_key_is_one_persons(here: World) -> None:
    key = Authenticator()
    await enrol(here, key)
    assert await refused(enrol(here, key, "cy")) is Reason.APPROVAL_KEY
    same_id = Authenticator()
    same_id.credential_id = key.credential_id
    assert await refused(enrol(here, same_id, "cy")) is Reason.APPROVAL_KEY


async def test_a_point_off_the_curve_is_not_enrolled(here: World) -> None:
    key = Authenticator()
    key.cose = key.cose[:10] + bytes(32) + key.cose[42:]
    assert await refused(enrol(here, key)) is Reason.APPROVAL_KEY
    small = Authenticator("EdDSA")
    small.cose = small.cose[:10] + b"\x01" + bytes(31)
    with pytest.raises(HandrailError):
        await enrol(here, small)


async def test_a_revoked_key_approves_nothing_also_what_it_had_signed_before_the_quorum(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"enrolled_key": True, "quorum": 2}) as here:
        one, two = Authenticator(), Authenticator()
        enrolled = await enrol(here, one)
        await enrol(here, two, "cy")
        approval_id = await here.ask()
        bob, cy, root = await person(here, "bob"), await person(here, "cy"), await person(here, "root")
        approvals, directory = here.gateway.approvals, here.gateway.directory
        await approvals.answer(approval_id, bob, asserted=await asserted(here, one, approval_id))
        await directory.revoke_security_key(root, "bob", enrolled.kid)
        assert await refused(directory.revoke_security_key(root, "bob", enrolled.kid)) is Reason.REQUEST_NOT_FOUND
        answered = await approvals.answer(approval_id, cy, asserted=await asserted(here, two, approval_id, "cy"))
        assert answered["status"] == "open", "one of the two signatures is worth nothing any more"
        assert here.sent == []
        other = await here.ask()
        assert await refused(asserted(here, one, other)) is Reason.APPROVAL_KEY


async def test_rows_of_keys_are_believed_as_far_as_key_and_log_vouch_for_them(here: World) -> None:
    key = Authenticator()
    enrolled = await enrol(here, key)
    directory, root = here.gateway.directory, await person(here, "root")
    with here.gateway.engine.connect() as connection:
        before = dict(connection.exec_driver_sql("SELECT * FROM security_keys").mappings().one())
        connection.exec_driver_sql("UPDATE security_keys SET pseudonym = ?", (await pseudonym(here, "cy"),))
        connection.commit()
    assert await directory.security_keys("default", await pseudonym(here, "cy")) == []
    with here.gateway.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE security_keys SET pseudonym = ?", (before["pseudonym"],))
        connection.commit()
    await directory.revoke_security_key(root, "bob", enrolled.kid)
    with here.gateway.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE security_keys SET revoked_at = NULL, mac = ?", (before["mac"],))
        connection.commit()
    assert await directory.security_keys("default", await pseudonym(here, "bob")) == [], (
        "the log knows of the revocation"
    )


async def test_a_revoked_person_has_no_keys(here: World) -> None:
    await enrol(here, Authenticator())
    bob = await pseudonym(here, "bob")
    assert len(await here.gateway.directory.security_keys("default", bob)) == 1
    await here.gateway.directory.revoke_principal(await person(here, "root"), "bob")
    assert await here.gateway.directory.security_keys("default", bob) == []


async def test_the_signed_answer_still_counts_after_a_restart(tmp_path: Path) -> None:
    key = Authenticator()
    async with world(tmp_path, duties={"enrolled_key": True, "quorum": 2}) as before:
        await enrol(before, key)
        approval_id = await before.ask()
        bob = await person(before, "bob")
        await before.gateway.approvals.answer(approval_id, bob, asserted=await asserted(before, key, approval_id))
    async with world(tmp_path, duties={"enrolled_key": True, "quorum": 2}) as after:
        second = Authenticator()
        await enrol(after, second, "cy")
        cy = await person(after, "cy")
        await after.gateway.approvals.answer(approval_id, cy, asserted=await asserted(after, second, approval_id, "cy"))
        assert (await after.gateway.approvals.show(approval_id, cy))["status"] == "granted"


def test_the_challenge_is_the_digest_of_the_payload() -> None:
    key = Authenticator()
    assertion = key.sign(b"{}")
    said = json.loads(assertion.client_data_json)["challenge"]
    assert b64url_decode(said) == hashlib.sha256(b"{}").digest()
    assert isinstance(Refused(Reason.APPROVAL_KEY), HandrailError)
