"""What the gateway reads back from its log as state holds when its partition was dropped: on a real home whose first
partition is 25 months old.
"""

import asyncio
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from audit import holds
from audit.database import make_engine
from audit.export.lines import Format
from audit.fsck import check as check_log
from audit.history import revoked_keys
from audit.query import Filter
from audit.retained import PARTITION
from audit.retention import State, survey
from audit.verifier.note import Vkey
from audit.verifier.report import Exit, Verdict
from gateway.app import build
from gateway.canonical import b64url_decode, canonical, parse
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.exports import ExportRequest
from gateway.freeze import Cause, Scope
from gateway.freeze_journal import FILE
from gateway.freezing import FreezeOrder
from gateway.model import DEFAULT_TENANT, Principal, Role
from gateway.ports import Append, Purpose
from gateway.service import Gateway
from gateway.settings import load
from keys.stores.master import MasterKey
from keys.stores.root import rewrap as wrap_anew
from keys.stores.wrapping import Wrappers
from tests.audit.export.house import check, said, taken_apart
from tests.audit.retention.conftest import MONTH, drafts
from tests.cli import real

NEW_MASTER = "22" * 32
CHIEF = Principal("chief", DEFAULT_TENANT, "p-chief", frozenset({Role.SECURITY_ADMIN, Role.AUDITOR}))


@dataclass
class Aged:
    """A home whose first partition was written 25 months ago and is dropped, and what was kept from before.

    Attributes:
        kid, key_file: of a key that was revoked then, and its file as it was before.
        bundle: evidence that was made under that key.
    """

    home: Path
    kid: str
    key_file: bytes
    bundle: bytes

    def read(self, query: str) -> list[Any]:
        engine = make_engine(f"sqlite:///{self.home / 'handrail.db'}")
        try:
            with engine.connect() as connection:
                return list(connection.exec_driver_sql(query).all())
        finally:
            engine.dispose()

    def put_key_back(self) -> None:
        (self.home / "keys" / f"{self.kid}.json").write_bytes(self.key_file)


async def evidence(gateway: Gateway) -> bytes:
    """A bundle of what is young, or of the whole log where nothing is old."""
    size, _ = await gateway.log.signed_head()
    asked = ExportRequest(format=Format.BUNDLE, wanted=Filter(tenant=DEFAULT_TENANT), first=min(size - 1, PARTITION))
    export = await gateway.exports.open(asked, CHIEF)
    return b"".join([chunk async for chunk in export.chunks])


