"""Bundles after a key of the gateway was stolen: what the log covered before stands, and nothing that a thief makes."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import VerifierKey, note_text
from audit.cosignature import WitnessKey, cosigned_message
from audit.verifier.note import Vkey
from audit.verifier.report import Exit, Report, Verdict
from gateway.canonical import b64url_decode, b64url_encode, canonical, parse
from gateway.ports import Append, Purpose, Typ
from keys import jwk
from keys.entries import drafts
from keys.rotation import Compromise, KeyRecord, KeyState
from tests.audit.export.house import NOW, House, check, executed, put_together, resigned, said, taken_apart

STOLEN_AT = NOW + 10.0
WITNESS = Ed25519PrivateKey.generate()
WATCHING = WitnessKey("w.example", WITNESS.public_key().public_bytes_raw())
ASKED_OF = Vkey(WATCHING.name, 4, WATCHING.public)


async def revoke(house: House, purpose: Purpose, covered: int | None) -> str:
    """Revoke the active key of a purpose, on record; its kid."""
    kid = str(house.keyset.active_jwk(purpose)["kid"])
    compromise = None if covered is None else Compromise(STOLEN_AT, covered)
    changed = house.keyset.revoke(kid, NOW + 60.0, compromise=compromise)
    await house.log.append(Append(drafts(changed, "default", "p-admin")))
    return kid


def trusting(house: House, raw: bytes, **asked: Any) -> Report:
    return check(raw, house.key, trust=canonical(house.trust()), **asked)


async def manifest_signed_now(house: House, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A bundle made after the revocation, whose manifest is of a time at which the new key is in force."""
    monkeypatch.setattr("tests.audit.export.house.NOW", NOW + 61)
    return await house.bundle()


# --- receipts --------------------------------------------------------------------------------------------------------


