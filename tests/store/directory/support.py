"""What the tests of the directory share beside fixtures."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, event

from gateway.canonical import b64url_encode
from gateway.errors import Refused
from gateway.reasons import Reason

T0 = 1_800_000_000.0
MAC_KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


class Counter:
    """How many reads of API keys reached the database (the log reads there too, when it likes)."""

    def __init__(self, engine: Engine) -> None:
        self.statements = 0
        event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements += statement.startswith("SELECT") and "api_keys" in statement


def new_jwk() -> dict[str, str]:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(raw)}


async def refused(call: Any, reason: Reason) -> Refused:
    with pytest.raises(Refused) as refusal:
        await call
    assert refusal.value.reason is reason
    return refusal.value
