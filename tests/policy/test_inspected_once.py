"""A bundle that passed is not parsed again by this process; any other is, and one that did not pass always is."""

from pathlib import Path
from typing import Any

import pytest

from gateway.policy import inspection
from gateway.policy.bundle import Bundle, load
from gateway.policy.faults import BundleError
from gateway.policy.process import EvaluatorProcess

GOOD = "package handrail\n\nimport rego.v1\n\ndecisions contains {} if false\n"
BAD = "package handrail\n\nimport rego.v1\n\ndecisions contains {} if http.send({})\n"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each parser that was started."""
    found: list[int] = []
    real = EvaluatorProcess.start

    async def start(limit: int) -> EvaluatorProcess:
        found.append(limit)
        return await real(limit)

    monkeypatch.setattr(inspection.EvaluatorProcess, "start", start)
    monkeypatch.setattr(inspection, "_passed", {})
    return found


def bundle(directory: Path, rego: str, **data: Any) -> Bundle:
    directory.mkdir(exist_ok=True)
    (directory / "rules.rego").write_text(rego)
    if data:
        (directory / "handrail").mkdir(exist_ok=True)
        (directory / "handrail" / "data.json").write_text(str(data["json"]))
    return load(directory)


async def test_the_same_is_known_wherever_it_lies(tmp_path: Path, started: list[int]) -> None:
    first = await inspection.inspect(bundle(tmp_path / "a", GOOD))
    assert await inspection.inspect(bundle(tmp_path / "b", GOOD)) == first
    assert len(started) == 1


async def test_other_rules_or_data_are_looked_at(tmp_path: Path, started: list[int]) -> None:
    for number, data in enumerate(({}, {"json": '{"a":{"n":1}}'}, {"json": '{"a":{"n":2}}'}), 1):
        await inspection.inspect(bundle(tmp_path / "a", GOOD, **data))
        assert len(started) == number
    await inspection.inspect(bundle(tmp_path / "b", GOOD + "# another\n"))
    assert len(started) == 4


async def test_what_did_not_pass_is_refused_again(tmp_path: Path, started: list[int]) -> None:
    refused = bundle(tmp_path / "a", BAD)
    for number in (1, 2):
        with pytest.raises(BundleError, match=r"http\.send"):
            await inspection.inspect(refused)
        assert len(started) == number


async def test_no_more_are_kept_than_promised(tmp_path: Path, started: list[int]) -> None:
    for number in range(inspection.PASSED_MAX + 2):
        await inspection.inspect(bundle(tmp_path / "a", f"{GOOD}# {number}\n"))
    assert len(inspection._passed) == inspection.PASSED_MAX
    await inspection.inspect(bundle(tmp_path / "a", f"{GOOD}# 0\n"))
    assert len(started) == inspection.PASSED_MAX + 3
