"""The key stores that the contract is held against, each opened from a description that a process can be given."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update

from audit.database import make_engine
from gateway.ports import Purpose
from gateway.store.tables import signing_keys
from keys.stores import KeyStore
from keys.stores.aws_kms.client import Kms
from keys.stores.aws_kms.halves import KmsHalves
from keys.stores.database import DatabaseKeyStore
from keys.stores.file import FileKeyStore
from keys.stores.halves import ByPurpose
from keys.stores.master import MasterKey
from keys.stores.pkcs11 import Token
from keys.stores.transit.api import Transit
from keys.stores.transit.halves import TransitHalves
from keys.stores.transit.http import Http
from keys.stores.transit.login import TokenFile
from tests.keys.stores.kms_stand_in import REGION

Spec = Mapping[str, Any]
"""``kind``, ``root`` (hex) and what the kind needs."""
ROOT = bytes(range(32))


def open_store(spec: Spec, engine: Engine | None = None) -> KeyStore:
    """The store, as a process that just started opens it."""
    root = MasterKey(bytes.fromhex(spec["root"]))
    if spec["kind"] == "pkcs11":
        os.environ["SOFTHSM2_CONF"] = spec["conf"]
        token = Token(Path(spec["module"]), spec["token"], spec["pin"])
        halves = ByPurpose(dict.fromkeys(Purpose, token), [token])
        return FileKeyStore(Path(spec["directory"]), root, halves)
    if spec["kind"] == "transit":
        http = Http(spec["url"], Path(spec["ca"]), 10.0)
        transit = TransitHalves(Transit(http, TokenFile(Path(spec["token"]))), spec["mount"], "handrail")
        halves = ByPurpose(dict.fromkeys(Purpose, transit), [transit])
        return FileKeyStore(Path(spec["directory"]), root, halves)
    if spec["kind"] == "aws-kms":
        kms = KmsHalves(Kms(REGION, spec["url"], 10.0))
        return FileKeyStore(Path(spec["directory"]), root, ByPurpose(dict.fromkeys(Purpose, kms), [kms]))
    if spec["kind"] == "database":
        return DatabaseKeyStore(make_engine(spec["url"]) if engine is None else engine, root)
    return FileKeyStore(Path(spec["directory"]), root)


@dataclass
class Backend:
    """A store, and what somebody can do to it who holds what it lies on.

    Attributes:
        engine: of a database that holds records. Stores of one test share it; their sessions differ.
    """

    spec: Spec
    engine: Engine | None = None

    def open(self, **changed: Any) -> KeyStore:
        """Open it anew."""
        return open_store({**self.spec, **changed}, self.engine)

    def documents(self) -> dict[str, str]:
        """Kid -> the sealed record, as it lies there."""
        if self.engine is None:
            return {path.stem: path.read_text() for path in Path(self.spec["directory"]).glob("*.json")}
        with self.engine.connect() as connection:
            rows = connection.execute(select(signing_keys.c.kid, signing_keys.c.document)).all()
        return {row.kid: row.document for row in rows}

    def put(self, kid: str, document: str) -> None:
        """Write a sealed record over the one that is there."""
        if self.engine is None:
            path = Path(self.spec["directory"]) / f"{kid}.json"
            path.write_text(document)
            path.chmod(0o600)
            return
        with self.engine.begin() as connection:
            statement = update(signing_keys).where(signing_keys.c.kid == kid).values(document=document)
            assert connection.execute(statement).rowcount == 1

    def stolen(self) -> bytes:
        """Everything that a copy of the medium holds."""
        if self.engine is None:
            files: Iterable[Path] = (p for p in Path(self.spec["directory"]).rglob("*") if p.is_file())
            return b"".join(path.read_bytes() for path in files)
        return "".join(self.documents().values()).encode()

    def take_away(self) -> None:
        """Make the medium unreadable."""
        if self.engine is None:
            directory = Path(self.spec["directory"])
            directory.rename(directory.with_name("elsewhere"))
            return
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE signing_keys RENAME TO elsewhere")
