"""What a token adds to the contract: keys that cannot leave it, resets, wrong PINs, and tokens that do as they like."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from gateway.ports import Purpose, Typ
from gateway.settings import KeySettings
from gateway.settings.key_services import KeyPurpose
from keys.errors import KeyUnavailable, SealBroken
from keys.keyset import Keyset
from keys.rotation import KeyState
from keys.stores.file import FileKeyStore
from keys.stores.halves import ByPurpose
from keys.stores.master import MasterKey
from keys.stores.pkcs11 import Token, _point
from tests.keys.stores.softhsm import SoftToken

ROOT = MasterKey(bytes(range(32)))
EDWARDS = b"\x13\x0cedwards25519"


@pytest.fixture
def token(soft_token: SoftToken) -> Iterator[Token]:
    token = Token(soft_token.module, soft_token.label, soft_token.pin)
    yield token
    token.close()


@pytest.fixture
def store(token: Token, tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys", ROOT, ByPurpose({Purpose.CHECKPOINT: token}, [token]))


def keys_in(soft: SoftToken, act: Callable[[Any], Any]) -> Any:
    """What ``act`` gives of a session beside the gateway's."""
    library = pkcs11.lib(str(soft.module))
    library.reinitialize()
    with library.get_token(token_label=soft.label).open(rw=True, user_pin=soft.pin) as session:
        return act(session)


def private_keys(session: Any) -> list[Any]:
    return list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))


def generate(id_: bytes, curve: str = "edwards", **template: bool) -> Callable[[Any], Any]:
    def act(session: Any) -> None:
        chosen = {Attribute[name]: value for name, value in template.items()}
        if curve == "edwards":
            kind, parameters, mechanism = KeyType.EC_EDWARDS, EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        else:
            kind, parameters, mechanism = KeyType.EC, encode_named_curve_parameters(curve), Mechanism.EC_KEY_PAIR_GEN
        domain = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: parameters}, local=True)
        domain.generate_keypair(mechanism=mechanism, store=True, id=id_, private_template=chosen)

    return act


def removed(id_: bytes) -> Callable[[Any], Any]:
    def act(session: Any) -> None:
        for found in list(session.get_objects({Attribute.ID: id_})):
            found.destroy()

    return act


def create(store: FileKeyStore, purpose: Purpose = Purpose.CHECKPOINT) -> Any:
    with store.lock():
        return store.create(purpose, 1.0)


def id_of(store: FileKeyStore, kid: str) -> bytes:
    _, kept = store._unseal(kid, store._medium.read(kid))
    assert kept is not None
    return bytes.fromhex(kept[1])


def test_the_private_half_cannot_leave_the_token(store: FileKeyStore, soft_token: SoftToken) -> None:
    create(store)

    def look(session: Any) -> None:
        [key] = private_keys(session)
        assert not key[Attribute.EXTRACTABLE]
        assert key[Attribute.NEVER_EXTRACTABLE]
        assert key[Attribute.SENSITIVE]
        assert key[Attribute.ALWAYS_SENSITIVE]
        assert key[Attribute.LOCAL]
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            key[Attribute.VALUE]
        for name, value in ((Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False)):
            with pytest.raises(pkcs11.exceptions.AttributeReadOnly):
                key[name] = value

    keys_in(soft_token, look)


def test_only_the_named_purposes_are_made_in_the_token(store: FileKeyStore, soft_token: SoftToken) -> None:
    Keyset(store, KeySettings()).ensure()
    assert len(keys_in(soft_token, private_keys)) == 2  # the log's active key and its next one


def test_a_revoked_key_is_gone_from_the_token_too(store: FileKeyStore, soft_token: SoftToken) -> None:
    made = create(store)
    with store.lock():
        store.update(replace(made.record, state=KeyState.REVOKED))
    assert keys_in(soft_token, private_keys) == []
    with pytest.raises(KeyUnavailable):
        made.sign(b"m")


def test_a_token_that_is_reset_is_opened_again(store: FileKeyStore, soft_token: SoftToken) -> None:
    made = create(store)
    keys_in(soft_token, lambda session: None)  # logs everybody in this process out, as a reset does
    assert len(made.sign(b"m")) == 64


def test_a_token_that_is_out_is_unavailable_and_its_keys_are_not_taken_for_destroyed(
    store: FileKeyStore, soft_token: SoftToken
) -> None:
    made = create(store)
    soft_token.unplug()
    done = replace(made.record, state=KeyState.REVOKED)
    for act in (lambda: made.sign(b"m"), lambda: _first_signs(store), lambda: create(store)):
        with pytest.raises(KeyUnavailable) as refusal:
            act()
        assert not isinstance(refusal.value, SealBroken)
    _update(store, done)
    soft_token.plug_in()
    with store.lock():  # whoever takes the lock next completes what was begun
        pass
    [key] = store.load()
    assert (key.record, key.sign) == (done, None)
    assert keys_in(soft_token, private_keys) == []


