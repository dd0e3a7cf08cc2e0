"""Proposals over a real log, real rows and real keys; one kind has a handler that writes what it is told."""

import itertools
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jws as jose
from joserfc.jwk import OKPKey
from sqlalchemy import Engine

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.log import Log
from gateway.canonical import sha256_canonical
from gateway.errors import Refused
from gateway.keyring import stores as key_stores
from gateway.model import Principal, Role
from gateway.ports import Standing
from gateway.proposals.acts import Acts
from gateway.proposals.handlers import Effects
from gateway.proposals.life import Proposals
from gateway.reasons import Reason
from gateway.settings import KeySettings, LogSettings, Settings
from gateway.store.administrators import nobody_changed
from gateway.store.proposals import SqlProposals
from gateway.two_person import Kind, Proposal
from keys import jws
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore

ORIGIN = "handrail.test/log"
_ids = itertools.count(1)


class Person:
    """A principal with an Ed25519 key, enrolled or not. Signs with joserfc, which the gateway must agree with."""

    def __init__(self, name: str, *roles: Role, enrolled: bool = False, tenant: str = "default") -> None:
        self.key = OKPKey.generate_key("Ed25519")
        self.kid = self.key.thumbprint()
        jwk = {**self.key.as_dict(private=False), "kid": self.kid, "alg": "Ed25519"}
        self.principal = Principal(
            name, tenant, f"p-{name}-{tenant}", frozenset(roles), None, jwk if enrolled else None
        )

    def sign(self, payload: Mapping[str, Any], typ: str = "proposal+jws") -> bytes:
        header = {"alg": "Ed25519", "kid": self.kid, "typ": typ}
        return jose.serialize_compact(header, json.dumps(payload).encode(), self.key, algorithms=["Ed25519"]).encode()

    def act(self, act: str, kind: Kind, subject: str, document: Any, **changes: Any) -> bytes:
        now = int(time.time())
        binding = {
            "id": f"{next(_ids):032x}",
            "kind": str(kind),
            "tenant": self.principal.tenant,
            "subject": subject,
            "document_sha256": sha256_canonical(document),
        }
        binding |= {name: changes.pop(name) for name in list(changes) if name in binding}
        claims = {"v": 1, "act": act, "proposal": binding, "by": self.principal.id, "aud": ORIGIN}
        return self.sign({**claims, "iat": now, "exp": now + 120, **changes})


class TestingOnlyDirectory:
    __test__ = False

    def __init__(self) -> None:
        self.people: dict[tuple[str, str], Principal] = {}
        self.named: dict[tuple[str, str], str] = {}

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        if (tenant, principal_id) not in self.people:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return self.people[tenant, principal_id]

    async def person(self, tenant: str, pseudonym: str) -> Principal:
        for person in self.people.values():
            if (person.tenant, person.pseudonym) == (tenant, pseudonym):
                return person
        raise Refused(Reason.REQUEST_NOT_FOUND)

    async def has_key(self, tenant: str, pseudonym: str) -> bool:
        return False

    async def standing(self, tenant: str, pseudonyms: Collection[str]) -> Standing:
        found = [one for one in self.people.values() if one.tenant == tenant and one.pseudonym in pseudonyms]
        return Standing({one.pseudonym: one for one in found}, nobody_changed(tenant, 2**62))

    async def names(self, tenant: str, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """Also of who was taken out since the last call: revoked, not erased."""
        self.named |= {(person.tenant, person.pseudonym): person.id for person in self.people.values()}
        return {one: self.named[tenant, one] for one in pseudonyms if (tenant, one) in self.named}


@dataclass
class Handler:
    """Takes ``{"digest": ..}`` or ``{"hand": .., "lasts_seconds": ..}``; ``outdated`` makes every activation so."""

    outdated: bool = False
    effects_: Effects = field(default_factory=Effects)
    applied_: list[Proposal] = field(default_factory=list)

    async def check(self, document: Mapping[str, Any], actor: Principal) -> str:
        subject = document.get("digest", document.get("hand"))
        if not isinstance(subject, str):
            raise Refused(Reason.REQUEST_MALFORMED, pointer="/document")
        return subject

    async def effects(self, proposal: Proposal, actor: Principal) -> Effects:
        if self.outdated:
            raise Refused(Reason.PROPOSAL_OUTDATED)
        return self.effects_

    async def applied(self, proposal: Proposal) -> None:
        self.applied_.append(proposal)


@dataclass
class Bench:
    """Everything that a test of proposals touches."""

    engine: Engine
    log: Log
    keyset: Keyset
    directory: TestingOnlyDirectory
    store: SqlProposals
    proposals: Proposals
    handler: Handler
    now: list[float]

    def add(self, *people: Person) -> None:
        for person in people:
            self.directory.people[person.principal.tenant, person.principal.id] = person.principal

    def entries(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT body FROM entries ORDER BY idx").scalars().all()
        return [json.loads(row) for row in rows]

    def types(self) -> list[str]:
        return [entry["type"] for entry in self.entries()]

    async def close(self) -> None:
        await self.log.close()
        self.engine.dispose()


async def open_bench(home: Path, url: str | None = None, *, gateway: str = "gw-test") -> Bench:
    """Opening the same home again is a restart; another ``gateway`` on the same database is a second gateway."""
    root = key_stores.open_root(Settings(home=home), make=True)
    keyset = Keyset(FileKeyStore(home / "keys", root), KeySettings())
    keyset.ensure()
    engine = make_engine(url or f"sqlite:///{home / 'handrail.db'}")
    migrations.upgrade(engine)
    log = Log(
        engine,
        LogSettings(origin=ORIGIN),
        keyset,
        EpochKeys(home / "epochs", root.derive("epoch")),
        gateway,
        time.time,
    )
    await log.start()
    directory, handler, now = TestingOnlyDirectory(), Handler(), [0.0]
    store = SqlProposals(engine, root.derive("proposal rows"))
    proposals = Proposals(
        log=log,
        store=store,
        directory=directory,  # type: ignore[arg-type]
        acts=Acts(log, directory, keyset, jws, None),  # type: ignore[arg-type]
        ttl_seconds=3600,
        clock=lambda: time.time() + now[0],
        handlers={Kind.POLICY_ACTIVATE: handler, Kind.POLICY_OBSERVE: handler},
    )
    return Bench(engine, log, keyset, directory, store, proposals, handler, now)
