"""``handrail retention`` on a real home: what it says of holds on places that the log does not have, and of files."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.app import build
from gateway.settings import load
from tests.cli import real


async def trust_of() -> str:
    gateway = await asyncio.to_thread(build, load(None))
    await gateway.prepare()
    document = json.dumps(gateway.trust())
    await gateway.close()
    return document


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("handrail.toml").touch()
    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / "home"))
    assert real.invoke(tmp_path / "home", "init").exit_code == 0
    Path("trust.json").write_text(asyncio.run(trust_of()))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("places", "later", "words"),
    [
        (("--first", "900", "--last", "999"), {"first": 900, "last": 999}, "entries 900 to 999"),
        (("--first", "900"), {"first": 900, "last": None}, "from entry 900 on"),
        (("--first", "0", "--last", "999"), "to 999", "to 999"),
        (("--first", "0"), None, ""),
        (("--first", "0", "--last", "3"), None, ""),
        (("--everything",), None, ""),
        (("--context", "c-1"), None, ""),
    ],
)
def test_a_hold_on_places_that_the_log_does_not_have_says_so_when_set_and_in_the_list(
    home: Path, places: tuple[str, ...], later: object, words: str
) -> None:
    done = real.invoke(home, "retention", "hold", "set", "--case", "2026/17", *places)
    assert done.exit_code == 0, done.output
    assert ("still to come" in done.output) is (later is not None)
    assert words in done.output
    [told] = json.loads(real.invoke(home, "retention", "hold", "list", "--json").stdout)["holds"]
    if later == "to 999":
        later = {"first": told["index"] + 1, "last": 999}
    assert told["not_there_yet"] == later
    assert json.loads(real.invoke(home, "retention", "status", "--json").stdout)["holds"] == [told]
    listed = real.invoke(home, "retention", "hold", "list").output
    assert ("not in the log yet" in listed) is (later is not None)
    assert words in listed


def test_of_a_file_that_is_no_partition_its_name_is_told(home: Path) -> None:
    Path("bad.ndjson").write_text("{}\n")
    done = real.invoke(home, "retention", "verify-archive", "--trust", "trust.json", "bad.ndjson")
    assert done.exit_code == 1
    assert "bad.ndjson: not the 4097 lines" in done.output
    assert "Nothing." not in done.output
    document = json.loads(
        real.invoke(home, "retention", "verify-archive", "--trust", "trust.json", "bad.ndjson", "--json").stdout
    )
    assert (document["verified"], "bad.ndjson" in document["why"]) == (False, True)
