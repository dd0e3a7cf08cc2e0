"""A log that went on under another name after a restore: evidence of it verifies, and its name changes nowhere else."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from audit import archive
from audit.entry import build
from audit.errors import ArchiveRefused
from audit.verifier.note import Vkey
from audit.verifier.report import Verdict
from gateway.canonical import canonical
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from tests.audit.export.house import OTHERS, check, executed, said
from tests.audit.export.house import House as Exporting
from tests.backup.conftest import NEW, back_up, put_back, reopened
from tests.pipeline.house import House, close_house, step

Databases = Callable[[], str]


async def test_evidence_of_a_restored_log_verifies(
    house: House, tmp_path: Path, new_database: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.audit.export.house.NOW", int(time.time()))  # the house's keys are of now
    await house.plan(step("a"))
    await house.log.append(Append([executed(1, OTHERS)[0]]))
    old_key = Vkey.parse(house.log.vkey())
    old = (await house.log.signed_head())[1].encode()
    old_size = int(old.split(b"\n")[1])
    made = await back_up(house, tmp_path / "backup")
    await house.log.append(Append([executed(2)[0]]))
    lost = (await house.log.signed_head())[1].encode()
    into = new_database()
    restored = await put_back(house.settings, tmp_path / "backup", into)
    again = await reopened(house, into)
    try:
        log = Exporting(again.log, again.keyset)
        await log.record_keys()
        await again.log.append(Append([executed(3)[0]]))
        raw = await log.bundle(kept=(old_size,))
        report = check(raw, log.key, old_key, kept=[("old", old)])
        assert said(report, Verdict.FAILED) == {}
        proved = said(report, Verdict.PROVED)
        assert f"entry {restored.size} says" in proved["names"]
        assert f"begins with {old_size} entries" in proved["kept checkpoint"]
        # A checkpoint of what was lost says so.
        failed = said(check(raw, log.key, old_key, kept=[("lost", lost)]), Verdict.FAILED)
        assert "are lost" in failed["kept checkpoint"]
        # Another range still encloses what explains the name; without it nothing does.
        assert said(check(await log.bundle(end=2), log.key), Verdict.FAILED) == {}
        unexplained = check(await log.bundle(end=2, key_changes=False), log.key)
        assert "said to belong to the log" in said(unexplained, Verdict.FAILED)["names"]
        # To another tenant the operator's entry does not go, and the verifier says what it cannot see.
        others = check(await log.bundle(tenant=OTHERS), log.key)
        assert "names" not in said(others, Verdict.FAILED)
        assert "the operator's" in said(others, Verdict.LIMIT)["names"]
        assert made.manifest.size == restored.size
    finally:
        await close_house(again)


def line(index: int, name: str, /, kind: EntryType = EntryType.STEP_EXECUTED, **facts: str | int) -> bytes:
    draft = EntryDraft(kind, "default", facts=facts)
    body = build(draft, time="2026-11-26T08:00:00.125Z", origin=name, gateway="g", controls=()).body
    return archive._line(index, body, None)


def test_an_archived_log_changes_its_name_by_a_restore_alone() -> None:
    assert archive._entry(line(7, "old"), 7, "")[-1] == "old"
    assert archive._entry(line(7, "old"), 7, "old")[-1] == "old"
    opened = line(7, NEW, EntryType.BACKUP_RESTORED, origin="old", size=7)
    leaf, _, _, name = archive._entry(opened, 7, "old")
    assert name == NEW
    assert leaf == hashlib.sha256(b"\0" + canonical(orjson.loads(opened)["entry"])).digest()
    for wrong in (
        line(7, NEW),
        line(7, NEW, EntryType.BACKUP_RESTORED, origin="another", size=7),
        line(7, NEW, EntryType.BACKUP_RESTORED, origin="old", size=6),
        line(7, NEW, EntryType.BACKUP_RESTORED),
        line(7, ""),
    ):
        with pytest.raises(ArchiveRefused):
            archive._entry(wrong, 7, "old")
