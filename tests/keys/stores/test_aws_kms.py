"""Keys in AWS KMS: what the gateway asks for, what it refuses, and outages. At a stand-in made from the SDK's model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ports import Purpose, Typ
from gateway.settings import KeySettings
from keys.errors import KeyUnavailable, SealBroken
from keys.keyset import Keyset
from keys.rotation import KeyState
from keys.stores.aws_kms.client import ATTEMPTS_MAX, Kms
from keys.stores.aws_kms.halves import MESSAGE_MAX_BYTES, KmsHalves
from keys.stores.file import FileKeyStore
from keys.stores.halves import ByPurpose
from keys.stores.master import MasterKey
from tests.dripping import dripping
from tests.keys.stores.kms_stand_in import REGION, Refusal, Service

ROOT = MasterKey(bytes(range(32)))


def store_of(url: str, directory: Path, region: str = REGION) -> FileKeyStore:
    halves = KmsHalves(Kms(region, url, 30.0))
    return FileKeyStore(directory, ROOT, ByPurpose({Purpose.CHECKPOINT: halves}, [halves]))


@pytest.fixture
def store(kms_service: Service, tmp_path: Path) -> FileKeyStore:
    return store_of(kms_service.url, tmp_path / "keys")


def create(store: FileKeyStore) -> Any:
    with store.lock():
        return store.create(Purpose.CHECKPOINT, 1.0)


def signed(store: FileKeyStore) -> bytes:
    [key] = store.load()
    assert key.sign is not None
    return key.sign(b"m")


def only(service: Service) -> Any:
    [key] = service.keys.values()
    return key


def test_a_key_is_made_there_for_signing_alone_and_says_whose_it_is(store: FileKeyStore, kms_service: Service) -> None:
    asked: dict[str, Any] = {}
    inner = kms_service.create_key
    kms_service.create_key = lambda given: asked.update(given) or inner(given)  # type: ignore[method-assign,func-returns-value]
    made = create(store)
    assert len(made.sign(b"m")) == 64
    assert asked == {
        "KeySpec": "ECC_NIST_EDWARDS25519",
        "KeyUsage": "SIGN_VERIFY",
        "Origin": "AWS_KMS",
        "MultiRegion": False,
        "Description": "handrail checkpoint",
        "Tags": [{"TagKey": "handrail", "TagValue": "checkpoint"}],
    }


def test_only_the_named_purposes_are_made_there(store: FileKeyStore, kms_service: Service) -> None:
    Keyset(store, KeySettings()).ensure()
    assert len(kms_service.keys) == 2


@pytest.mark.parametrize("state", [KeyState.REVOKED, KeyState.RETIRED])
def test_a_key_that_is_done_signs_no_more_even_where_its_deletion_is_cancelled(
    store: FileKeyStore, kms_service: Service, state: KeyState
) -> None:
    made = create(store)
    with store.lock():
        store.update(replace(made.record, state=state))
    assert kms_service.alive() == []
    with pytest.raises(KeyUnavailable, match="KMSInvalidStateException"):
        made.sign(b"m")
    only(kms_service).metadata.update(KeyState="Enabled", Enabled=True)
    [key] = store.load()
    assert key.sign is None


def test_a_key_that_is_gone_counts_as_destroyed_and_in_another_region_it_does_not(
    store: FileKeyStore, kms_service: Service, tmp_path: Path
) -> None:
    made = create(store)
    kept = dict(kms_service.keys)
    elsewhere = store_of(kms_service.url, tmp_path / "keys", "us-east-1")
    kms_service.keys.clear()
    with pytest.raises(KeyUnavailable, match="another region"):
        signed(elsewhere)
    with elsewhere.lock():
        elsewhere.update(replace(made.record, state=KeyState.REVOKED))
    kms_service.keys.update(kept)
    assert len(kms_service.alive()) == 1
    with store.lock():  # where it is, what was begun is completed
        pass
    assert kms_service.alive() == []


# --- outages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ThrottlingException", "KMSInternalException", "DependencyTimeoutException"])
def test_a_signature_is_not_tried_again_because_entries_wait_for_it(
    store: FileKeyStore, kms_service: Service, code: str
) -> None:
    made = create(store)
    kms_service.calls.clear()
    kms_service.failures = [Refusal(code, 500 if code == "KMSInternalException" else 400)]
    with pytest.raises(KeyUnavailable, match=code):
        made.sign(b"m")
    assert kms_service.calls == ["Sign"]
    assert len(made.sign(b"m")) == 64


def test_other_calls_are_tried_again_and_not_for_ever(store: FileKeyStore, kms_service: Service) -> None:
    create(store)
    kms_service.calls.clear()
    kms_service.failures = [Refusal("ThrottlingException")] * (ATTEMPTS_MAX - 1)
    assert len(signed(store)) == 64
    kms_service.calls.clear()
    kms_service.failures = [Refusal("ThrottlingException")] * 20
    store.load()
    assert kms_service.calls == ["DescribeKey"] * ATTEMPTS_MAX


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "UnrecognizedClientException"])
def test_credentials_that_are_refused_are_an_outage_and_no_broken_seal(
    store: FileKeyStore, kms_service: Service, code: str
) -> None:
    made = create(store)
    kms_service.failures = [Refusal(code)]
    [key] = store.load()
    assert key.record == made.record
    assert key.sign is not None
    assert key.sign(b"m") == made.sign(b"m")


def test_no_credentials_are_an_outage(kms_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(KeyUnavailable, match="NoCredentialsError"):
        create(store_of(kms_service.url, tmp_path / "keys"))
    assert kms_service.calls == []


def test_no_region_is_named(credentials: None) -> None:
    with pytest.raises(KeyUnavailable, match="region"):
        Kms(None, None, 1.0)


def test_after_a_service_that_is_out_of_reach_nobody_waits_for_it(
    kms_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(store_of(kms_service.url, tmp_path / "keys"))
    away = store_of("http://127.0.0.1:1", tmp_path / "keys")
    with pytest.raises(KeyUnavailable, match="EndpointConnectionError"):
        signed(away)
    with pytest.raises(KeyUnavailable, match="not asked again"):
        signed(away)
    assert len(made.sign(b"m")) == 64


def test_a_revocation_is_in_force_during_an_outage(store: FileKeyStore, kms_service: Service) -> None:
    keyset = Keyset(store, KeySettings())
    keyset.ensure()
    bad = str(keyset.active_jwk(Purpose.CHECKPOINT)["kid"])
    kms_service.failures = [Refusal("AccessDeniedException")] * 50
    assert keyset.revoke(bad)
    assert bad not in {key["kid"] for key in keyset.jwks()["keys"]}
    assert keyset.sign(Purpose.STEP, Typ.STEP, b"{}")
    assert len(kms_service.alive()) == 2
    kms_service.failures = []
    with store.lock():
        pass
    assert len(kms_service.alive()) == 1
    assert len(keyset.sign_raw(Purpose.CHECKPOINT, b"m")) == 64


# --- what is not the key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"KeySpec": "ECC_NIST_P256"}, "not an Ed25519 key"),
        ({"KeyUsage": "KEY_AGREEMENT"}, "not an Ed25519 key"),
        ({"Origin": "EXTERNAL"}, "came from elsewhere"),
        ({"Origin": "EXTERNAL_KEY_STORE"}, "came from elsewhere"),
        ({"MultiRegion": True}, "several regions"),
    ],
)
def test_a_key_that_is_not_as_it_was_made_is_refused(
    store: FileKeyStore, kms_service: Service, changed: dict[str, Any], said: str
) -> None:
    create(store)
    only(kms_service).metadata.update(changed)
    with pytest.raises(SealBroken, match=said):
        store.load()


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion", "Unavailable"])
def test_a_key_that_is_switched_off_is_unavailable_until_it_is_on(
    store: FileKeyStore, kms_service: Service, state: str
) -> None:
    made = create(store)
    only(kms_service).metadata.update(KeyState=state)
    with pytest.raises(KeyUnavailable) as refusal:
        signed(store)
    assert not isinstance(refusal.value, SealBroken)
    only(kms_service).metadata.update(KeyState="Enabled")
    assert signed(store) == made.sign(b"m")


@pytest.mark.parametrize(
    "other", [Ed25519PrivateKey.generate, lambda: generate_private_key(SECP256R1())], ids=["ed25519", "p256"]
)
def test_another_key_under_the_same_arn_is_found(
    store: FileKeyStore, kms_service: Service, other: Callable[[], Any]
) -> None:
    create(store)
    only(kms_service).private = other()
    with pytest.raises(SealBroken):
        store.load()


def test_a_signature_by_another_key_does_not_leave(store: FileKeyStore, kms_service: Service) -> None:
    made = create(store)
    only(kms_service).private = Ed25519PrivateKey.generate()
    with pytest.raises(KeyUnavailable, match="not this key's"):
        made.sign(b"m")


def test_a_message_that_kms_does_not_take_is_not_sent(store: FileKeyStore, kms_service: Service) -> None:
    made = create(store)
    assert len(made.sign(bytes(MESSAGE_MAX_BYTES))) == 64
    kms_service.calls.clear()
    with pytest.raises(KeyUnavailable, match="4096"):
        made.sign(bytes(MESSAGE_MAX_BYTES + 1))
    assert kms_service.calls == []


def test_a_key_that_is_made_otherwise_than_asked_is_destroyed_and_refused(
    store: FileKeyStore, kms_service: Service
) -> None:
    def imported(operation: str, answer: dict[str, Any]) -> None:
        if operation == "DescribeKey":
            answer["KeyMetadata"] = {**answer["KeyMetadata"], "Origin": "EXTERNAL"}

    kms_service.answered = imported
    with pytest.raises(KeyUnavailable, match="came from elsewhere"):
        create(store)
    assert kms_service.alive() == []
    assert store.load() == []


def test_a_new_key_that_is_not_known_everywhere_yet_is_waited_for(
    store: FileKeyStore, kms_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.stores.aws_kms.halves._BETWEEN_SECONDS", 0.0)
    inner = kms_service.create_key

    def made(asked: dict[str, Any]) -> dict[str, Any]:
        kms_service.failures = [Refusal("NotFoundException")] * 2
        return inner(asked)

    kms_service.create_key = made  # type: ignore[method-assign]
    assert len(create(store).sign(b"m")) == 64


def test_no_credential_is_in_a_repr_or_an_error(store: FileKeyStore, kms_service: Service) -> None:
    made = create(store)
    kms_service.failures = [Refusal("AccessDeniedException")]
    with pytest.raises(KeyUnavailable) as refusal:
        made.sign(b"m")
    for secret in ("AKIDEXAMPLE", "AWS4"):
        assert secret not in refusal.value.detail + repr(made)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("once", [True, False])
def test_a_service_that_sends_a_byte_now_and_then_has_one_deadline(once: bool) -> None:
    """Each read is in time, and the SDK bounds nothing else."""
    with dripping() as url:
        kms = Kms(REGION, url, 0.2)
        with pytest.raises(KeyUnavailable, match="describe_key: no whole answer in"):
            kms.call("describe_key", once=once, KeyId="k")
        with pytest.raises(KeyUnavailable, match="not asked again for"):
            kms.call("describe_key", once=once, KeyId="k")