async def live(home: Path) -> Aged:
    clock = [time.time() - 25 * MONTH]
    gateway = build(load(None), lambda: clock[0])
    await gateway.prepare()
    await gateway.freezing.start()
    kid = str(gateway.keyset.active_jwk(Purpose.RECEIPT)["kid"])
    key_file = (home / "keys" / f"{kid}.json").read_bytes()
    bundle = await evidence(gateway)
    await gateway.key_changes.make(gateway.keyset.revoke, kid, DEFAULT_TENANT, CHIEF.pseudonym)
    await gateway.freezing.set(CHIEF, FreezeOrder(Scope.ALL, None, Cause.DRILL))
    await gateway.log.append(Append([holds.setting(holds.Held(first=PARTITION, last=PARTITION), "2024/7")[1]]))
    old, new = MasterKey.load(home / "master.key", make=False), MasterKey(bytes.fromhex(NEW_MASTER))
    root = wrap_anew(home / "root.key", Wrappers(new, old))
    assert root is not None
    facts: dict[str, str | int] = {"purpose": "master", "root": root.id, "generation": root.generation}
    await gateway.log.append(Append([EntryDraft(EntryType.KEY_ROTATED, DEFAULT_TENANT, facts=facts)]))
    # Two partitions are over: the hold is on the second, so that it is seen to hold when the first is gone.
    for first in range(0, 2 * PARTITION, 1024):
        await gateway.log.append(Append(drafts(first, 1024)))
    clock[0] = time.time()
    await gateway.log.append(Append(drafts(2 * PARTITION, 10)))
    await gateway.close()
    return Aged(home, kid, key_file, bundle)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Aged:
    home = tmp_path_factory.mktemp("lived") / "home"
    (home.parent / "handrail.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDRAIL_HOME", str(home))
        aged = asyncio.run(live(home))
        patch.setenv("HANDRAIL_MASTER_KEY", NEW_MASTER)
        result = real.invoke(home, "retention", "apply", "--yes", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["dropped"] == [{"first": 0, "last": PARTITION - 1}]
    return aged


@pytest.fixture
def aged(lived: Aged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aged:
    shutil.copytree(lived.home, tmp_path / "home")
    (tmp_path / "handrail.toml").touch()
    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HANDRAIL_MASTER_KEY", NEW_MASTER)
    return Aged(tmp_path / "home", lived.kid, lived.key_file, lived.bundle)


def test_the_partition_is_gone_and_the_log_is_sound(aged: Aged) -> None:
    [(count,)] = aged.read(f"SELECT count(*) FROM entries WHERE idx < {PARTITION}")
    assert count < 100
    engine = make_engine(f"sqlite:///{aged.home / 'handrail.db'}")
    assert list(check_log(engine)) == []
    with engine.connect() as connection:
        assert (str(Purpose.RECEIPT), aged.kid) in revoked_keys(connection)
    engine.dispose()


async def test_a_key_that_was_revoked_and_is_put_back_keeps_the_gateway_from_starting(aged: Aged) -> None:
    gateway = await asyncio.to_thread(build, load(None))
    await gateway.prepare()
    await gateway.close()
    aged.put_key_back()
    gateway = await asyncio.to_thread(build, load(None))
    with pytest.raises(HandrailError, match=r"older copy|revoked"):
        await gateway.prepare()
    gateway.engine.dispose()


async def test_evidence_from_before_is_believed_no_more_and_evidence_of_today_tells_why(aged: Aged) -> None:
    gateway = await asyncio.to_thread(build, load(None))
    await gateway.prepare()
    trust, key = canonical(gateway.trust()), Vkey.parse(gateway.log.vkey())
    raw = await evidence(gateway)
    await gateway.close()
    old = check(aged.bundle, key, trust=trust)
    assert "which was revoked" in said(old, Verdict.OPEN)["manifest"]
    assert "manifest" not in said(old, Verdict.PROVED)
    new = check(raw, key, trust=trust)
    assert new.exit is not Exit.FAILED, list(new.lines())
    claims = parse(b64url_decode(dict(taken_apart(raw))["history.jws"].decode().split(".")[1]))
    [told] = [one for one in claims["keys"] if one["kid"] == aged.kid]
    assert told["state"] == "revoked"
    index, kind, state = told["entries"][-1]
    assert (kind, state) == (str(EntryType.KEY_REVOKED), "revoked")
    assert index < PARTITION


async def test_a_freeze_holds_also_where_the_home_forgot_it(aged: Aged) -> None:
    (aged.home / FILE).unlink()
    gateway = await asyncio.to_thread(build, load(None))
    await gateway.prepare()
    await gateway.freezing.start()
    assert [one.scope for one in gateway.freezing.now.in_force] == [Scope.ALL]
    await gateway.freezing.close()
    await gateway.close()


def test_a_hold_holds_and_can_be_lifted(aged: Aged) -> None:
    engine = make_engine(f"sqlite:///{aged.home / 'handrail.db'}")
    with engine.connect() as connection:
        assert [one.state for one in survey(connection, "9")][:2] == [State.DROPPED, State.HELD]
        [hold] = holds.in_force(connection)
    engine.dispose()
    assert hold.index < PARTITION
    assert real.invoke(aged.home, "retention", "hold", "lift", hold.hold_id).exit_code == 0
    result = real.invoke(aged.home, "retention", "apply", "--yes", "--json")
    assert json.loads(result.stdout)["dropped"] == [{"first": PARTITION, "last": 2 * PARTITION - 1}]


def test_a_change_of_the_master_key_is_not_put_on_record_twice(aged: Aged) -> None:
    def wrapped() -> list[Any]:
        bodies = [json.loads(body) for (body,) in aged.read("SELECT body FROM entries WHERE type = 'KEYROT'")]
        return [body["facts"]["generation"] for body in bodies if body["facts"]["purpose"] == "master"]

    assert wrapped() == [2]
    result = real.invoke(aged.home, "keys", "rewrap", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["index"] is None
    assert wrapped() == [2]
