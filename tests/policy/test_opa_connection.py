"""Between the gateway and a real OPA: TLS, a server that is away for a moment, and one that stays away."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.policy.breaker import THRESHOLD
from gateway.policy.engine import make_backend
from gateway.policy.faults import EngineUnavailable
from gateway.policy.opa import OpaEngine
from gateway.policy.opa_client import tls_context
from gateway.settings import PolicySettings, SettingsError
from tests.authority import Authority
from tests.policy.support import OPEN, ask, inspected, record, said, step, write
from tests.ports import free_port
from tests.until import until

pytestmark = pytest.mark.opa


# --- TLS -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opa_with(program: Path, *options: str) -> AsyncIterator[int]:
    """A real OPA with ``options`` on a free port; yields the port once it listens."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program, "run", "--server", f"--addr=127.0.0.1:{port}", "--log-level=error", "--disable-telemetry", *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env={"PATH": os.defpath},
    )  # fmt: skip
    try:
        await listens(port)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def listens(port: int) -> None:
    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(answers)


def settings(port: int, **members: object) -> PolicySettings:
    return PolicySettings.model_validate(
        {"engine": "opa", "opa_url": f"https://127.0.0.1:{port}", "deadline_milliseconds": 2000, **members}
    )


async def decided(configured: PolicySettings, bundle: Path) -> tuple[str, list[str]]:
    write(bundle, {"a.rego": OPEN.replace("EFFECT", "allow")})
    engine = make_backend(configured)
    try:
        await engine.activate(await inspected(bundle), record)
        return said((await engine.decide(ask(step())))["s1"])
    finally:
        await engine.close()


async def test_a_server_is_verified_and_a_client_certificate_is_shown(opa_program: Path, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    certificate, key = ours.issue("server")
    mine, my_key = ours.issue("gateway")
    options = [f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", "--authentication=tls"]
    async with opa_with(opa_program, *options, f"--tls-ca-cert-file={ours.certificate}") as port:
        shown = {"opa_certificate_file": mine, "opa_certificate_key_file": my_key}
        good = settings(port, opa_ca_file=ours.certificate, **shown)
        assert await decided(good, tmp_path / "bundle") == ("allow", [])
        for bad in (
            settings(port, **shown),  # the system's authorities do not know this one
            settings(port, opa_ca_file=theirs.certificate, **shown),
            settings(port, opa_ca_file=ours.certificate),  # and who are you?
        ):
            with pytest.raises(EngineUnavailable):
                await decided(bad, tmp_path / "bundle")


def test_tls_files_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    for members in (
        {"opa_ca_file": tmp_path / "missing"},
        {"opa_ca_file": nonsense},
        {"opa_certificate_file": nonsense},
    ):
        with pytest.raises(SettingsError):
            tls_context(settings(1, **members))


@pytest.mark.parametrize("member", ["opa_ca_file", "opa_certificate_file", "opa_certificate_key_file"])
def test_tls_files_for_a_server_without_tls_are_a_mistake_that_is_named(member: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="https"):
        settings(1, opa_url="http://127.0.0.1:8181", **{member: tmp_path / "x.pem"})


# --- a server that is away -------------------------------------------------------------------------------------------


@dataclass
class Road:
    """A TCP forwarder between engine and server, which can be cut."""

    to: int
    port: int = 0
    refusals: int = 0
    """Connections to close at once, before the next one is let through."""
    hangs: bool = False
    """Whether new connections are taken and then left without an answer."""
    connections: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        if self.refusals:
            self.refusals -= 1
            writer.close()
            return
        if self.hangs:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_pump(source, sink))
            self._tasks.add(task)

    def cut(self) -> None:
        """Close every connection that is open."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def road(url: str) -> AsyncIterator[Road]:
    made = Road(int(url.rsplit(":", 1)[1]))
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await made.close()
        server.close()


class Clock:
    """Monotonic seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def engine_on(road: Road, bundle: Path, **changes: object) -> AsyncIterator[OpaEngine]:
    write(bundle, {"a.rego": OPEN.replace("EFFECT", "allow")})
    made = OpaEngine(
        f"http://127.0.0.1:{road.port}", None, **{"deadline_seconds": 2.0, "input_max_bytes": 100_000, **changes}
    )
    try:
        await made.activate(await inspected(bundle), record)
        yield made
    finally:
        await made.close()


async def asked(engine: OpaEngine) -> tuple[str, list[str]]:
    return said((await engine.decide(ask(step())))["s1"])


async def test_a_connection_that_breaks_is_asked_over_again_within_the_deadline(opa_url: str, tmp_path: Path) -> None:
    async with road(opa_url) as way, engine_on(way, tmp_path) as engine:
        for refusals in (0, 1, 2):
            way.cut()
            way.refusals = max(0, refusals - 1)
            assert await asked(engine) == ("allow", [])


async def test_all_retries_together_keep_the_one_deadline(opa_url: str, tmp_path: Path) -> None:
    async with road(opa_url) as way, engine_on(way, tmp_path, deadline_seconds=0.2) as engine:
        way.cut()
        way.hangs = True
        assert await asked(engine) == ("deny", ["policy.timeout"])


async def test_a_server_that_stays_away_is_left_alone_and_then_tried_by_one(opa_url: str, tmp_path: Path) -> None:
    clock = Clock()
    async with road(opa_url) as way, engine_on(way, tmp_path, clock=clock) as engine:
        way.cut()
        way.refusals = 10**9
        for _ in range(THRESHOLD):
            assert await asked(engine) == ("deny", ["policy.unavailable"])
        before = way.connections
        outcomes = await asyncio.gather(*(asked(engine) for _ in range(100)))
        assert set(map(str, outcomes)) == {str(("deny", ["policy.unavailable"]))}
        assert way.connections == before
        with pytest.raises(EngineUnavailable):
            await engine.ready()
        way.refusals = 0
        clock.now += 1.0
        await engine.ready()
        first, *others = await asyncio.gather(*(asked(engine) for _ in range(20)))
        assert first == ("allow", [])
        assert set(map(str, others)) == {str(("deny", ["policy.unavailable"]))}
        assert await asked(engine) == ("allow", [])


async def test_a_policy_that_fails_to_evaluate_is_no_reason_to_leave_the_server_alone(
    opa_url: str, tmp_path: Path
) -> None:
    rule = OPEN.replace("EFFECT", "allow") + "\ndecisions contains x if {\n\tx := to_number(input.steps[0].args.n)\n}\n"
    async with road(opa_url) as way, engine_on(way, tmp_path / "first") as engine:
        write(tmp_path / "strict", {"a.rego": rule})
        await engine.activate(await inspected(tmp_path / "strict"), record)
        for _ in range(3 * THRESHOLD):
            assert said((await engine.decide(ask(step(n="x"))))["s1"]) == ("deny", ["policy.error"])
        await engine.activate(await inspected(tmp_path / "first"), record)
        assert await asked(engine) == ("allow", [])
