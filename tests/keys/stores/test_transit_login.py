"""Logins to Transit, at the real server's own AppRole and JWT methods."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from keys.errors import KeyUnavailable
from keys.stores.transit.api import Transit
from keys.stores.transit.http import Answer, Http
from keys.stores.transit.login import AGE_MIN_SECONDS, Exchange, _issued, read_credential
from tests.keys.stores.openbao import Engine

PATIENT_SECONDS = 30.0


class Logged:
    """A caller that logs in, on a clock that the test moves."""

    def __init__(self, engine: Engine, path: str, body: Callable[[], Mapping[str, str]]) -> None:
        self.now, self.logins = 1000.0, 0

        def counted() -> Mapping[str, str]:
            self.logins += 1
            return body()

        http = Http(engine.bao.url, engine.bao.ca_file, PATIENT_SECONDS)
        self.login = Exchange(http, path, {}, counted, lambda: self.now)
        self.transit = Transit(http, self.login)
        self._engine = engine

    def use(self) -> Any:
        """Something that its policy allows."""
        return self.transit.read(f"{self._engine.mount}/keys/data-root")

    def expire(self) -> None:
        """End its token, as the server does when its time is over."""
        self._engine.bao.call("POST", "auth/token/revoke", {"token": self.login.token()})


@pytest.fixture
def approle(engine: Engine, tmp_path: Path) -> Logged:
    bao, mount = engine.bao, f"approle-{engine.mount}"
    bao.call("POST", f"sys/auth/{mount}", {"type": "approle"})
    bao.call("POST", f"auth/{mount}/role/gateway", {"token_policies": [engine.policy()], "token_ttl": "1h"})
    role = bao.call("GET", f"auth/{mount}/role/gateway/role-id")["data"]["role_id"]
    secret = bao.call("POST", f"auth/{mount}/role/gateway/secret-id", {})["data"]["secret_id"]
    file = tmp_path / "secret-id"
    file.write_text(secret)
    return Logged(engine, f"/v1/auth/{mount}/login", lambda: {"role_id": role, "secret_id": read_credential(file)})


def test_an_approle_logs_in_once_and_again_before_its_token_ends(approle: Logged) -> None:
    for _ in range(3):
        assert approle.use() is not None
    assert approle.logins == 1
    approle.now += 2400.0  # two thirds of the hour
    assert approle.use() is not None
    assert approle.logins == 2


def test_a_token_that_the_server_ended_early_is_replaced(approle: Logged) -> None:
    assert approle.use() is not None
    approle.expire()
    approle.now += AGE_MIN_SECONDS
    assert approle.use() is not None
    assert approle.logins == 2


def test_a_right_that_is_missing_makes_no_storm_of_logins(approle: Logged) -> None:
    """Each login is a lease that the server has to keep."""
    for _ in range(5):
        with pytest.raises(KeyUnavailable, match="403"):
            approle.transit.read("sys/policies/acl/root")
    assert approle.logins == 1
    approle.now += AGE_MIN_SECONDS
    for _ in range(5):
        with pytest.raises(KeyUnavailable, match="403"):
            approle.transit.read("sys/policies/acl/root")
    assert approle.logins == 2


def test_a_credential_that_is_refused_is_unavailable(engine: Engine, approle: Logged) -> None:
    wrong = Logged(engine, approle.login._path, lambda: {"role_id": "x", "secret_id": "the secret"})
    with pytest.raises(KeyUnavailable, match="login was refused") as refusal:
        wrong.use()
    assert "the secret" not in refusal.value.detail


def test_a_jwt_logs_in_as_it_is_in_the_file_now(engine: Engine, tmp_path: Path) -> None:
    """The method of Kubernetes takes the same request; its tokens are written anew by the kubelet."""
    bao, mount, private = engine.bao, f"jwt-{engine.mount}", generate_private_key(SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bao.call("POST", f"sys/auth/{mount}", {"type": "jwt"})
    bao.call("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [pem], "jwt_supported_algs": ["ES256"]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["bao"], "token_policies": [engine.policy()]}
    bao.call("POST", f"auth/{mount}/role/gateway", role)
    file = tmp_path / "jwt"

    def written(expires_in_seconds: int) -> None:
        now = int(time.time())
        claims = {"sub": "gateway", "aud": "bao", "iat": now - 7200, "exp": now + expires_in_seconds}
        key = ECKey.import_key(private)
        file.write_text(jwt.encode({"alg": "ES256"}, claims, key))

    logged = Logged(engine, f"/v1/auth/{mount}/login", lambda: {"role": "gateway", "jwt": read_credential(file)})
    written(-3600)
    with pytest.raises(KeyUnavailable, match="login was refused"):
        logged.use()
    written(600)
    assert logged.use() is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"auth":null}',
        b'{"auth":{"client_token":"t"}}',
        b'{"auth":{"client_token":1,"lease_duration":1}}',
        b'{"auth":{"client_token":"t\\r\\nX: y","lease_duration":1}}',
        b'{"auth":{"client_token":"t","lease_duration":true}}',
    ],
)
def test_an_answer_without_a_token_is_no_login(body: bytes) -> None:
    with pytest.raises(KeyUnavailable, match="no token"):
        _issued(Answer(200, body), 0.0, "there")
