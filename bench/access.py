"""A gateway of its own for one measurement: prepared in this process, then served by ``handrail serve``, pinned."""

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from handrail import Signer, SigningKey

from audit.database import make_engine
from audit.fsck import check
from bench.load import BenchError
from bench.processes import SERVER_CORE, free_port, pinned
from gateway.app import build
from gateway.settings import Settings, load
from gateway.store.directory_rows import NewPrincipal

CONFIGURATION = """\
home = "{home}"

# One principal asks as much as all would.
[limits]
requests_per_second = 1000000
requests_burst = 1000000

[server]
port = {port}

[log]
origin = "bench.handrail.local/log"

# Gateway and evaluators share one core here: with many connections an evaluator waits for it longer than it works.
[policy]
deadline_milliseconds = 2000

[telemetry]
log_level = "warning"

[hands.upstream]
adapter = "http"
base_url = "http://127.0.0.1:{upstream}"
private_network = true

[hands.upstream.actions.item]
method = "GET"
path = "/item/{{name}}"
description = "Read one item."
side_effects = "none"
idempotent = true

[hands.upstream.actions.item.args_schema]
type = "object"
properties = {{ name = {{ type = "string", minLength = 1, maxLength = 64 }} }}
required = ["name"]
additionalProperties = false
"""


@dataclass(frozen=True, slots=True)
class Access:
    """A running gateway and what is needed to use and check it."""

    pid: int
    port: int
    settings: Settings
    signer: Signer
    agent_token: str
    auditor_token: str

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def check_log(self) -> int:
        """Check every entry of the log; returns how many there are.

        Raises:
            BenchError: naming what is wrong.
        """
        entries = 0

        def note(_done: int, total: int) -> None:
            nonlocal entries
            entries = total

        engine = make_engine(self.settings.database_url)
        try:
            findings = list(check(engine, progress=note))
        finally:
            engine.dispose()
        if findings:
            raise BenchError(f"the log is damaged: {findings[0]}")
        return entries


@contextlib.asynccontextmanager
async def governed_gateway(directory: Path, upstream_port: int) -> AsyncIterator[Access]:
    """Prepare and serve a gateway until the block ends."""
    port = free_port()
    configuration = directory / "handrail.toml"
    configuration.write_text(
        CONFIGURATION.format(home=directory / "home", port=port, upstream=upstream_port), encoding="utf-8"
    )
    settings = load(configuration)
    signer, tokens = await prepare(settings)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
    with pinned(SERVER_CORE, command, port, directory / "gateway.log", environment) as process:
        yield Access(process.pid, port, settings, signer, tokens["agent"], tokens["auditor"])


async def prepare(settings: Settings) -> tuple[Signer, dict[str, str]]:
    """The first principals, the issuer and the pin of the hand; returns the signer and a token for each principal."""
    gateway = build(settings)
    await gateway.start()
    try:
        people = [
            NewPrincipal("agent", ["agent"]),
            NewPrincipal("auditor", ["auditor"]),
            NewPrincipal("admin", ["security_admin", "operator"]),
        ]
        added = await gateway.directory.bootstrap(people)
        tokens = {view["principal"]["id"]: str(view["api_key"]["token"]) for view in added}
        admin = await gateway.directory.authenticate(tokens["admin"], time.time())
        key = SigningKey.generate()
        await gateway.directory.add_issuer(admin, "bench", dict(key.public.public_jwk()), ["agent"])
        offered = await gateway.hands.offer("upstream")
        await gateway.hands.pin("upstream", offered.digest, admin)
        tenant = admin.tenant
    finally:
        await gateway.close()
    signer = Signer(issuer="bench", key=key, audience=settings.log.origin, tenant=tenant, subject="agent")
    return signer, tokens
