"""Rotation: nobody's message is refused, and a key that is gone stays gone."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.entries import EntryType
from gateway.ports import Purpose, Typ
from gateway.reasons import Reason
from gateway.settings import KeySettings
from keys import entries, jwk, jws, rotation
from keys.errors import JwsRefused, KeyRefused, KeyUnavailable
from keys.keyset import TYPES, Keyset
from keys.rotation import KeyRecord, KeyState, Lifetimes
from keys.stores import StoredKey
from keys.stores.file import FileKeyStore
from tests.keys.clock import MASTER, T0, Clock

SETTINGS = KeySettings(jwks_lifetime_seconds=300)
SETTLE = 300 + 300 + 5


@pytest.fixture
def keyset(tmp_path: Path, clock: Clock) -> Keyset:
    made = Keyset(FileKeyStore(tmp_path / "keys", MASTER), SETTINGS, clock)
    made.ensure()
    clock.now += 1
    return made


def states(keyset: Keyset, purpose: Purpose) -> list[str]:
    return [str(record.state) for record in keyset.list() if record.purpose is purpose]


def published(keyset: Keyset) -> Callable[[str], Mapping[str, Any]]:
    """A verifier that fetches the JWKS now and keeps it."""
    cached = {key["kid"]: key for key in keyset.jwks()["keys"]}
    return cached.__getitem__


# --- the rules -------------------------------------------------------------------------------------------------------


def record(kid: str, state: KeyState, created_at: float = 0.0, **times: float) -> KeyRecord:
    return KeyRecord(kid, Purpose.STEP, "x", state, created_at, **times)


def test_key_retires_only_after_its_last_token_and_the_last_cached_jwks_are_gone() -> None:
    retiring = record("a", KeyState.RETIRING, retiring_at=T0)
    lifetimes = Lifetimes(jwks_seconds=300)
    assert rotation.settle([retiring], T0 + SETTLE - 1, lifetimes) == []
    assert rotation.settle([retiring], T0 + SETTLE, lifetimes) == [
        replace(retiring, state=KeyState.RETIRED, retired_at=T0 + SETTLE)
    ]


def test_the_oldest_next_key_is_the_one_that_becomes_active() -> None:
    keys = [record("new", KeyState.NEXT, 9.0), record("old", KeyState.NEXT, 1.0), record("a", KeyState.ACTIVE, 0.0)]
    changed = rotation.rotate(keys, Purpose.STEP, 1000.0, Lifetimes(jwks_seconds=300))
    assert [(r.kid, r.state) for r in changed] == [("old", KeyState.ACTIVE), ("a", KeyState.RETIRING)]


def test_rotation_without_a_next_key_is_refused() -> None:
    with pytest.raises(KeyUnavailable):
        rotation.rotate([record("a", KeyState.ACTIVE)], Purpose.STEP, 1.0, Lifetimes(jwks_seconds=1))


def test_two_active_keys_after_a_stop_in_mid_rotation_are_mended() -> None:
    keys = [record("a", KeyState.ACTIVE, activated_at=1.0), record("b", KeyState.ACTIVE, activated_at=2.0)]
    assert [(r.kid, r.state) for r in rotation.repair(keys, Purpose.STEP, 3.0)] == [("a", KeyState.RETIRING)]


def test_no_active_key_after_a_stop_in_mid_revocation_is_mended() -> None:
    keys = [record("a", KeyState.REVOKED), record("b", KeyState.NEXT)]
    assert [(r.kid, r.state) for r in rotation.repair(keys, Purpose.STEP, 3.0)] == [("b", KeyState.ACTIVE)]


@pytest.mark.parametrize("state", [KeyState.NEXT, KeyState.RETIRING, KeyState.RETIRED])
def test_any_key_can_be_revoked_and_none_twice(state: KeyState) -> None:
    [revoked] = rotation.revoke([record("a", state)], "a", 5.0)
    assert (revoked.state, revoked.revoked_at) == (KeyState.REVOKED, 5.0)
    with pytest.raises(KeyRefused) as refusal:
        rotation.revoke([revoked], "a", 6.0)
    assert refusal.value.reason is Reason.REQUEST_CONFLICT


def test_unknown_key_is_not_found() -> None:
    with pytest.raises(KeyRefused) as refusal:
        rotation.revoke([record("a", KeyState.ACTIVE)], "b", 5.0)
    assert refusal.value.reason is Reason.REQUEST_NOT_FOUND


def test_active_key_is_not_revoked_without_another_to_sign() -> None:
    with pytest.raises(KeyUnavailable):
        rotation.revoke([record("a", KeyState.ACTIVE)], "a", 5.0)


def test_revoking_the_active_key_revokes_first_and_activates_after() -> None:
    changed = rotation.revoke([record("a", KeyState.ACTIVE), record("b", KeyState.NEXT)], "a", 5.0)
    assert [(r.kid, r.state) for r in changed] == [("a", KeyState.REVOKED), ("b", KeyState.ACTIVE)]


# --- the keys in use -------------------------------------------------------------------------------------------------


def test_every_purpose_starts_with_its_own_active_and_next_key(keyset: Keyset) -> None:
    usual = [purpose for purpose in Purpose if purpose is not Purpose.CHECKPOINT_PQ]
    for purpose in usual:
        assert sorted(states(keyset, purpose)) == ["active", "next"]
    assert len({record.kid for record in keyset.list()}) == 2 * len(usual)
    assert keyset.ensure() == []


@pytest.mark.parametrize(("purpose", "typ"), [(purpose, typ) for purpose in Purpose for typ in Typ])
def test_a_key_signs_only_the_classes_of_its_purpose(keyset: Keyset, purpose: Purpose, typ: Typ) -> None:
    if typ in TYPES[purpose]:
        token = keyset.sign(purpose, typ, b"{}").encode()
        assert jws.verify(token, typ, published(keyset)).kid == keyset.active_jwk(purpose)["kid"]
    else:
        with pytest.raises(KeyUnavailable):
            keyset.sign(purpose, typ, b"{}")


@pytest.mark.parametrize("purpose", [one for one in Purpose if one is not Purpose.CHECKPOINT_PQ])
def test_a_raw_signature_cannot_be_had_from_a_key_that_signs_tokens(keyset: Keyset, purpose: Purpose) -> None:
    if TYPES[purpose]:
        with pytest.raises(KeyUnavailable):
            keyset.sign_raw(purpose, b"eyJ.e30")
    else:
        signature = keyset.sign_raw(purpose, b"note")
        jwk.public(keyset.active_jwk(purpose)).key.verify(signature, b"note")


def test_signing_without_keys_is_unavailable(tmp_path: Path) -> None:
    empty = Keyset(FileKeyStore(tmp_path / "keys", MASTER), SETTINGS)
    with pytest.raises(KeyUnavailable) as refusal:
        empty.sign(Purpose.STEP, Typ.STEP, b"{}")
    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


def test_a_verifier_with_a_jwks_from_before_the_rotation_believes_what_is_signed_after_it(
    keyset: Keyset, clock: Clock
) -> None:
    for _ in range(4):
        verifier = published(keyset)
        before = keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, b"{}").encode()
        keyset.rotate(Purpose.RECEIPT)
        after = keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, b"{}").encode()
        assert jws.peek(before).kid != jws.peek(after).kid
        for token in (before, after):
            jws.verify(token, Typ.RECEIPT, verifier)
            jws.verify(token, Typ.RECEIPT, published(keyset))
        clock.now += SETTINGS.jwks_lifetime_seconds + 5


def test_second_rotation_before_the_next_key_is_known_everywhere_is_refused(keyset: Keyset, clock: Clock) -> None:
    keyset.rotate(Purpose.RECEIPT)
    clock.now += 100
    with pytest.raises(KeyRefused) as refusal:
        keyset.rotate(Purpose.RECEIPT)
    assert refusal.value.reason is Reason.REQUEST_CONFLICT
    clock.now += float(refusal.value.facts["retry_after_seconds"])
    before = keyset.active_jwk(Purpose.RECEIPT)
    keyset.rotate(Purpose.RECEIPT)
    assert keyset.active_jwk(Purpose.RECEIPT) != before


def test_a_refused_rotation_leaves_no_key_behind(keyset: Keyset) -> None:
    keyset.rotate(Purpose.RECEIPT)
    before = keyset.list()
    with pytest.raises(KeyRefused):
        keyset.rotate(Purpose.RECEIPT)
    keyset.reload()
    assert keyset.list() == before


def test_rotation_under_concurrent_signing_refuses_no_message(keyset: Keyset, clock: Clock) -> None:
    """Signers never stop; verifiers know only a JWKS as old as they are allowed to keep."""
    stop = threading.Event()
    problems: list[BaseException] = []
    kids: set[str] = set()
    lock = threading.Lock()
    progress = threading.Semaphore(0)
    verifier = {"keys": published(keyset)}

    def work() -> None:
        try:
            while not stop.is_set():
                key_for = verifier["keys"]
                token = keyset.sign(Purpose.STEP, Typ.STEP, b'{"v":1}').encode()
                kid = jws.verify(token, Typ.STEP, key_for).kid
                with lock:
                    kids.add(kid)
                progress.release()
        except BaseException as exc:  # noqa: BLE001 - reported below
            problems.append(exc)
            progress.release()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(12):
        keyset.rotate(Purpose.STEP)
        for _ in range(20):
            progress.acquire()
        clock.now += SETTINGS.jwks_lifetime_seconds + 5
        keyset.tick()
        verifier["keys"] = published(keyset)
    stop.set()
    for worker in workers:
        worker.join()
    assert problems == []
    assert len(kids) >= 12


def test_retired_key_leaves_the_jwks_but_stays_in_the_trust_set(keyset: Keyset, clock: Clock) -> None:
    token = keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, b"{}").encode()
    kid = jws.peek(token).kid
    keyset.rotate(Purpose.RECEIPT)
    clock.now += SETTLE - 1
    assert keyset.tick() == ()
    assert kid in {key["kid"] for key in keyset.jwks()["keys"]}
    clock.now += 1
    assert [(r.kid, r.state) for r in keyset.tick()] == [(kid, KeyState.RETIRED)]
    assert kid not in {key["kid"] for key in keyset.jwks()["keys"]}
    trusted = {key["kid"]: key for key in keyset.trust_jwks()["keys"]}
    assert trusted[kid]["state"] == "retired"
    assert jws.verify(token, Typ.RECEIPT, trusted.__getitem__).payload == b"{}"


def test_revoked_active_key_signs_nothing_more_and_is_not_published(keyset: Keyset) -> None:
    kid = keyset.active_jwk(Purpose.STEP)["kid"]
    keyset.revoke(kid)
    assert keyset.active_jwk(Purpose.STEP)["kid"] != kid
    assert jws.peek(keyset.sign(Purpose.STEP, Typ.STEP, b"{}").encode()).kid != kid
    assert sorted(states(keyset, Purpose.STEP)) == ["active", "next", "revoked"]
    assert kid not in {key["kid"] for key in keyset.jwks()["keys"]}
    assert kid not in {key.kid for key in keyset.public_bytes(Purpose.STEP)}
    with pytest.raises(KeyError):
        keyset.public_jwk(Purpose.STEP, kid)


def test_active_key_is_revoked_even_where_a_crash_left_no_next_one(
    keyset: Keyset, tmp_path: Path, clock: Clock
) -> None:
    [waiting] = [r for r in keyset.list() if r.purpose is Purpose.STEP and r.state is KeyState.NEXT]
    with pytest.raises(KeyboardInterrupt):
        # create, activate, then stop: the former next key signs, and its successor is taken away by hand.
        Keyset(Crashing(FileKeyStore(tmp_path / "keys", MASTER), 2), SETTINGS, clock).rotate(Purpose.STEP)
    keyset.reload()
    for record in keyset.list():
        if record.purpose is Purpose.STEP and record.state is KeyState.NEXT:
            (tmp_path / "keys" / f"{record.kid}.json").unlink()
    keyset.revoke(waiting.kid)
    assert keyset.active_jwk(Purpose.STEP)["kid"] != waiting.kid
    keyset.ensure()
    assert sorted(states(keyset, Purpose.STEP)).count("active") == 1


def test_revoked_next_key_is_replaced(keyset: Keyset) -> None:
    [waiting] = [r for r in keyset.list() if r.purpose is Purpose.STEP and r.state is KeyState.NEXT]
    keyset.revoke(waiting.kid)
    assert sorted(states(keyset, Purpose.STEP)) == ["active", "next", "revoked"]


def test_key_of_another_purpose_is_not_given_to_a_verifier(keyset: Keyset) -> None:
    token = keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, b"{}").encode()
    with pytest.raises(JwsRefused) as refusal:
        jws.verify(token, Typ.RECEIPT, lambda kid: keyset.public_jwk(Purpose.STEP, kid))
    assert refusal.value.reason is Reason.VERIFY_UNKNOWN_KEY


def test_checkpoint_keys_are_listed_active_first(keyset: Keyset) -> None:
    keyset.rotate(Purpose.CHECKPOINT)
    listed = keyset.public_bytes(Purpose.CHECKPOINT)
    assert listed[0].raw == jwk.public(keyset.active_jwk(Purpose.CHECKPOINT)).raw
    assert sorted(str(key.state) for key in listed) == ["active", "next", "retiring"]


def test_the_gateways_own_issuer_follows_its_connector_keys(keyset: Keyset) -> None:
    first = keyset.active_jwk(Purpose.CONNECTOR)["kid"]
    keyset.rotate(Purpose.CONNECTOR)
    keyset.revoke(first)
    issuer = keyset.issuer("gateway", "default")
    assert issuer.keys[first].revoked_at is not None
    active = issuer.keys[keyset.active_jwk(Purpose.CONNECTOR)["kid"]]
    assert (active.not_after, active.revoked_at) == (None, None)


def test_a_connector_key_that_retired_in_order_is_told_from_a_revoked_one(keyset: Keyset, clock: Clock) -> None:
    first = keyset.active_jwk(Purpose.CONNECTOR)["kid"]
    keyset.rotate(Purpose.CONNECTOR)
    clock.now += 86_400
    keyset.tick()
    retired = keyset.issuer("gateway", "default").keys[first]
    assert retired.not_after is not None
    assert retired.not_after <= clock.now
    assert retired.revoked_at is None


def test_a_rotation_by_another_process_is_taken_in(keyset: Keyset, tmp_path: Path, clock: Clock) -> None:
    other = Keyset(FileKeyStore(tmp_path / "keys", MASTER), SETTINGS, clock)
    other.ensure()
    assert other.active_jwk(Purpose.STEP) == keyset.active_jwk(Purpose.STEP)
    assert keyset.reload() is False
    other.rotate(Purpose.STEP)
    assert other.active_jwk(Purpose.STEP) != keyset.active_jwk(Purpose.STEP)
    keyset.tick()
    assert other.active_jwk(Purpose.STEP) == keyset.active_jwk(Purpose.STEP)
    assert keyset.reload() is False


def test_two_processes_rotating_at_once_leave_one_active_key(tmp_path: Path, clock: Clock) -> None:
    sets = [Keyset(FileKeyStore(tmp_path / "keys", MASTER), SETTINGS, clock) for _ in range(2)]
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def run(keyset: Keyset) -> None:
        keyset.ensure()
        if barrier.wait() == 0:
            clock.now += 1
        barrier.wait()
        try:
            keyset.rotate(Purpose.STEP)
            outcomes.append("rotated")
        except KeyRefused:
            outcomes.append("refused")

    workers = [threading.Thread(target=run, args=(keyset,)) for keyset in sets]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == ["refused", "rotated"]
    for keyset in sets:
        keyset.tick()
        assert sorted(states(keyset, Purpose.STEP)) == ["active", "next", "retiring"]


class Crashing:
    """A store that stops the process before the n-th change."""

    def __init__(self, store: FileKeyStore, changes: int) -> None:
        self.store = store
        self.left = changes

    def _count(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self.store.lock():
            yield

    def version(self) -> Any:
        return self.store.version()

    def load(self) -> Sequence[StoredKey]:
        return self.store.load()

    def create(self, purpose: Purpose, now: float) -> StoredKey:
        self._count()
        return self.store.create(purpose, now)

    def update(self, record: KeyRecord) -> None:
        self._count()
        self.store.update(record)


@pytest.mark.parametrize("operation", ["rotate", "revoke"])
@pytest.mark.parametrize("changes", [0, 1, 2])
def test_crash_between_any_two_changes_is_mended_at_the_next_start(
    keyset: Keyset, tmp_path: Path, clock: Clock, operation: str, changes: int
) -> None:
    store = FileKeyStore(tmp_path / "keys", MASTER)
    active = keyset.active_jwk(Purpose.STEP)["kid"]
    crashing = Keyset(Crashing(store, changes), SETTINGS, clock)
    with pytest.raises(KeyboardInterrupt):
        crashing.rotate(Purpose.STEP) if operation == "rotate" else crashing.revoke(active)
    restarted = Keyset(store, SETTINGS, clock)
    restarted.ensure()
    found = states(restarted, Purpose.STEP)
    assert found.count("active") == 1
    assert found.count("next") >= 1
    jws.verify(restarted.sign(Purpose.STEP, Typ.STEP, b"{}").encode(), Typ.STEP, published(restarted))


def test_changes_stand_in_the_log_by_what_they_are(keyset: Keyset) -> None:
    rotated = entries.drafts(keyset.rotate(Purpose.STEP), "default", "p-1")
    assert [entry.type for entry in rotated] == [EntryType.KEY_CREATED, EntryType.KEY_ROTATED, EntryType.KEY_ROTATED]
    revoked = entries.drafts(keyset.revoke(keyset.active_jwk(Purpose.STEP)["kid"]), "default", "p-1")
    assert revoked[0].type is EntryType.KEY_REVOKED
    assert revoked[0].facts["purpose"] == "step"
