"""Following a bundle directory: a good change takes effect at once, a bad one leaves the old active, loudly."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import Unavailable
from gateway.policy import BundleError, EventKind, PolicyEvent, ReloadingEngine, load_engine
from gateway.reasons import Reason
from gateway.settings import PolicySettings
from tests.policy.support import OPEN, SHIPPED, ask, said, step, write

OPENS = OPEN.replace("EFFECT", "allow")


class Journal:
    """What the gateway would write into its log; can be made to fail."""

    def __init__(self) -> None:
        self.events: list[PolicyEvent] = []
        self.broken = False

    async def __call__(self, event: PolicyEvent) -> None:
        if self.broken:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        self.events.append(event)


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
async def engine(tmp_path: Path, journal: Journal) -> AsyncIterator[ReloadingEngine]:
    write(tmp_path, {"a.rego": OPENS})
    made = load_engine(
        PolicySettings(bundle=tmp_path, workers=1, deadline_milliseconds=2000, reload_interval_seconds=3600), journal
    )
    await made.start()
    yield made
    await made.close()


async def effect(engine: ReloadingEngine, hand: str = "known") -> tuple[str, list[str]]:
    return said((await engine.decide(ask(step(hand=hand))))["s1"])


async def test_changing_one_rule_changes_the_decision(
    engine: ReloadingEngine, journal: Journal, tmp_path: Path
) -> None:
    before = engine.digest
    assert await effect(engine) == ("allow", [])
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    await engine.reload()
    assert await effect(engine) == ("ask", [])
    assert [(event.kind, event.digest, event.active) for event in journal.events] == [
        (EventKind.ACTIVATED, before, ""),
        (EventKind.ACTIVATED, engine.digest, before),
    ]


async def test_changing_data_changes_the_decision(engine: ReloadingEngine, tmp_path: Path) -> None:
    by_data = OPEN.replace('{"known": "EFFECT"}', "data.handrail.effects")
    write(tmp_path, {"a.rego": by_data, "handrail/data.json": '{"effects": {"known": "ask"}}'})
    await engine.reload()
    assert await effect(engine) == ("ask", [])
    write(tmp_path, {"handrail/data.json": '{"effects": {"known": "allow"}}'})
    await engine.reload()
    assert await effect(engine) == ("allow", [])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.rego": "package handrail\n\ndecisions := {\n"}, "a.rego:4:1: syntax error"),
        ({"a.rego": OPENS + "\nx := http.send({})\n"}, "a.rego:8:6: http.send is forbidden"),
        ({"a.rego": OPENS.replace('"deny")', '"allow")')}, "self-test: allow for an unknown"),
        ({"handrail/data.json": "{"}, "handrail/data.json: not strict JSON"),
    ],
    ids=["syntax", "builtin", "self-test", "data"],
)
async def test_a_bad_bundle_leaves_the_old_active_loudly(
    engine: ReloadingEngine,
    journal: Journal,
    tmp_path: Path,
    files: dict[str, str],
    problem: str,
) -> None:
    before = engine.digest
    write(tmp_path, files)
    with capture_logs() as logs:
        await engine.reload()
        await engine.reload()
    assert engine.digest == before
    assert await effect(engine) == ("allow", [])
    assert engine.problem is not None
    assert problem in engine.problem
    assert [line["log_level"] for line in logs] == ["error"]
    assert problem in logs[0]["detail"]
    await engine.ready()
    rejected = [event for event in journal.events if event.kind is EventKind.REJECTED]
    assert len(rejected) == 1
    assert rejected[0].active == before
    assert any(problem in str(one) for one in rejected[0].problems)


async def test_putting_the_old_files_back_clears_the_problem(engine: ReloadingEngine, tmp_path: Path) -> None:
    write(tmp_path, {"a.rego": "broken"})
    await engine.reload()
    assert engine.problem is not None
    write(tmp_path, {"a.rego": OPENS})
    await engine.reload()
    assert engine.problem is None


async def test_an_activation_that_cannot_be_recorded_waits(
    engine: ReloadingEngine, journal: Journal, tmp_path: Path
) -> None:
    before = engine.digest
    write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
    journal.broken = True
    await engine.reload()
    assert (engine.digest, await effect(engine)) == (before, ("allow", []))
    assert engine.problem is not None
    journal.broken = False
    await engine.reload()
    assert await effect(engine) == ("ask", [])
    assert engine.problem is None


async def test_the_directory_is_followed_without_being_asked(tmp_path: Path, journal: Journal) -> None:
    write(tmp_path, {"a.rego": OPENS})
    changed = asyncio.Event()

    async def on_event(event: PolicyEvent) -> None:
        await journal(event)
        if len(journal.events) == 2:
            changed.set()

    settings = PolicySettings(bundle=tmp_path, workers=1, reload_interval_seconds=0.01)
    engine = load_engine(settings, on_event)
    await engine.start()
    try:
        write(tmp_path, {"a.rego": OPEN.replace("EFFECT", "ask")})
        async with asyncio.timeout(60):
            await changed.wait()
    finally:
        await engine.close()
    assert journal.events[1].kind in {EventKind.ACTIVATED, EventKind.REJECTED}


@pytest.mark.parametrize("text", ["broken", OPENS.replace('"deny")', '"allow")')])
async def test_a_gateway_does_not_start_with_a_bad_bundle(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"a.rego": text})
    engine = load_engine(PolicySettings(bundle=tmp_path, workers=1))
    with pytest.raises(BundleError):
        await engine.start()
    assert said((await engine.decide(ask(step())))["s1"]) == ("deny", ["policy.unavailable"])
    await engine.close()


async def test_every_code_of_the_shipped_policies_is_located() -> None:
    engine = load_engine(PolicySettings(bundle=SHIPPED, workers=1))
    await engine.start()
    try:
        found = engine.locate("paths.outside", engine.digest)
        assert found is not None
        lines = (SHIPPED / found["file"]).read_text().splitlines()
        assert '"paths.outside"' in lines[found["line"] - 1]
        assert found["rule"].startswith("data.handrail.paths.")
        assert found["title"]
        assert found["severity"] == "critical"
        codes = {
            code
            for name in ("grants", "limits", "paths", "secrets", "side_effects")
            for code in _codes((SHIPPED / f"handrail/{name}/{name}.rego").read_text(), name)
        }
        assert len(codes) > 10
        assert {code for code in codes if engine.locate(code, engine.digest) is None} == set()
        assert engine.locate("no.such_code", engine.digest) is None
        assert engine.locate("paths.outside", "0" * 64) is None
        assert engine.files
    finally:
        await engine.close()


def _codes(text: str, name: str) -> set[str]:
    return set(re.findall(rf'"({name}\.[a-z_]+)"', text))
