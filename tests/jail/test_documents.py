"""docs/sandbox.md says what the code does."""

import re
from dataclasses import replace
from pathlib import Path

from hand_adapters.jail.profiles import PROFILES
from tests.jail.adapters.attempts import ATTEMPTS
from tests.jail.battery.table import PROBES

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_probe_is_listed_with_what_stops_it_and_none_else() -> None:
    table = DOCUMENT.split("| probe | what it tries | what stops it |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", table, flags=re.MULTILINE)
    assert listed == [(probe.name, probe.tries, probe.stopped_by) for probe in PROBES]


def test_every_attempt_of_a_module_is_listed_and_none_else() -> None:
    table = DOCUMENT.split("| attempt | what it tries | what stops it |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", table, flags=re.MULTILINE)
    assert listed == [(attempt.name, attempt.tries, attempt.stopped_by) for attempt in ATTEMPTS]


def row(name: str) -> list[str]:
    found = re.search(rf"^\| {re.escape(name)} \| (.+?) \| (.+?) \| .+ \|$", DOCUMENT, flags=re.MULTILINE)
    assert found, name
    return [found[1], found[2]]


def mib(size: int) -> str:
    return f"{size // 2**30} GiB" if size % 2**30 == 0 else f"{size // 2**20} MiB"


def test_the_profiles_are_documented_with_their_numbers() -> None:
    profiles = [PROFILES["default"], PROFILES["strict"]]
    assert PROFILES.keys() == {"default", "strict", "build"}
    assert replace(PROFILES["build"], executes_written=False) == PROFILES["default"]
    assert not any(profile.executes_written for profile in profiles)
    assert row("tasks (processes and threads)") == [str(profile.processes) for profile in profiles]
    assert row("memory of the jail") == [mib(profile.memory_bytes) for profile in profiles]
    assert row("`/tmp`, `/dev/shm`") == [f"{mib(p.tmp_bytes)}, {mib(p.shm_bytes)}" for p in profiles]
    assert row("open files, largest file") == [f"{p.open_files}, {mib(p.file_bytes)}" for p in profiles]
    assert row("without a cgroup: tasks, address space of each") == [
        f"{p.bare_processes}, {mib(p.bare_address_space_bytes)}" for p in profiles
    ]


def test_every_test_and_probe_that_is_named_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) >= 10
    assert {name for name in named if f"def {name}(" not in sources} == set()
    assert set(re.findall(r"probe `(\w+)`", DOCUMENT)) <= {probe.name for probe in PROBES}