def test_a_revocation_is_in_force_while_the_token_is_out(store: FileKeyStore, soft_token: SoftToken) -> None:
    """The key's own, and those of keys that lie elsewhere; also for a gateway that only hears of it."""
    keyset, other = Keyset(store, KeySettings()), Keyset(store, KeySettings())
    keyset.ensure()
    other.ensure()
    in_token, elsewhere = (str(keyset.active_jwk(one)["kid"]) for one in (Purpose.CHECKPOINT, Purpose.STEP))
    soft_token.unplug()
    for kid in (elsewhere, in_token):
        assert keyset.revoke(kid)
        other.reload()
        for known in (keyset, other):
            assert kid not in {key["kid"] for key in known.jwks()["keys"]}
            assert known._state.records[kid].state is KeyState.REVOKED
    assert other.sign(Purpose.STEP, Typ.STEP, b"{}")
    with pytest.raises(KeyUnavailable):
        other.sign_raw(Purpose.CHECKPOINT, b"m")
    soft_token.plug_in()
    with store.lock():
        pass
    assert len(other.sign_raw(Purpose.CHECKPOINT, b"m")) == 64
    assert len(keys_in(soft_token, private_keys)) == 1


def _first_signs(store: FileKeyStore) -> bytes:
    sign = store.load()[0].sign
    assert sign is not None
    return sign(b"m")


def _update(store: FileKeyStore, record: Any) -> None:
    with store.lock():
        store.update(record)


def test_a_refused_pin_is_not_tried_again_because_that_locks_a_token(soft_token: SoftToken, tmp_path: Path) -> None:
    token = Token(soft_token.module, soft_token.label, "wrong")
    store = FileKeyStore(tmp_path / "keys", ROOT, ByPurpose({Purpose.STEP: token}, [token]))
    for _ in range(20):
        with pytest.raises(KeyUnavailable, match="PIN"):
            create(store, Purpose.STEP)
    assert keys_in(soft_token, private_keys) == []  # the right PIN still opens it


def test_another_key_under_the_same_id_is_found(store: FileKeyStore, soft_token: SoftToken) -> None:
    id_ = id_of(store, create(store).record.kid)
    keys_in(soft_token, removed(id_))
    keys_in(soft_token, generate(id_, SENSITIVE=True, EXTRACTABLE=False))
    with pytest.raises(SealBroken, match="halves do not match"):
        store.load()


def test_two_keys_under_one_id_are_refused(store: FileKeyStore, soft_token: SoftToken) -> None:
    id_ = id_of(store, create(store).record.kid)
    keys_in(soft_token, generate(id_, SENSITIVE=True, EXTRACTABLE=False))
    with pytest.raises(SealBroken, match="two keys"):
        store.load()


def test_a_p256_key_is_refused_because_no_message_of_the_gateway_is_signed_by_one(
    store: FileKeyStore, soft_token: SoftToken
) -> None:
    id_ = id_of(store, create(store).record.kid)
    keys_in(soft_token, removed(id_))
    keys_in(soft_token, generate(id_, "secp256r1", SENSITIVE=True, EXTRACTABLE=False))
    with pytest.raises(SealBroken, match="not an Ed25519 key"):
        store.load()


def test_a_key_that_can_leave_the_token_is_refused(store: FileKeyStore, soft_token: SoftToken) -> None:
    id_ = id_of(store, create(store).record.kid)
    keys_in(soft_token, removed(id_))
    keys_in(soft_token, generate(id_, SENSITIVE=False, EXTRACTABLE=True))
    with pytest.raises(SealBroken, match="can leave"):
        store.load()


def test_a_key_that_went_missing_is_unavailable(store: FileKeyStore, soft_token: SoftToken) -> None:
    keys_in(soft_token, removed(id_of(store, create(store).record.kid)))
    with pytest.raises(KeyUnavailable):
        _first_signs(store)


def test_a_gateway_that_was_not_told_of_the_token_says_so(store: FileKeyStore, tmp_path: Path) -> None:
    create(store)
    with pytest.raises(SealBroken, match="pkcs11"):
        FileKeyStore(tmp_path / "keys", ROOT).load()


@pytest.mark.parametrize(("module", "label"), [("/nonexistent.so", None), (None, "another")])
def test_a_token_that_is_not_there_is_named(soft_token: SoftToken, module: str | None, label: str | None) -> None:
    token = Token(Path(module) if module else soft_token.module, label or soft_token.label, soft_token.pin)
    with pytest.raises(KeyUnavailable, match=label or soft_token.label):
        token.make(Purpose.STEP)


def test_the_pin_is_in_no_repr_and_no_error(soft_token: SoftToken) -> None:
    token = Token(soft_token.module, "another", "31415926")
    with pytest.raises(KeyUnavailable) as refusal:
        token.make(Purpose.STEP)
    assert "31415926" not in repr(token) + refusal.value.detail


@pytest.mark.parametrize("point", [b"", bytes(31), bytes(33), b"\x04\x21" + bytes(33), b"\x05\x20" + bytes(32)])
def test_what_is_no_point_is_refused(point: bytes) -> None:
    with pytest.raises(ValueError, match="point"):
        _point(point)


def test_the_settings_name_every_purpose() -> None:
    assert set(get_args(KeyPurpose)) == {str(purpose) for purpose in Purpose} - {"checkpoint-pq"}
