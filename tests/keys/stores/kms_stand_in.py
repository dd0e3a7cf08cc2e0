"""A stand-in for AWS KMS, which no registry has: keys that sign, over HTTP, for the SDK's own client.

Requests and answers are held against the SDK's model of the service (names, types, required members, enumerations), so
what the model says of the API holds here. What AWS does beyond the model (its policies, its quotas, how fast a new key
is known everywhere) is not here. Wrapping is tried at moto, which signs by no Ed25519 key.
"""

import base64
import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
import pytest
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

REGION = "eu-central-1"
_MODEL = botocore.session.get_session().get_service_model("kms")
_MESSAGE_MAX_BYTES = 4096


class Refusal(Exception):
    """An error of the service."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.status = code, status


@dataclass
class Key:
    """A key as the service has it; ``metadata`` are members of ``KeyMetadata``."""

    private: Any
    metadata: dict[str, Any]

    @property
    def public(self) -> bytes:
        return bytes(self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass
class Service:
    """The service, and what somebody does to it.

    Attributes:
        failures: errors that the next calls get.
        answered: has the last word on an answer: operation, answer -> None.
        calls: every operation that was asked for.
    """

    url: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    failures: list[Refusal] = field(default_factory=list)
    answered: Callable[[str, dict[str, Any]], None] = lambda _operation, _answer: None
    calls: list[str] = field(default_factory=list)

    def alive(self) -> list[Key]:
        """Keys that are not on their way to be deleted."""
        return [key for key in self.keys.values() if key.metadata["KeyState"] != "PendingDeletion"]

    # --- operations --------------------------------------------------------------------------------------------------

    def create_key(self, asked: dict[str, Any]) -> dict[str, Any]:
        private: Any
        if asked["KeySpec"] == "ECC_NIST_EDWARDS25519":
            private = Ed25519PrivateKey.generate()
        elif asked["KeySpec"] == "ECC_NIST_P256":
            private = generate_private_key(SECP256R1())
        else:
            raise Refusal("UnsupportedOperationException")
        id_ = str(uuid.uuid4())
        metadata = {
            "KeyId": id_,
            "Arn": f"arn:aws:kms:{REGION}:111122223333:key/{id_}",
            "CreationDate": dt.datetime.now(dt.UTC).timestamp(),
            "Enabled": True,
            "KeyState": "Enabled",
            "KeyManager": "CUSTOMER",
            **{name: asked[name] for name in ("Description", "KeyUsage", "KeySpec", "Origin", "MultiRegion")},
        }
        self.keys[metadata["Arn"]] = Key(private, metadata)
        return {"KeyMetadata": metadata}

    def describe_key(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"KeyMetadata": self._key(asked).metadata}

    def get_public_key(self, asked: dict[str, Any]) -> dict[str, Any]:
        key = self._usable(asked)
        return {"KeyId": key.metadata["Arn"], "PublicKey": key.public, "KeySpec": key.metadata["KeySpec"],
                "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ED25519_SHA_512", "ED25519_PH_SHA_512"]}  # fmt: skip

    def sign(self, asked: dict[str, Any]) -> dict[str, Any]:
        key = self._usable(asked)
        if (asked.get("MessageType"), asked["SigningAlgorithm"]) != ("RAW", "ED25519_SHA_512"):
            raise Refusal("InvalidKeyUsageException")
        if len(asked["Message"]) > _MESSAGE_MAX_BYTES:
            raise Refusal("ValidationException")
        return {"KeyId": key.metadata["Arn"], "Signature": key.private.sign(asked["Message"]),
                "SigningAlgorithm": "ED25519_SHA_512"}  # fmt: skip

    def schedule_key_deletion(self, asked: dict[str, Any]) -> dict[str, Any]:
        key = self._key(asked)
        if key.metadata["KeyState"] == "PendingDeletion":
            raise Refusal("KMSInvalidStateException")
        if not 7 <= asked["PendingWindowInDays"] <= 30:
            raise Refusal("ValidationException")
        key.metadata.update(KeyState="PendingDeletion", Enabled=False)
        return {"KeyId": key.metadata["Arn"], "KeyState": "PendingDeletion", "PendingWindowInDays": 7}

    def _key(self, asked: dict[str, Any]) -> Key:
        found = self.keys.get(asked["KeyId"])
        if found is None:
            raise Refusal("NotFoundException")
        return found

    def _usable(self, asked: dict[str, Any]) -> Key:
        key = self._key(asked)
        if key.metadata["KeyState"] == "Disabled":
            raise Refusal("DisabledException")
        if key.metadata["KeyState"] != "Enabled":
            raise Refusal("KMSInvalidStateException")
        return key

    # --- the protocol ------------------------------------------------------------------------------------------------

    def answer(self, target: str, content: bytes) -> dict[str, Any]:
        """The answer to a request of the protocol ``json`` 1.1. Raises :class:`Refusal`."""
        name = target.removeprefix(f"{_MODEL.metadata['targetPrefix']}.")
        operation: OperationModel = _MODEL.operation_model(name)
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)
        asked = _bytes(json.loads(content), operation.input_shape)
        _check(asked, operation.input_shape)
        act = {
            "CreateKey": self.create_key,
            "DescribeKey": self.describe_key,
            "GetPublicKey": self.get_public_key,
            "Sign": self.sign,
            "ScheduleKeyDeletion": self.schedule_key_deletion,
        }[name]
        made = dict(act(asked))
        self.answered(name, made)
        _check(made, operation.output_shape)
        return dict(_text(made))


def _check(value: Any, shape: Shape) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()
    for name, inner in value.items():
        allowed = getattr(shape.members[name], "enum", None)
        assert not allowed or inner in allowed, f"{name}: {inner}"


def _bytes(value: Any, shape: Any) -> Any:
    if shape.type_name == "blob":
        return base64.b64decode(value)
    if shape.type_name == "structure":
        return {name: _bytes(inner, shape.members[name]) for name, inner in value.items()}
    return value


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return {name: _text(inner) for name, inner in value.items()} if isinstance(value, dict) else value


@contextmanager
def serving() -> Iterator[Service]:
    """The service on a loopback address."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body go in two pieces: the second would wait for 40 ms

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 "), "not signed by the SDK"
                status, answer = 200, service.answer(self.headers["X-Amz-Target"], content)
            except Refusal as exc:
                status, answer = exc.status, {"__type": exc.code, "message": "as the test wants"}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK's chain finds; nothing of this machine's."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
                        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
                        "AWS_EC2_METADATA_DISABLED": "true"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.fixture
def kms_service(credentials: None) -> Iterator[Service]:
    """A service without keys."""
    with serving() as service:
        yield service
