"""What a configuration of key services may say, and what it is refused for."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from gateway.keyring import services as key_services
from gateway.ports import Purpose
from gateway.settings import KeySettings, Settings
from gateway.settings.key_services import RemotePurpose
from keys.errors import KeyUnavailable
from keys.keyset import TYPES
from keys.stores.master import PREVIOUS

TRANSIT: dict[str, Any] = {"url": "https://openbao.example:8200", "credential_file": "/run/token"}
TOKEN: dict[str, Any] = {"module": "/m.so", "token": "t", "pin_file": "/pin"}


@pytest.mark.parametrize(
    "url", ["https://openbao.example:8200", "https://10.0.0.1/prefix", "http://127.0.0.1:8200", "http://[::1]:8200"]
)
def test_a_server_is_reached_by_tls_or_on_this_machine(url: str) -> None:
    KeySettings(transit={**TRANSIT, "url": url})
    KeySettings(aws_kms={"endpoint_url": url})


@pytest.mark.parametrize(
    "url",
    [
        "http://openbao.example:8200",
        "http://10.0.0.1:8200",
        "http://localhost.example:8200",
        "http://127.0.0.1.example:8200",
        "http://localhost:8200",
        "ftp://127.0.0.1",
        "https://",
        "https://token@openbao.example",
        "https://openbao.example?x=1",
        "https://openbao.example#x",
        "https://openbao.example\r\nX: y",
        "openbao.example",
    ],
)
def test_a_server_that_would_be_told_secrets_in_the_open_is_refused(url: str) -> None:
    for table in ({"transit": {**TRANSIT, "url": url}}, {"aws_kms": {"endpoint_url": url}}):
        with pytest.raises(ValidationError):
            KeySettings(**table)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"transit": {**TRANSIT, "purposes": ["step"]}}, "purposes"),
        ({"aws_kms": {"purposes": ["receipt"]}}, "purposes"),
        ({"transit": {**TRANSIT, "auth": "approle"}}, "take a role"),
        ({"transit": {**TRANSIT, "role": "r"}}, "take a role"),
        ({"transit": {**TRANSIT, "mount": "../sys"}}, "mount"),
        ({"transit": {**TRANSIT, "root_key": "a/b"}}, "root_key"),
        ({"transit": {**TRANSIT, "root_key": "handrail-root"}}, "name it otherwise"),
        ({"transit": {**TRANSIT, "root_key_previous": "handrail-root"}}, "name it otherwise"),
        ({"transit": {**TRANSIT, "root_key": "a", "root_key_previous": "a"}}, "are the same"),
        ({"transit": {**TRANSIT, "root_key": "a"}, "aws_kms": {"root_key": "b"}}, "two tables"),
        ({"transit": {**TRANSIT, "root_key_previous": "a"}, "aws_kms": {"root_key_previous": "b"}}, "before"),
        ({"transit": {**TRANSIT, "root_key_previous": "a"}, "master_key_previous_file": "/m"}, "before"),
        ({"transit": {**TRANSIT, "purposes": ["policy"]}, "aws_kms": {"purposes": ["policy"]}}, "one place"),
        ({"pkcs11": TOKEN, "aws_kms": {"purposes": ["checkpoint"]}}, "one place"),
    ],
)
def test_what_contradicts_itself_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        KeySettings(**table)


def test_a_service_holds_no_key_that_signs_for_every_step() -> None:
    every_step = {Purpose.CONNECTOR, Purpose.STEP, Purpose.RECEIPT}
    assert {Purpose(name) for name in get_args(RemotePurpose)} == set(TYPES) - every_step - {Purpose.CHECKPOINT_PQ}


def test_two_keys_from_before_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        home=tmp_path, keys={"transit": {**TRANSIT, "url": "http://127.0.0.1:1", "root_key_previous": "a"}}
    )
    monkeypatch.setenv(PREVIOUS, "11" * 32)
    with pytest.raises(KeyUnavailable, match="root_key_previous"):
        key_services.wrappers(settings)


def test_what_wraps_the_root_is_known_without_asking_it(tmp_path: Path) -> None:
    before = Settings(home=tmp_path)
    there = Settings(home=tmp_path, keys={"transit": {**TRANSIT, "root_key": "data-root"}})
    assert (key_services.has_wrapper(before), key_services.has_wrapper(there)) == (False, True)
    assert key_services.described(there) == ["Transit at https://openbao.example:8200: wraps the root by data-root"]
    assert key_services.described(Settings(home=tmp_path, keys={"aws_kms": {"purposes": ["policy"]}})) == [
        "AWS KMS: policy"
    ]
