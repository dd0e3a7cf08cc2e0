"""What the tests of the directory share beside fixtures."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, event, select

from gateway.canonical import b64url_encode
from gateway.commitments import name_subject
from gateway.errors import Refused
from gateway.reasons import Reason
from gateway.store.directory import SqlDirectory
from gateway.store.tables import principals

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


def of(directory: SqlDirectory, name: str) -> dict[str, str]:
    """Which rows are somebody's, whatever they say of them."""
    with directory._engine.connect() as connection:
        [key] = directory._reads._names.find(connection, "default", [name_subject(name)]).values()
        query = select(principals.c.pseudonym).where(principals.c.name_key == key)
        return {"pseudonym": connection.execute(query).scalar_one()}


async def refused(call: Any, reason: Reason) -> Refused:
    with pytest.raises(Refused) as refusal:
        await call
    assert refusal.value.reason is reason
    return refusal.value
