"""Bundles of evidence, and commands, where both signatures are required."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handrail import Trust
from sqlalchemy import Engine
from typer.testing import CliRunner

from audit.epochs import EpochKeys
from audit.log import Log
from audit.post_quantum import PostQuantumKey
from audit.verifier.errors import EvidenceError
from audit.verifier.note import Vkey
from audit.verifier.report import Exit, Verdict
from gateway.app import build
from gateway.cli.main import app
from gateway.ports import Purpose
from gateway.settings import KeySettings, LogSettings, Settings
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore
from keys.stores.master import MasterKey
from tests.audit.conftest import CONTROLS, TIME
from tests.audit.export.house import NOW, House, check, said
from tests.audit.post_quantum import regenerate


@pytest.fixture(params=[True, False], ids=["twice", "once"])
async def house(request: pytest.FixtureRequest, sqlite_engine: Engine, tmp_path: Path) -> AsyncIterator[House]:
    store = FileKeyStore(tmp_path / "keys", MasterKey(bytes(32)))
    keyset = Keyset(store, KeySettings(), lambda: NOW - 100.0, post_quantum=True)
    keyset.ensure()
    settings = LogSettings(post_quantum=request.param)
    epochs = EpochKeys(tmp_path / "epochs", bytes(32))
    log = Log(sqlite_engine, settings, keyset, epochs, "g1", lambda: TIME, controls=CONTROLS)
    await log.start()
    made = House(log, keyset)
    await made.record_keys()
    await made.fill(3)
    yield made
    await log.close()


def second(house: House) -> list[str]:
    return [str(PostQuantumKey(house.log.origin, one.raw)) for one in house.keyset.public_bytes(Purpose.CHECKPOINT_PQ)]


async def test_a_bundle_holds_where_both_signed_and_fails_where_one_did(house: House) -> None:
    raw = await house.bundle()
    assert check(raw, house.key).exit is Exit.HOLDS
    trust = json.dumps({**house.trust(), "log_post_quantum": second(house)}).encode()
    by_key = check(raw, house.key, *map(Vkey.parse, second(house)))
    by_trust = check(raw, trust=trust, post_quantum=True)
    for report in (by_key, by_trust):
        if house.log._settings.post_quantum:
            assert report.exit is Exit.HOLDS, list(report.lines())
        else:
            assert report.exit is Exit.FAILED
            assert "ML-DSA-44" in said(report, Verdict.FAILED)["checkpoint"]
    assert check(raw, trust=trust).exit is Exit.HOLDS


async def test_a_bundle_under_a_stranger_s_second_key_fails(house: House) -> None:
    stranger = Vkey.parse(regenerate.vkey(b"\x06", regenerate.PUBLIC_2, house.log.origin))
    assert check(await house.bundle(), house.key, stranger).exit is Exit.FAILED


async def test_to_require_both_without_knowing_the_key_is_wrong_use(house: House) -> None:
    with pytest.raises(EvidenceError, match="ML-DSA-44"):
        check(await house.bundle(), house.key, post_quantum=True)


def invoke(home: Path, *words: str) -> Any:
    return CliRunner().invoke(app, words, env={"HANDRAIL_HOME": str(home)})


async def served(home: Path, **log: Any) -> dict[str, Any]:
    """The trust document of a gateway that has a checkpoint."""
    gateway = build(Settings(home=home, log=log))
    await gateway.prepare()
    await gateway.log.checkpoint()
    trust = gateway.trust()
    await gateway.close()
    return trust


async def test_fsck_requires_both_where_it_is_told_to(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "trust.json"
    file.write_text(json.dumps(await served(home, post_quantum=True)))
    words = ["audit", "fsck", "--no-record", "--trust", str(file)]
    for more in ([], ["--post-quantum"]):
        done = invoke(home, *words, *more)
        assert done.exit_code == 0, done.output
    other = regenerate.vkey(b"\x06", regenerate.PUBLIC_2, "handrail.local/log")
    file.write_text(json.dumps({**json.loads(file.read_text()), "log_post_quantum": [other]}))
    done = invoke(home, *words, "--post-quantum")
    assert done.exit_code == 1
    assert "ML-DSA-44" in done.output


async def test_commands_that_shall_require_both_and_know_no_key_say_so(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "trust.json"
    file.write_text(json.dumps(await served(home)))
    for words in (["audit", "fsck", "--trust"], ["verify", str(file), "--trust"]):
        done = invoke(home, *words, str(file), "--post-quantum")
        assert done.exit_code == 2
        assert "ML-DSA-44" in done.output


async def test_a_trust_document_names_the_second_keys_once_there_are_any(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "log_post_quantum" not in await served(home)
    trust = Trust.from_document(await served(home, post_quantum=True))
    assert len(trust.both_required().required) == 2
    assert replace(trust, required=()) == trust
