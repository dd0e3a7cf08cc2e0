"""That a verification is put on record, beside a running gateway or without one, and never where it should not be."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.checkpoint import note_text, parse_checkpoint
from audit.database import make_engine
from audit.reader import Reader
from gateway import setup
from gateway.cli.main import app
from gateway.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    setup.run(Settings(home=home))
    return home


def fsck(home: Path, *words: str, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["audit", "fsck", "--json", *words], env={"HANDRAIL_HOME": str(home)})
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def newest(home: Path) -> dict[str, Any]:
    engine = make_engine(f"sqlite:///{home / 'handrail.db'}")
    try:
        reader = Reader(engine)
        size, _ = reader.head()
        entry: dict[str, Any] = json.loads(reader.entry(size - 1).body)
    finally:
        engine.dispose()
    return entry


def test_it_needs_no_gateway_and_no_key_and_the_log_stays_sound(home: Path) -> None:
    (home / "master.key").unlink()
    shutil.rmtree(home / "keys")
    first = fsck(home)
    assert first["recorded"] == first["size"]
    entry = newest(home)
    assert entry["type"] == "LOGVER"
    assert entry["gateway"] == (home / "gateway-id").read_text().strip()
    facts = {"size": first["size"], "findings": 0, "signatures": 0, "kept": 0, "payloads": 0}
    assert entry["facts"] == facts
    assert "gdpr:32(1)(d)" in entry["controls"]
    second = fsck(home)
    assert second["sound"]
    assert second["size"] == first["size"] + 1
    assert not (home / "master.key").exists()


def test_no_checkpoint_is_signed_for_it(home: Path) -> None:
    engine = make_engine(f"sqlite:///{home / 'handrail.db'}")
    before = Reader(engine).checkpoint()
    fsck(home)
    assert Reader(engine).checkpoint() == before
    assert before is not None
    assert parse_checkpoint(note_text(before[1])).tree_size == before[0]
    engine.dispose()


def test_a_copy_elsewhere_or_one_that_must_stay_is_not_written_to(home: Path, tmp_path: Path) -> None:
    before = newest(home)
    assert fsck(home, "--no-record")["recorded"] is None
    assert newest(home) == before
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(home / "handrail.db", copy)
    found = fsck(copy)
    assert found["recorded"] is None
    assert "no gateway lives" in found["not_recorded"]
    assert newest(copy) == before


def test_faults_are_on_record_too(home: Path) -> None:
    with closing(sqlite3.connect(home / "handrail.db")) as database:
        database.execute("DROP TRIGGER entries_no_update")
        database.execute("UPDATE entries SET tenant = 'other' WHERE idx = 1")
        database.commit()
    found = fsck(home, code=1)
    assert found["recorded"] == found["size"]
    assert newest(home)["facts"]["findings"] == len(found["findings"]) > 0


def test_a_verdict_stands_where_it_cannot_be_recorded(home: Path) -> None:
    with closing(sqlite3.connect(home / "handrail.db")) as database:
        database.execute("DROP TRIGGER head_no_shrink")
        database.execute("UPDATE head SET origin = 'another.example/log'")
        database.commit()
    found = fsck(home, code=1)
    assert found["recorded"] is None
    assert "another.example/log" in found["not_recorded"]
    words = CliRunner().invoke(app, ["audit", "fsck"], env={"HANDRAIL_HOME": str(home)})
    assert "Not on record" in words.stderr
