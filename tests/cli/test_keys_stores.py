"""``handrail keys rewrap`` and ``keys carry`` on a real home; and homes whose root or master key went missing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.database import make_engine
from gateway.app import build
from gateway.cli.main import app
from gateway.ports import Purpose
from gateway.posture.scene import Scene
from gateway.settings import Settings
from keys.errors import KeyUnavailable
from keys.stores.file import Files
from keys.stores.master import MasterKey
from keys.stores.root import Wrappers
from keys.stores.root import rewrap as wrap_anew

NEW = "22" * 32
SHARED = {
    "HANDRAIL_KEYS__MASTER_KEY_FILE": "master.key",
    "HANDRAIL_KEYS__ROOT_FILE": "root.key",
    "HANDRAIL_PRIVACY__EPOCHS": "epochs",
}


def invoke(home: Path, *words: str, **environment: str) -> Any:
    known = {"HANDRAIL_MASTER_KEY": None, "HANDRAIL_MASTER_KEY_PREVIOUS": None}
    return CliRunner().invoke(app, words, env={**known, "HANDRAIL_HOME": str(home), **environment})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    assert invoke(home, "init").exit_code == 0
    return home


def test_a_new_master_key_in_three_steps_with_the_gateway_good_at_each(home: Path) -> None:
    old = (home / "master.key").read_text().strip()
    both = {"HANDRAIL_MASTER_KEY": NEW, "HANDRAIL_MASTER_KEY_PREVIOUS": old}
    assert invoke(home, "init", **both).exit_code == 0
    done = invoke(home, "keys", "rewrap", "--json", **both)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["rewrapped"], document["generation"]) == (True, 2)
    for environment in (both, {"HANDRAIL_MASTER_KEY": NEW}):
        assert invoke(home, "init", **environment).exit_code == 0
    late = invoke(home, "init", HANDRAIL_MASTER_KEY=old)
    assert late.exit_code != 0
    assert "HANDRAIL_MASTER_KEY_PREVIOUS" in late.output
    again = invoke(home, "keys", "rewrap", **both)
    assert again.exit_code == 0
    assert "already" in again.output
    fsck = invoke(home, "audit", "fsck", HANDRAIL_MASTER_KEY=NEW)
    assert fsck.exit_code == 0, fsck.output


def test_a_change_is_on_record(home: Path) -> None:
    old = (home / "master.key").read_text().strip()
    done = invoke(home, "keys", "rewrap", "--json", HANDRAIL_MASTER_KEY=NEW, HANDRAIL_MASTER_KEY_PREVIOUS=old)
    index = json.loads(done.stdout)["index"]
    engine = make_engine(Settings(home=home).database_url)
    with engine.connect() as connection:
        query = "SELECT type, body FROM entries WHERE idx = ?"
        kind, body = connection.exec_driver_sql(query, (index,)).one()
    engine.dispose()
    assert kind == "KEYROT"
    facts = json.loads(body)["facts"]
    assert (facts["purpose"], facts["generation"]) == ("master", 2)
    assert NEW not in body.decode()


def generations_on_record(home: Path) -> list[int]:
    engine = make_engine(Settings(home=home).database_url)
    with engine.connect() as connection:
        bodies = (
            connection.exec_driver_sql("SELECT body FROM entries WHERE type = 'KEYROT' ORDER BY idx").scalars().all()
        )
    engine.dispose()
    return [facts["generation"] for body in bodies if (facts := json.loads(body)["facts"])["purpose"] == "master"]


def test_a_change_that_stopped_before_the_log_was_told_is_put_on_record_by_the_next_run(home: Path) -> None:
    old, new = (MasterKey(bytes.fromhex(text)) for text in ((home / "master.key").read_text().strip(), NEW))
    assert wrap_anew(home / "root.key", Wrappers(new, old)) is not None  # and here the machine stops
    assert generations_on_record(home) == []
    done = invoke(home, "keys", "rewrap", "--json", HANDRAIL_MASTER_KEY=NEW)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["rewrapped"], document["generation"], document["index"] is None) == (False, 2, False)
    assert generations_on_record(home) == [2]
    again = json.loads(invoke(home, "keys", "rewrap", "--json", HANDRAIL_MASTER_KEY=NEW).stdout)
    assert (again["rewrapped"], again["index"]) == (False, None)
    assert generations_on_record(home) == [2]


def test_a_root_put_back_in_an_older_wrapping_is_named_and_not_put_on_record(home: Path) -> None:
    old = (home / "master.key").read_text().strip()
    before = (home / "root.key").read_bytes()
    both = {"HANDRAIL_MASTER_KEY": NEW, "HANDRAIL_MASTER_KEY_PREVIOUS": old}
    assert invoke(home, "keys", "rewrap", **both).exit_code == 0
    (home / "root.key").write_bytes(before)
    done = invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=old)
    assert done.exit_code == 1
    assert "older copy" in done.output
    assert generations_on_record(home) == [2]


def test_with_a_file_the_new_master_key_is_made_beside_the_old(home: Path) -> None:
    (home / "master.key").rename(home / "master.key.old")
    refused = invoke(home, "init")
    assert refused.exit_code != 0
    assert not (home / "master.key").exists(), "a new master key would open nothing"
    assert invoke(home, "keys", "rewrap").exit_code == 2
    assert not (home / "master.key").exists()
    previous = str(home / "master.key.old")
    done = invoke(home, "keys", "rewrap", HANDRAIL_KEYS__MASTER_KEY_PREVIOUS_FILE=previous)
    assert done.exit_code == 0, done.output
    assert (home / "master.key").read_text() != (home / "master.key.old").read_text()
    assert invoke(home, "init").exit_code == 0


def test_a_wrong_previous_master_key_changes_nothing(home: Path) -> None:
    before = (home / "root.key").read_bytes()
    done = invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=NEW, HANDRAIL_MASTER_KEY_PREVIOUS="33" * 32)
    assert done.exit_code == 2
    assert (home / "root.key").read_bytes() == before


@pytest.mark.parametrize("previous", ["wrong", "missing"])
def test_no_new_master_key_is_made_before_the_old_one_opened_the_root(home: Path, previous: str) -> None:
    (home / "master.key").rename(home / "master.key.old")
    other = home / "other"
    if previous == "wrong":
        other.write_text("33" * 32)
        other.chmod(0o600)
    done = invoke(home, "keys", "rewrap", HANDRAIL_KEYS__MASTER_KEY_PREVIOUS_FILE=str(other))
    assert done.exit_code == 2, "a file is wrong; nothing is away"
    assert not (home / "master.key").exists(), "whoever runs 'mv master.key master.key.old' again loses the old one"


def test_a_root_that_went_missing_is_not_made_anew(home: Path) -> None:
    (home / "root.key").rename(home.parent / "kept")
    refused = invoke(home, "init")
    assert refused.exit_code != 0
    assert "root.key is missing" in refused.output
    assert "root.key is missing" in looked_at(home)["detail"], "doctor does not call well what does not start"
    assert not (home / "root.key").exists()
    (home.parent / "kept").rename(home / "root.key")
    assert invoke(home, "init").exit_code == 0


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["database", "file"])
def test_a_new_home_on_a_database_that_is_in_use_gets_no_root_of_its_own(
    tmp_path: Path, postgres_url: str, store: str
) -> None:
    there = {"HANDRAIL_DATABASE__URL": postgres_url, "HANDRAIL_KEYS__STORE": store}
    assert invoke(tmp_path / "home", "init", **there).exit_code == 0
    new = tmp_path / "new"
    refused = invoke(new, "init", **there)
    assert refused.exit_code != 0
    assert "root.key is missing" in refused.output
    assert not list(new.rglob("*")), "nothing is left behind"
    shared = {name: str(tmp_path / "home" / file) for name, file in SHARED.items()}
    assert invoke(new, "init", **there, **shared).exit_code == 0


def test_a_home_that_lost_all_but_its_database_gets_no_root(home: Path) -> None:
    for path in (*(home / "keys").iterdir(), *(home / "epochs").iterdir(), home / "root.key", home / "master.key"):
        path.unlink()
    refused = invoke(home, "init")
    assert refused.exit_code != 0
    assert "root.key is missing" in refused.output
    assert not (home / "root.key").exists()
    assert not (home / "master.key").exists()


def test_where_rows_cannot_be_asked_for_no_root_is_made(tmp_path: Path) -> None:
    url = "postgresql+psycopg://user:hunter2@127.0.0.1:9/handrail"
    refused = invoke(tmp_path / "home", "init", HANDRAIL_DATABASE__URL=url)
    assert refused.exit_code == 3, refused.output
    assert "hunter2" not in refused.output
    assert not list((tmp_path / "home").rglob("*"))


def looked_at(home: Path) -> Any:
    """What ``doctor`` finds of the keys."""
    found = json.loads(invoke(home, "doctor", "--json").stdout)["findings"]
    return next(one for one in found if one["name"] == "keys")


def test_doctor_opens_every_key_as_a_start_does(home: Path) -> None:
    assert looked_at(home)["state"] == "ok"
    [kept, *_] = sorted((home / "keys").glob("*.json"))
    before = kept.read_bytes()
    kept.write_bytes(before.replace(b'"', b"'", 1))
    broken = looked_at(home)
    assert (broken["state"], kept.name in broken["detail"]) == ("missing", True)
    kept.write_bytes(before)
    (home / "keys" / "strange").touch()
    strange = looked_at(home)
    assert (strange["state"], "not a key file" in strange["detail"]) == ("missing", True)


def test_where_the_log_cannot_be_told_the_command_says_so(home: Path) -> None:
    old = (home / "master.key").read_text().strip()
    (home / "handrail.db").rename(home / "elsewhere")
    done = invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=NEW, HANDRAIL_MASTER_KEY_PREVIOUS=old)
    assert done.exit_code == 1
    assert "not on record" in done.output
    assert "run it again" in done.output
    again = invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=NEW)
    assert again.exit_code == 1, "whether it is on record is still not known"
    (home / "elsewhere").rename(home / "handrail.db")
    assert invoke(home, "init", HANDRAIL_MASTER_KEY=NEW).exit_code == 0
    assert invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=NEW).exit_code == 0
    assert generations_on_record(home) == [2]


@pytest.mark.postgres
def test_keys_are_carried_into_the_database_and_back(tmp_path: Path, postgres_url: str) -> None:
    home, url = tmp_path / "home", {"HANDRAIL_DATABASE__URL": postgres_url}
    there = {**url, "HANDRAIL_KEYS__STORE": "database"}
    assert invoke(home, "init", **url).exit_code == 0
    done = invoke(home, "keys", "carry", "--json", **there)
    assert done.exit_code == 0, done.output
    count = json.loads(done.stdout)["keys"]
    assert count == len(list((home / "keys").glob("*.json")))
    again = invoke(home, "keys", "carry", "--json", **there)
    assert json.loads(again.stdout)["keys"] == count
    for path in (home / "keys").glob("*.json"):
        path.unlink()
    assert invoke(home, "init", **there).exit_code == 0
    assert not list((home / "keys").glob("*.json"))
    assert invoke(home, "keys", "carry", **url).exit_code == 0
    assert len(list((home / "keys").glob("*.json"))) == count
    assert invoke(home, "audit", "fsck", **url).exit_code == 0


@pytest.mark.postgres
def test_keys_are_not_carried_over_others(tmp_path: Path, postgres_url: str) -> None:
    home, url = tmp_path / "home", {"HANDRAIL_DATABASE__URL": postgres_url}
    there = {**url, "HANDRAIL_KEYS__STORE": "database"}
    assert invoke(home, "init", **url).exit_code == 0
    assert invoke(home, "init", **there).exit_code == 0  # made keys of its own
    refused = invoke(home, "keys", "carry", **there)
    assert refused.exit_code == 2
    assert "holds another key" in refused.output


@pytest.mark.postgres
def test_a_gateway_with_keys_in_the_database_has_none_in_its_home_or_its_backups(
    tmp_path: Path, postgres_url: str
) -> None:
    home = tmp_path / "home"
    there = {"HANDRAIL_DATABASE__URL": postgres_url, "HANDRAIL_KEYS__STORE": "database"}
    assert invoke(home, "init", **there).exit_code == 0
    assert not (home / "keys").exists()
    out, copy = tmp_path / "backup", tmp_path / "copy"
    done = invoke(home, "backup", "create", "--out", str(out), "--keys", str(copy), **there)
    assert done.exit_code == 0, done.output
    engine = make_engine(postgres_url)
    with engine.connect() as connection:
        documents = connection.exec_driver_sql("SELECT kid, document FROM signing_keys").all()
    engine.dispose()
    assert {kid: (copy / "keys" / f"{kid}.json").read_text() for kid, _ in documents} == dict(map(tuple, documents))
    whole = b"".join(path.read_bytes() for path in out.iterdir())
    assert not any(document.encode() in whole for _, document in documents)
    refused = invoke(home, "backup", "restore", str(out), "--into", str(tmp_path / "new.db"), **there)
    assert refused.exit_code == 2
    assert "keys carry" in refused.output


def test_keys_in_the_database_need_postgresql(tmp_path: Path) -> None:
    refused = invoke(tmp_path / "home", "init", HANDRAIL_KEYS__STORE="database")
    assert refused.exit_code == 2
    assert "PostgreSQL" in refused.output


async def revoked_and_put_back(settings: Settings, purpose: Purpose) -> None:
    """A gateway's home in which somebody wrote a revoked key's file over with the copy from before."""
    gateway = build(settings)
    await gateway.prepare()
    kid = str(gateway.keyset.active_jwk(purpose)["kid"])
    file = settings.home / "keys" / f"{kid}.json"
    before = file.read_bytes()
    await gateway.key_changes.make(gateway.keyset.revoke, kid, "default", "p-someone")
    await gateway.close()
    file.write_bytes(before)


async def test_a_revoked_key_that_is_put_back_stops_the_start_because_the_log_knows(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    await revoked_and_put_back(settings, Purpose.STEP)
    gateway = build(settings)
    with pytest.raises(KeyUnavailable, match="older copy"):
        await gateway.prepare()
    await gateway.close()


def test_a_revoked_key_that_is_put_back_signs_for_no_command_either(tmp_path: Path) -> None:
    home = tmp_path / "home"
    asyncio.run(revoked_and_put_back(Settings(home=home), Purpose.CHECKPOINT))
    before = entries(home)
    hold = ("retention", "hold", "set", "--case", "c", "--first", "0", "--last", "1")
    old = (home / "master.key").read_text().strip()
    both = {"HANDRAIL_MASTER_KEY": NEW, "HANDRAIL_MASTER_KEY_PREVIOUS": old}
    for words, environment, code in ((hold, {}, 2), (("keys", "rewrap"), both, 1)):
        done = invoke(home, *words, **environment)
        assert done.exit_code == code, words
        assert "older copy" in done.output, words
    assert entries(home) == before
    assert invoke(home, "keys", "rewrap", HANDRAIL_MASTER_KEY=NEW).exit_code == 1, "still not on record"


@pytest.mark.postgres
def test_a_revoked_key_that_is_put_back_is_not_carried(tmp_path: Path, postgres_url: str) -> None:
    home = tmp_path / "home"
    asyncio.run(revoked_and_put_back(Settings(home=home, database={"url": postgres_url}), Purpose.CHECKPOINT))
    there = {"HANDRAIL_DATABASE__URL": postgres_url, "HANDRAIL_KEYS__STORE": "database"}
    refused = invoke(home, "keys", "carry", **there)
    assert refused.exit_code == 2
    assert "older copy" in refused.output
    engine = make_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM signing_keys").scalar_one() == 0
    engine.dispose()


def test_a_posture_does_not_take_a_revoked_key_that_is_put_back_for_one_in_use(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    asyncio.run(revoked_and_put_back(settings, Purpose.CHECKPOINT))
    scene = Scene(settings, 0.0)
    with pytest.raises(KeyUnavailable, match="older copy"):
        _ = scene.signing_keys
    scene.close()


def entries(home: Path) -> int:
    engine = make_engine(Settings(home=home).database_url)
    with engine.connect() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM entries").scalar_one()
    engine.dispose()
    return count


def test_keys_that_are_locked_are_away_and_may_be_there_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keys.stores.file.LOCK_WAIT_SECONDS", 0.1)
    with Files(home / "keys").lock():
        held = invoke(home, "init")
    assert held.exit_code == 3
    assert "keeps the keys locked" in held.output
    (home / "keys").chmod(0o755)
    opened = invoke(home, "init")
    assert (opened.exit_code, "open to others" in opened.output) == (2, True), "nobody but a person mends that"
