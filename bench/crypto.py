"""What signing, verifying and minting cost, ours and joserfc's side by side: ``python -m bench.crypto [--json]``.

Microseconds of one call, the best of several rounds, on one thread. The payload is a one-step plan of about 500 bytes.
"""

import asyncio
import json
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

import orjson
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws as joserfc_jws
from joserfc.jwk import OKPKey

from audit.epochs import EpochKeys
from audit.names import Names
from audit.tables import metadata as audit_metadata
from gateway.model import Binding
from gateway.ports import Append, Purpose, Typ
from gateway.store.directory import NewPrincipal, SqlDirectory
from gateway.store.tables import metadata
from keys import credentials, jwk, jws

NUMBER = 400
ROUNDS = 7


class OneKey:
    """A signer with one key, so that files and rotation stay out of the figures."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.public = jwk.from_raw(self.private.public_key().public_bytes_raw())
        self.headers = {typ: jws.protected(self.public.kid, typ) for typ in Typ}

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        """See ``gateway.ports.Signer``."""
        del purpose
        return jws.sign(self.private.sign, self.headers[typ], payload)


class RowsOnly:
    """Stands in for the log where only the directory's rows matter, and no entry is wanted."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine

    async def append(self, item: Append) -> list[int]:
        """See ``gateway.ports.AuditLog``."""
        with self.engine.begin() as connection:
            for guard in item.guards:
                connection.execute(guard.insert, guard.parameters)
            for write in item.writes:
                connection.execute(write.statement, write.parameters)
        return []


def remembered(home: str) -> float:
    """One authentication by a key that was used within the last two seconds.

    Args:
        home: an empty directory.
    """
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.StaticPool, connect_args={"check_same_thread": False}
    )
    metadata.create_all(engine)
    audit_metadata.create_all(engine)
    names = Names(engine, EpochKeys(Path(home), bytes(32)))
    directory = SqlDirectory(engine, RowsOnly(engine), bytes(32), names, lambda: 1_800_000_000.0)  # type: ignore[arg-type]

    async def prepare() -> str:
        [made] = await directory.bootstrap([NewPrincipal("root", ["security_admin"])])
        await directory.authenticate(made["api_key"]["token"], 1_800_000_000.0)
        return made["api_key"]["token"]

    token = asyncio.run(prepare())

    def once() -> None:
        try:
            directory.authenticate(token, 1_800_000_000.0).send(None)
        except StopIteration:
            return
        raise RuntimeError("authentication left the event loop")

    return microseconds(once)


def microseconds(call: Callable[[], object]) -> float:
    """Best time of one call."""
    return round(min(timeit.repeat(call, number=NUMBER, repeat=ROUNDS)) / NUMBER * 1e6, 1)


def measure() -> dict[str, float]:
    """Name -> microseconds."""
    with tempfile.TemporaryDirectory() as home:
        authenticate = remembered(home)
    signer = OneKey()
    document = signer.public.document()
    action = {"id": "a", "hand": "files", "action": "read", "args": {"path": "x" * 200}, "depends_on": []}
    payload = orjson.dumps(
        {
            "v": 1,
            "iss": "bench",
            "sub": "bench",
            "aud": "handrail.local/log",
            "tenant": "default",
            "context_id": "c" * 32,
            "jti": "j" * 32,
            "iat": 1_800_000_000,
            "exp": 1_800_000_060,
            "nonce": "n" * 32,
            "actions": [action],
        }
    )
    token = signer.sign(Purpose.CONNECTOR, Typ.PLAN, payload).encode()
    signing_input, _, _ = token.rpartition(b".")
    signature = signer.private.sign(signing_input)

    private = OKPKey.import_key(signer.private)
    public = OKPKey.import_key(signer.public.key)
    registry = joserfc_jws.JWSRegistry(algorithms=["Ed25519"])
    header = {"alg": "Ed25519", "kid": signer.public.kid, "typ": str(Typ.PLAN)}
    binding = Binding("default", "p" * 64, "a", "files", "read", "a" * 64, "b" * 64, "c" * 64)

    def key_for(_kid: str) -> dict[str, str]:
        return document

    def mint() -> object:
        return credentials.mint(
            signer,
            issuer="handrail.local/log",
            binding=binding,
            hand="files",
            action="read",
            subject="alice",
            actor="bench",
            context_id="c" * 32,
            now=1_800_000_000.0,
            lifetime_seconds=60,
        )

    return {
        "raw sign": microseconds(lambda: signer.private.sign(signing_input)),
        "jws sign": microseconds(lambda: signer.sign(Purpose.CONNECTOR, Typ.PLAN, payload)),
        "joserfc sign": microseconds(
            lambda: joserfc_jws.serialize_compact(header, payload, private, registry=registry)
        ),
        "raw verify": microseconds(lambda: signer.public.key.verify(signature, signing_input)),
        "jws verify": microseconds(lambda: jws.verify(token, Typ.PLAN, key_for)),
        "jws peek": microseconds(lambda: jws.peek(token)),
        "joserfc verify": microseconds(lambda: joserfc_jws.deserialize_compact(token, public, registry=registry)),
        "mint credential": microseconds(mint),
        "authenticate": authenticate,
    }


def main() -> None:
    """Measure and print."""
    results = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:16} {value:8.1f} us")


if __name__ == "__main__":
    main()
