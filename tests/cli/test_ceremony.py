"""A key made before several people: the record says who, and nobody else can have it say so."""

import copy
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handrail import SigningKey
from handrail import jws as client_jws
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from keys.stores.master import MasterKey


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, SigningKey]:
    monkeypatch.chdir(tmp_path)
    keys = {name: SigningKey.generate() for name in ("ann", "bob", "eve")}
    for name, key in keys.items():
        key.save(tmp_path / f"{name}.jwk")
    return keys


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["keys", "ceremony", *words], env={"COLUMNS": "200"})


def make(kind: str = "master", *more: str) -> Result:
    return run("make", kind, "--out", "one", "--attendant", "ann=ann.jwk", "--attendant", "bob=bob.jwk", "--record",
               "record.json", *more)  # fmt: skip


def check(*more: str, who: tuple[str, ...] = ("ann", "bob")) -> Result:
    named = [word for name in who for word in ("--attendant", f"{name}={name}.jwk")]
    return run("check", "record.json", *named, *more)


@pytest.mark.usefixtures("people")
def test_a_master_key_can_be_used_and_its_record_tells_nothing_of_it() -> None:
    made = make("master", "--out", "two", "--witness", "Eve, audit")
    assert made.exit_code == 0, made.output
    secret = Path("one").read_text().strip()
    assert Path("two").read_text().strip() == secret
    assert all(stat.S_IMODE(Path(name).stat().st_mode) == 0o600 for name in ("one", "two"))
    assert MasterKey.load(Path("one"), {}).derive("x") == MasterKey.load(Path("two"), {}).derive("x")
    record = Path("record.json").read_text()
    assert secret not in record + made.output
    assert "Eve, audit" in record
    assert check("--file", "one", "--file", "two").exit_code == 0


def test_a_signing_key_is_one_of_a_person(people: dict[str, SigningKey]) -> None:
    assert make("signing").exit_code == 0
    made = SigningKey.load("one")
    assert json.loads(Path("record.json").read_text())["transcript"]["fingerprint"] == made.kid
    assert made.kid not in {key.kid for key in people.values()}
    assert check("--file", "one").exit_code == 0


def _another_file(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    document["transcript"]["outputs"][0]["sha256"] = "0" * 64


def _another_witness(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    document["transcript"]["witnesses"] = ["the auditor"]


def _one_signature(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    del document["signatures"][1]


def _one_person_twice(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    document["signatures"][1] = document["signatures"][0]


def _another_class(document: dict[str, Any], people: dict[str, SigningKey]) -> None:
    document["signatures"][1] = client_jws.sign("approval+jws", document["transcript"], people["bob"])


def _a_third_signs_for_one(document: dict[str, Any], people: dict[str, SigningKey]) -> None:
    document["signatures"][1] = client_jws.sign("ceremony+jws", document["transcript"], people["eve"])


def _another_version(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    document["v"] = 2


def _more(document: dict[str, Any], _: dict[str, SigningKey]) -> None:
    document["transcript"]["note"] = "trust me"


@pytest.mark.parametrize(
    "bend",
    [_another_file, _another_witness, _one_signature, _one_person_twice, _another_class, _a_third_signs_for_one,
     _another_version, _more],
)  # fmt: skip
def test_a_record_that_was_changed_does_not_hold(
    people: dict[str, SigningKey], bend: Callable[[dict[str, Any], dict[str, SigningKey]], None]
) -> None:
    make()
    document = json.loads(Path("record.json").read_text())
    changed = copy.deepcopy(document)
    bend(changed, people)
    Path("record.json").write_text(json.dumps(changed))
    assert check().exit_code == 1
    Path("record.json").write_text(json.dumps(document))
    assert check().exit_code == 0


@pytest.mark.usefixtures("people")
def test_whoever_checks_says_who_took_part() -> None:
    make()
    assert check(who=("ann", "eve")).exit_code == 1
    assert check(who=("ann", "bob", "eve")).exit_code == 1
    assert check(who=("ann",)).exit_code == 2
    Path("strange").write_text("0" * 64)
    assert "no file that the ceremony made" in check("--file", "strange").output


@pytest.mark.usefixtures("people")
def test_one_person_makes_no_key_and_nothing_is_written_over() -> None:
    alone = run("make", "master", "--out", "one", "--attendant", "ann=ann.jwk", "--record", "record.json")
    assert alone.exit_code == 2
    Path("ann2.jwk").write_bytes(Path("ann.jwk").read_bytes())
    Path("ann2.jwk").chmod(0o600)
    twice = run("make", "master", "--out", "one", "--attendant", "ann=ann.jwk", "--attendant", "bob=ann2.jwk",
                "--record", "record.json")  # fmt: skip
    assert twice.exit_code == 2
    assert not Path("one").exists()
    assert make().exit_code == 0
    before = Path("one").read_bytes()
    assert make().exit_code == 2
    assert Path("one").read_bytes() == before