async def test_receipts_that_a_checkpoint_covered_before_the_theft_stand(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, _ = await house.log.signed_head()
    await revoke(house, Purpose.RECEIPT, size)
    report = check(await manifest_signed_now(house, monkeypatch), house.key)
    assert report.exit is Exit.HOLDS, list(report.lines())
    assert "say of their steps" in said(report, Verdict.PROVED)["receipts"]


@pytest.mark.parametrize("covered", [None, 0, 14])
async def test_receipts_that_nothing_covered_before_show_nothing_that_their_entries_do_not(
    house: House, covered: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await revoke(house, Purpose.RECEIPT, covered)
    raw = await manifest_signed_now(house, monkeypatch)
    for report in (check(raw, house.key), trusting(house, raw)):
        assert report.exit is Exit.OPEN, list(report.lines())
        assert "which was revoked" in said(report, Verdict.OPEN)["receipts"]
        assert "receipts" not in said(report, Verdict.PROVED)


async def test_a_receipt_that_a_thief_dates_back_does_not_stand(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    size, _ = await house.log.signed_head()
    draft, value = executed(99)
    [index] = await house.log.append(Append([draft]))
    house.receipts[index] = house.receipt(index, draft, value, iat=NOW - 50)
    await revoke(house, Purpose.RECEIPT, size)
    report = check(await manifest_signed_now(house, monkeypatch), house.key)
    assert report.exit is Exit.OPEN
    assert f"From entry {size} on" in said(report, Verdict.OPEN)["receipts"]


async def test_a_receipt_that_says_itself_that_it_came_later_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, value = executed(99)
    [index] = await house.log.append(Append([draft]))
    house.receipts[index] = house.receipt(index, draft, value, iat=NOW + 10)
    size, _ = await house.log.signed_head()
    await revoke(house, Purpose.RECEIPT, size)
    report = check(await manifest_signed_now(house, monkeypatch), house.key)
    assert "not in force" in said(report, Verdict.FAILED)["receipts"]


async def test_whoever_stole_the_receipt_key_makes_no_bundle_with_it(house: House) -> None:
    """The bundle is one from before; the reader's trust document is newer, and knows."""
    raw = await house.bundle()
    await revoke(house, Purpose.RECEIPT, (await house.log.signed_head())[0])
    report = trusting(house, raw)
    assert report.exit is Exit.OPEN
    assert "which was revoked" in said(report, Verdict.OPEN)["manifest"]
    assert "manifest" not in said(report, Verdict.PROVED)
    assert "say of their steps" in said(report, Verdict.PROVED)["receipts"]


async def test_a_second_revocation_takes_more_and_gives_nothing_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, _ = await house.log.signed_head()
    kid = await revoke(house, Purpose.RECEIPT, size)
    changed = house.keyset.revoke(kid, NOW + 70.0, compromise=Compromise(STOLEN_AT - 5, 1))
    await house.log.append(Append(drafts(changed, "default", "p-admin")))
    monkeypatch.setattr("tests.audit.export.house.NOW", NOW + 71)
    raw = await house.bundle()
    assert "From entry 1 on" in said(check(raw, house.key), Verdict.OPEN)["receipts"]
    # A thief who can write keys.json says again that all of it stands; the entries say otherwise.
    keys = house.trust()
    for key in keys["jwks"]["keys"]:
        if key["kid"] == kid:
            key |= {"covered_size": size, "compromised_at": STOLEN_AT}
    parts = [(name, canonical(keys) if name == "keys.json" else body) for name, body in taken_apart(raw)]
    assert "From entry 1 on" in said(check(resigned(house, parts), house.key), Verdict.OPEN)["receipts"]


# --- the log's own key -----------------------------------------------------------------------------------------------


def cosigned(raw: bytes, at: int) -> bytes:
    """The bundle with a witness's line under its checkpoint."""
    parts = dict(taken_apart(raw))
    text = note_text(parts["checkpoint.txt"].decode())
    blob = WATCHING.key_id + at.to_bytes(8, "big") + WITNESS.sign(cosigned_message(text, at))
    parts["checkpoint.txt"] += f"\u2014 {WATCHING.name} {base64.b64encode(blob).decode()}\n".encode()
    return put_together(list(parts.items()))


def log_key(house: House, **members: Any) -> dict[str, Any]:
    """The key that signs this log's checkpoints, as a trust document lists it."""
    x = b64url_encode(house.key.public)
    kid = jwk.public({"kty": "OKP", "crv": "Ed25519", "x": x}).kid
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "purpose": "checkpoint", "created_at": 1.0, **members}


def trust_with(house: House, key: dict[str, Any]) -> bytes:
    """A trust document that lists the log's key, and believes another one now."""
    document = house.trust()
    document["jwks"]["keys"].append(key)
    document["log"] = [str(VerifierKey(house.log.origin, bytes(range(32))))]
    return canonical(document)


@pytest.mark.parametrize(("at", "stands"), [(int(STOLEN_AT) - 1, True), (int(STOLEN_AT), False)])
async def test_a_checkpoint_of_a_stolen_key_stands_where_witnesses_saw_it_before(
    house: House, at: int, stands: bool
) -> None:
    raw = await house.bundle()
    stolen = {"state": "revoked", "revoked_at": NOW + 60.0, "compromised_at": STOLEN_AT, "covered_size": 5}
    trust = trust_with(house, log_key(house, **stolen))
    seen = resigned(house, taken_apart(cosigned(raw, at)))
    report = check(seen, trust=trust, witnesses=[ASKED_OF], quorum=1)
    if stands:
        assert report.exit is Exit.HOLDS, list(report.lines())
        assert any("w.example saw it before the key was in wrong hands" in one.text for one in report.findings)
    else:
        assert report.exit is Exit.FAILED
        assert "none of your witnesses" in said(report, Verdict.FAILED)["checkpoint"]
        assert "entries" not in said(report, Verdict.PROVED)
    assert check(seen, trust=trust).exit is Exit.FAILED, "the reader names no witness"
    assert check(raw, house.key, trust=trust).exit is Exit.FAILED, "the reader gives the old key by hand as well"
    nobody_knows = trust_with(house, log_key(house, state="revoked", revoked_at=NOW + 60.0))
    assert check(seen, trust=nobody_knows, witnesses=[ASKED_OF], quorum=1).exit is Exit.FAILED
    assert check(raw, house.key).exit is Exit.HOLDS, "who knows of no theft believes the key that they were given"


async def test_a_log_that_says_that_its_key_was_revoked_is_not_signed_with_it(house: House) -> None:
    known = log_key(house)
    record = KeyRecord(known["kid"], Purpose.CHECKPOINT, known["x"], KeyState.REVOKED, 1.0, revoked_at=NOW + 60.0)
    await house.log.append(Append(drafts([record], "default", "p-admin")))
    report = check(await house.bundle(), house.key, trust=trust_with(house, known))
    assert "signed by a key that was revoked" in said(report, Verdict.FAILED)["checkpoint"]
    assert "entries" not in said(report, Verdict.PROVED)


# --- the history -----------------------------------------------------------------------------------------------------


async def test_the_history_is_held_against_the_logs_own_entries(house: House) -> None:
    report = check(await house.bundle(), house.key)
    assert "12 keys and 12 changes" in said(report, Verdict.PROVED)["key history"]


def bent(house: House, raw: bytes, bend: Any) -> Report:
    """The report on a bundle whose history was changed, and signed anew by the gateway's own key."""
    parts = dict(taken_apart(raw))
    claims = parse(b64url_decode(parts["history.jws"].decode().split(".")[1]))
    bend(claims)
    parts["history.jws"] = house.keyset.sign(Purpose.RECEIPT, Typ.HISTORY, canonical(claims)).encode()
    return check(resigned(house, list(parts.items())), house.key)


def _leave_out_an_entry(claims: dict[str, Any]) -> None:
    claims["keys"][0]["entries"] = []


def _name_an_entry_of_another_kind(claims: dict[str, Any]) -> None:
    claims["keys"][0]["entries"].append([0, "KEYROT", "active"])


def _move_an_entry_to_another_key(claims: dict[str, Any]) -> None:
    first, second = claims["keys"][0], claims["keys"][1]
    first["entries"], second["entries"] = second["entries"], first["entries"]


def _name_an_entry_twice(claims: dict[str, Any]) -> None:
    claims["keys"][0]["entries"] *= 2


def _leave_out_a_key(claims: dict[str, Any]) -> None:
    del claims["keys"][0]


def _another_state(claims: dict[str, Any]) -> None:
    claims["keys"][0]["entries"][0][2] = "revoked"


def _another_purpose(claims: dict[str, Any]) -> None:
    claims["keys"][0]["purpose"] = "step"


def _no_list(claims: dict[str, Any]) -> None:
    claims["keys"] = {"kid": 1}


def _no_entry(claims: dict[str, Any]) -> None:
    claims["keys"][0]["entries"] = [[True, "KEYCRE", "next"]]


def _revoked_in_one(claims: dict[str, Any]) -> None:
    claims["keys"][0]["state"] = "revoked"


def _of_another_log(claims: dict[str, Any]) -> None:
    claims["iss"] = "other.example/log"


@pytest.mark.parametrize(
    "bend",
    [_leave_out_an_entry, _name_an_entry_of_another_kind, _move_an_entry_to_another_key, _name_an_entry_twice,
     _leave_out_a_key, _another_state, _another_purpose, _no_list, _no_entry, _revoked_in_one, _of_another_log],
)  # fmt: skip
async def test_whoever_holds_the_receipt_key_writes_no_other_history(house: House, bend: Any) -> None:
    raw = await house.bundle()
    assert bent(house, raw, lambda _: None).exit is Exit.HOLDS
    report = bent(house, raw, bend)
    assert report.exit is Exit.FAILED
    assert said(report, Verdict.FAILED)["key history"]


async def test_a_revoked_key_that_was_put_back_is_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes over the key's file with an older one; the log remembers."""
    await house.log.append(
        Append(drafts(house.keyset.revoke(house.keyset.list()[0].kid, NOW + 60.0), "default", "p-admin"))
    )
    later = await manifest_signed_now(house, monkeypatch)
    assert check(later, house.key).exit is Exit.HOLDS
    kid = next(record.kid for record in house.keyset.list() if record.state == "revoked")
    parts = dict(taken_apart(later))
    keys = house.trust()
    for key in keys["jwks"]["keys"]:
        if key["kid"] == kid:
            key["state"] = "active"
            del key["revoked_at"]
    parts["keys.json"] = canonical(keys)

    def back(claims: dict[str, Any]) -> None:
        for key in claims["keys"]:
            if key["kid"] == kid:
                key["state"] = "active"

    report = bent(house, put_together(list(parts.items())), back)
    assert "says that it was revoked" in said(report, Verdict.FAILED)["key history"]
