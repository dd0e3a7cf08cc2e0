"""Revocation at a time, spare keys, and rotation by schedule."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ports import Purpose
from gateway.reasons import Conflict, Reason
from gateway.settings import KeySettings
from keys import entries, rotation
from keys.errors import KeyRefused
from keys.keyset import NEXT_MAX, Keyset, rotate_days
from keys.rotation import Compromise, KeyRecord, KeyState, Lifetimes
from keys.stores.file import FileKeyStore
from tests.keys.clock import MASTER, T0, Clock

LIFETIMES = Lifetimes(jwks_seconds=300)
DAY = 86_400.0


def keyset_in(directory: Path, clock: Clock, **settings: int) -> Keyset:
    return Keyset(FileKeyStore(directory / "keys", MASTER), KeySettings(**settings), clock)


@pytest.fixture
def keyset(tmp_path: Path, clock: Clock) -> Keyset:
    made = keyset_in(tmp_path, clock)
    made.ensure()
    return made


def active(keyset: Keyset, purpose: Purpose = Purpose.RECEIPT) -> str:
    return str(keyset.active_jwk(purpose)["kid"])


def record(state: KeyState = KeyState.RETIRED, **times: float) -> KeyRecord:
    return KeyRecord("a", Purpose.RECEIPT, "x", state, 0.0, **times)


# --- at a time -------------------------------------------------------------------------------------------------------


def test_what_stands_of_a_stolen_key_is_in_its_record_its_entry_and_the_trust_document(
    keyset: Keyset, tmp_path: Path, clock: Clock
) -> None:
    kid = active(keyset)
    changed = keyset.revoke(kid, compromise=Compromise(T0 - 60.5, 7))
    [draft, _, _] = entries.drafts(changed, "default", "p")
    assert draft.facts == {
        "kid": kid, "purpose": "receipt", "state": "revoked", "compromised_at": int(T0 - 60.5), "covered_size": 7,
    }  # fmt: skip
    again = keyset_in(tmp_path, clock)
    again.reload()
    [known] = [key for key in again.trust_jwks()["keys"] if key["kid"] == kid]
    assert (known["compromised_at"], known["covered_size"], known["state"]) == (T0 - 60.5, 7, "revoked")


def test_a_revocation_without_a_time_leaves_nothing_standing(keyset: Keyset) -> None:
    kid = active(keyset)
    [draft, *_] = entries.drafts(keyset.revoke(kid), "default", "p")
    assert "covered_size" not in draft.facts
    assert all("covered_size" not in key for key in keyset.trust_jwks()["keys"])


@pytest.mark.parametrize(
    ("second", "stands"),
    [(Compromise(5.0, 3), 3), (Compromise(9.0, 5), 5), (None, None)],
)
def test_a_key_can_be_revoked_again_if_less_stands(second: Compromise | None, stands: int | None) -> None:
    [first] = rotation.revoke([record()], "a", 20.0, Compromise(10.0, 5))
    [again] = rotation.revoke([first], "a", 30.0, second)
    assert (again.covered_size, again.revoked_at) == (stands, 20.0)


@pytest.mark.parametrize("second", [Compromise(10.0, 5), Compromise(11.0, 5), Compromise(11.0, 9), Compromise(9.0, 6)])
def test_no_revocation_gives_back_what_another_took(second: Compromise) -> None:
    [first] = rotation.revoke([record()], "a", 20.0, Compromise(10.0, 5))
    with pytest.raises(KeyRefused):
        rotation.revoke([first], "a", 30.0, second)
    [nothing] = rotation.revoke([first], "a", 30.0)
    with pytest.raises(KeyRefused):
        rotation.revoke([nothing], "a", 40.0, Compromise(1.0, 0))


def test_a_plan_that_waits_is_told_up_to_where_its_key_stands(keyset: Keyset) -> None:
    kid = active(keyset, Purpose.CONNECTOR)
    keyset.revoke(kid, compromise=Compromise(T0 - 1, 7))
    known = keyset.issuer("mcp", "default").keys[kid]
    assert (known.revoked_at, known.covered_size) == (int(T0), 7)


# --- spare keys ------------------------------------------------------------------------------------------------------


def test_with_a_spare_key_two_rotations_follow_each_other(keyset: Keyset, clock: Clock) -> None:
    keyset.create(Purpose.RECEIPT)
    clock.now += 305
    first = active(keyset)
    keyset.rotate(Purpose.RECEIPT)
    second = active(keyset)
    keyset.rotate(Purpose.RECEIPT)
    assert len({first, second, active(keyset)}) == 3
    assert len([key for key in keyset.list() if key.purpose is Purpose.RECEIPT and key.state is KeyState.NEXT]) == 1


def test_no_more_keys_wait_than_may(keyset: Keyset) -> None:
    for _ in range(NEXT_MAX - 1):
        keyset.create(Purpose.STEP)
    with pytest.raises(KeyRefused) as refusal:
        keyset.create(Purpose.STEP)
    assert refusal.value.reason is Reason.REQUEST_CONFLICT
    assert refusal.value.facts["problem"] == Conflict.SPARE_KEYS


def test_no_key_is_made_of_a_purpose_that_the_gateway_does_not_use(keyset: Keyset) -> None:
    with pytest.raises(KeyRefused, match="uses no"):
        keyset.create(Purpose.CHECKPOINT_PQ)


# --- by schedule -----------------------------------------------------------------------------------------------------


def test_every_purpose_has_a_schedule_of_its_own() -> None:
    days = {purpose: rotate_days(KeySettings(rotate_step_days=7), purpose) for purpose in Purpose}
    assert days.pop(Purpose.CHECKPOINT_PQ) == 0
    assert days.pop(Purpose.CHECKPOINT) == 0, "witnesses and readers are told first"
    assert days.pop(Purpose.STEP) == 7
    assert set(days.values()) == {90}


def test_a_key_is_rotated_when_its_days_are_over_and_not_before(keyset: Keyset, clock: Clock) -> None:
    before = {purpose: active(keyset, purpose) for purpose in keyset.purposes}
    clock.now = T0 + 90 * DAY - 1
    assert keyset.tick() == ()
    clock.now += 1
    changed = keyset.tick()
    rotated = {record.purpose for record in changed if record.state is KeyState.ACTIVE}
    assert rotated == set(keyset.purposes) - {Purpose.CHECKPOINT}
    assert {purpose for purpose in keyset.purposes if active(keyset, purpose) != before[purpose]} == rotated
    assert keyset.tick() == (), "once"
    assert keyset.age(Purpose.RECEIPT) == 0


def test_a_schedule_waits_until_the_next_key_is_known_everywhere() -> None:
    old = record(KeyState.ACTIVE, activated_at=1.0)
    fresh = replace(record(KeyState.NEXT), kid="b", created_at=100 * DAY)
    longest = {Purpose.RECEIPT: 90 * DAY}
    assert rotation.due([old, fresh], longest, 100 * DAY + 304, LIFETIMES) == []
    assert rotation.due([old, fresh], longest, 100 * DAY + 305, LIFETIMES) == [Purpose.RECEIPT]
    assert rotation.due([old], longest, 200 * DAY, LIFETIMES) == [], "nothing would sign"
    assert rotation.due([fresh], longest, 200 * DAY, LIFETIMES) == []


def test_of_many_gateways_one_rotates(tmp_path: Path, clock: Clock, keyset: Keyset) -> None:
    clock.now = T0 + 91 * DAY
    crowd = [keyset_in(tmp_path, clock) for _ in range(6)]
    made: list[KeyRecord] = []
    threads = [threading.Thread(target=lambda one=one: made.extend(one.tick())) for one in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([change for change in made if change.state is KeyState.ACTIVE]) == len(keyset.purposes) - 1
    for one in crowd:
        one.reload()
    assert len({active(one) for one in crowd}) == 1


def test_a_schedule_of_nought_rotates_nothing(tmp_path: Path, clock: Clock) -> None:
    keyset = keyset_in(tmp_path, clock, **{f"rotate_{purpose.replace('-', '_')}_days": 0 for purpose in Purpose})
    keyset.ensure()
    clock.now += 4_000 * DAY
    assert keyset.tick() == ()
