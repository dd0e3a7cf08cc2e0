"""The data root under a key of AWS KMS, at moto's server: the SDK's own client, and real AES-GCM with the context."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from keys.errors import KeyUnavailable, SealBroken
from keys.stores.aws_kms.client import Kms
from keys.stores.aws_kms.wrapping import KmsWrapper
from keys.stores.master import MasterKey
from keys.stores.root import make_root, open_root, rewrap
from keys.stores.wrapping import Wrappers
from tests.keys.stores.kms_stand_in import REGION, Refusal, Service

MASTER = MasterKey(bytes(range(32)))


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(moto: str, credentials: None) -> Any:
    """The operator's."""
    return boto3.session.Session(region_name=REGION).client("kms", endpoint_url=moto)


def symmetric(client: Any) -> str:
    """A new key; moto leaves out what AWS takes for granted."""
    made = client.create_key(KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT")
    return str(made["KeyMetadata"]["Arn"])


@pytest.fixture
def key(client: Any) -> str:
    return symmetric(client)


def wrapper(url: str, key: str) -> KmsWrapper:
    return KmsWrapper(Kms(REGION, url, 30.0), key)


def test_a_root_goes_to_kms_and_back_and_is_the_same(moto: str, key: str, tmp_path: Path) -> None:
    file, kms = tmp_path / "root.key", wrapper(moto, key)
    before = make_root(file, MASTER)
    assert rewrap(file, Wrappers(kms, MASTER)) is not None
    assert json.loads(file.read_text())["by"] == "aws-kms"
    assert before._secret not in file.read_bytes()
    with pytest.raises(SealBroken):
        open_root(file, Wrappers(MASTER))
    assert open_root(file, Wrappers(wrapper(moto, key))).derive("x") == before.derive("x")
    assert rewrap(file, Wrappers(kms, MASTER)) is None
    assert rewrap(file, Wrappers(MASTER, kms)) is not None
    assert open_root(file, Wrappers(MASTER)).derive("x") == before.derive("x")


def test_what_another_key_of_the_account_wrapped_is_not_opened(
    moto: str, client: Any, key: str, tmp_path: Path
) -> None:
    """KMS would, if it were not told which key: its ciphertexts name theirs."""
    other = symmetric(client)
    make_root(tmp_path / "root.key", wrapper(moto, other))
    client.create_alias(AliasName="alias/root", TargetKeyId=key)
    try:
        for name in (key, "alias/root"):
            with pytest.raises((SealBroken, KeyUnavailable)):
                open_root(tmp_path / "root.key", Wrappers(wrapper(moto, name)))
    finally:
        client.delete_alias(AliasName="alias/root")


@pytest.mark.parametrize("code", ["IncorrectKeyException", "InvalidCiphertextException"])
def test_what_the_key_does_not_open_is_told_from_an_outage(kms_service: Service, code: str) -> None:
    """So that the key from before is tried next. For another key moto says ``AccessDeniedException`` in their place."""
    kms_service.failures = [Refusal(code)]
    with pytest.raises(SealBroken, match=code):
        wrapper(kms_service.url, "key").unwrap("AAAA", {})
    kms_service.failures = [Refusal("AccessDeniedException")]
    with pytest.raises(KeyUnavailable) as refusal:
        wrapper(kms_service.url, "key").unwrap("AAAA", {})
    assert not isinstance(refusal.value, SealBroken)


@pytest.mark.parametrize("member", ["id", "generation"])
def test_a_wrapping_is_bound_to_the_name_and_number_of_the_root(
    moto: str, key: str, tmp_path: Path, member: str
) -> None:
    file = tmp_path / "root.key"
    make_root(file, wrapper(moto, key))
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, member: {"id": "0" * 16, "generation": 2}[member]}))
    with pytest.raises(SealBroken, match="does not open it"):
        open_root(file, Wrappers(wrapper(moto, key)))


def test_a_key_that_is_switched_off_wraps_and_opens_nothing(moto: str, client: Any, key: str, tmp_path: Path) -> None:
    file = tmp_path / "root.key"
    make_root(file, wrapper(moto, key))
    id_ = key.rpartition("/")[2]  # moto knows no ARN here
    client.disable_key(KeyId=id_)
    with pytest.raises(KeyUnavailable):
        make_root(tmp_path / "other.key", wrapper(moto, key))
    client.enable_key(KeyId=id_)
    open_root(file, Wrappers(wrapper(moto, key)))


@pytest.mark.parametrize(
    "spec",
    [
        {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
    ],
)
def test_a_key_that_authenticates_no_context_is_refused(
    moto: str, client: Any, tmp_path: Path, spec: dict[str, str]
) -> None:
    key = str(client.create_key(**spec)["KeyMetadata"]["Arn"])
    with pytest.raises(KeyUnavailable, match="has to be symmetric"):
        make_root(tmp_path / "root.key", wrapper(moto, key))
    assert not (tmp_path / "root.key").exists()


def test_a_key_that_is_not_there_is_named(moto: str, credentials: None, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="NotFoundException"):
        make_root(tmp_path / "root.key", wrapper(moto, "alias/none"))


@pytest.mark.parametrize("wrapped", ["", "!", "AAAA=", "\u00e9"])
def test_what_kms_never_wrote_is_not_sent_there(kms_service: Service, wrapped: str) -> None:
    with pytest.raises(SealBroken, match="unreadable"):
        wrapper(kms_service.url, "key").unwrap(wrapped, {})
    assert kms_service.calls == []


def test_an_outage_is_no_broken_seal(kms_service: Service) -> None:
    kms_service.failures = [Refusal("KMSInternalException", 500)] * 20
    with pytest.raises(KeyUnavailable) as refusal:
        wrapper(kms_service.url, "key").unwrap("AAAA", {})
    assert not isinstance(refusal.value, SealBroken)
