"""``handrail doctor``: what is missing on this machine, and how to get it."""

import importlib.util
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gateway.cli.command import command, noun
from gateway.cli.config import check_declared
from gateway.cli.exits import Exit
from gateway.cli.options import Config
from gateway.cli.output import Output, how_often
from gateway.errors import HandrailError
from gateway.settings import Settings, load

app = noun("doctor")

OK: Final = "ok"
MISSING: Final = "missing"
"""Needed: the exit code is 1."""
OPTIONAL: Final = "absent"
"""Not needed to serve."""
FROZEN: Final = "frozen"
"""Found, and not in the way of serving."""
OVERDUE: Final = "overdue"
"""The same."""
ALONE: Final = "alone"
"""One person may do what should take two; not in the way of serving."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for."""

    name: str
    state: str
    detail: str
    remedy: str = ""


@command(app, example="doctor --config handrail.toml", good="nothing needed is missing", negative="something is")
def doctor(out: Output, config: Config = None) -> Exit:
    """Say what this machine has and lacks, and how to get it."""
    findings = list(examine(config))
    document = {"findings": [asdict(finding) for finding in findings]}
    out.show(document, lambda: _show(out, findings))
    return Exit.NEGATIVE if any(finding.state == MISSING for finding in findings) else Exit.GOOD


def _show(out: Output, findings: Sequence[Finding]) -> None:
    out.table(["what", "state", "found"], ([finding.name, finding.state, finding.detail] for finding in findings))
    remedies = [(finding.name, finding.remedy) for finding in findings if finding.remedy]
    if remedies:
        out.section("to do:", style="bold")
        out.facts(remedies)


def examine(config: Path | None) -> Iterator[Finding]:
    """Look at everything a gateway needs. Where the configuration cannot be read, what depends on it is left out."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield (
        Finding("python", OK, version)
        if sys.version_info >= (3, 11)
        else Finding("python", MISSING, version, "Handrail needs Python 3.11 or newer.")
    )
    try:
        settings = load(config)
    except HandrailError as exc:
        yield Finding("configuration", MISSING, exc.detail, "See: handrail config example")
        return
    try:
        check_declared(settings)
    except HandrailError as exc:
        yield Finding("configuration", MISSING, exc.detail, "See: handrail config check")
    else:
        yield Finding("configuration", OK, "readable, every key known")
    for part in (_home, _listener, _frozen, _database, _backup, _keys, _dual_control, _policy_engine):
        yield part(settings)
    yield from _jail(settings)
    for program in _PROGRAMS:
        yield _program(program)


def _home(settings: Settings) -> Finding:
    home = settings.home.absolute()
    try:
        mode = home.stat().st_mode
    except OSError:
        return Finding("home", OK, f"{home} will be made at the first start")
    if not stat.S_ISDIR(mode):
        return Finding("home", MISSING, f"{home} is not a directory", "Choose another HANDRAIL_HOME.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("home", MISSING, f"{home} is open to other users", f"Run: chmod 700 {home}")
    return Finding("home", OK, str(home))


def _listener(settings: Settings) -> Finding:
    from gateway import tls  # noqa: PLC0415 - 'doctor --help' starts without a web server
    from gateway.web.proxies import LISTENER_REMEDY, listener_problem  # noqa: PLC0415

    problem = listener_problem(settings.server)
    if problem is not None:
        return Finding("listener", MISSING, problem, LISTENER_REMEDY)
    if settings.server.tls is None:
        return Finding("listener", OK, f"{settings.server.host}, without TLS")
    try:
        days = tls.days_left(settings.server.tls, time.time())
    except HandrailError as exc:
        return Finding("listener", MISSING, exc.detail, "Mend the files of [server.tls]; see docs/tls.md.")
    remedy = f"Renew {settings.server.tls.certificate}." if days < tls.SOON_DAYS else ""
    return Finding("listener", OK, f"{settings.server.host}, TLS, certificate good for {days:.0f} days", remedy)


def _frozen(settings: Settings) -> Finding:
    from gateway.freeze_journal import FreezeJournal  # noqa: PLC0415

    try:
        kept = FreezeJournal(settings.home).load()
    except HandrailError as exc:
        return Finding(
            "freezes", MISSING, exc.detail, "Mend the file from another gateway's home: no start without it."
        )
    if not kept:
        return Finding("freezes", OK, "nothing is frozen")
    what = ", ".join(f"{one.id} ({one.scope}, {one.cause})" for one in kept)
    return Finding("freezes", FROZEN, what, "Two people lift it: handrail unfreeze ID")


def _database(settings: Settings) -> Finding:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - 'doctor --help' starts without a database layer

    import migrations  # noqa: PLC0415
    from audit.database import make_engine  # noqa: PLC0415

    if settings.database.url is None and not (settings.home / "handrail.db").exists():
        return Finding("database", OK, "SQLite, made at the first start")
    engine = make_engine(settings.database_url)
    where = engine.url.render_as_string(hide_password=True)
    try:
        version = migrations.current(engine)
    except SQLAlchemyError as exc:
        return Finding("database", MISSING, f"{where}: {type(exc).__name__}", "Start it, and check [database] url.")
    finally:
        engine.dispose()
    if version is None:
        return Finding("database", OK, f"{where}, empty", "Filled at the first start, or by: handrail db upgrade")
    return Finding("database", OK, f"{where}, schema {version}")


def _backup(settings: Settings) -> Finding:
    from gateway.posture.log import BACKUP_RECENT  # noqa: PLC0415 - 'doctor --help' starts without a database layer
    from gateway.posture.model import State  # noqa: PLC0415
    from gateway.posture.scene import Scene  # noqa: PLC0415

    if settings.database.url is None and not (settings.home / "handrail.db").exists():
        return Finding("backup", OK, "nothing to back up yet")
    scene = Scene(settings, time.time())
    try:
        verdict = BACKUP_RECENT.look(scene)
    except HandrailError as exc:
        return Finding(
            "backup", OPTIONAL, f"the log cannot be asked: {exc.detail}", "See what is said of the database."
        )
    finally:
        scene.close()
    return Finding("backup", OK if verdict.state is State.PASS else OVERDUE, verdict.detail, verdict.remedy)


def _keys(settings: Settings) -> Finding:
    from gateway.keyring import services as key_services  # noqa: PLC0415 - 'doctor --help' starts without a database layer
    from gateway.keyring import stores as key_stores  # noqa: PLC0415 - 'doctor --help' starts without a database layer

    where = "; ".join([settings.keys.store, *key_services.described(settings)])
    try:
        key_services.try_services(settings)
        if key_stores.is_new(settings):
            return Finding("keys", OK, f"{where}; made at the first start")
        root = key_stores.open_root(settings)
        wrappers = key_services.wrappers(settings)
        if settings.keys.store == "file" and (settings.home / "keys").is_dir():
            key_stores.open_keys(settings, root)
    except HandrailError as exc:
        return Finding("keys", MISSING, exc.detail, "See docs/key-stores.md.")
    changing = "" if wrappers.previous is None else f"; also opened by {wrappers.previous.place} from before"
    return Finding("keys", OK, f"{where}; root {root.id}, wrapped {how_often(root.generation)}{changing}")


def _dual_control(settings: Settings) -> Finding:
    from gateway.keyring import stores as key_stores  # noqa: PLC0415 - 'doctor --help' starts without a database layer
    from gateway.posture.people import alone  # noqa: PLC0415
    from gateway.posture.scene import Scene  # noqa: PLC0415

    name, scene = "dual control", Scene(settings, time.time())
    if key_stores.is_new(settings) or (settings.database.url is None and not (settings.home / "handrail.db").exists()):
        return Finding(name, OK, "off until there are two security admins")
    try:
        tenants = alone(scene)
    except HandrailError as exc:
        return Finding(name, MISSING, exc.detail, "Check the database, and [keys].")
    finally:
        scene.close()
    if tenants:
        what = f"OFF: one person alone changes who decides, in: {', '.join(tenants)}"
        return Finding(name, ALONE, what, "Add a second one: handrail principals add ID --role security_admin")
    return Finding(name, OK, "changes of trust need several security admins")


def _policy_engine(settings: Settings) -> Finding:
    if settings.policy.engine == "opa":
        return Finding("policy engine", OK, f"OPA server at {settings.policy.opa_url}", "Start it before the gateway.")
    if importlib.util.find_spec("regorus") is None:
        remedy = 'Set [policy] engine = "opa": the embedded engine exists for Linux x86-64 and macOS.'
        return Finding("policy engine", MISSING, "the regorus wheel is not installed", remedy)
    return Finding("policy engine", OK, "embedded (regorus)")


def _jail(settings: Settings) -> Iterator[Finding]:
    """Every layer of the jail. Hands that run programs do not load without them; without such hands none is needed."""
    from hand_adapters.jail.doctor import diagnose  # noqa: PLC0415 - tries a jail for real, so only when asked

    needed = any(hand.runs_code and hand.enabled for hand in settings.hands.values())
    for layer in diagnose(settings.jail):
        if layer.name != "python":  # looked at already, whatever becomes of the jail
            state = OK if layer.ok else MISSING if needed else OPTIONAL
            yield Finding(f"jail: {layer.name}", state, layer.detail, layer.remedy)


def _program(program: tuple[str, str, str]) -> Finding:
    name, purpose, remedy = program
    found = shutil.which(name)
    if found is None:
        return Finding(name, OPTIONAL, f"not on PATH; {purpose}", remedy)
    return Finding(name, OK, found)


_PROGRAMS: Final = (
    ("opa", "needed to test policies through both engines", "Run: make tools (needs Go 1.26 or newer)"),
    ("regal", "needed to lint policies", "Run: make tools (needs Go 1.26 or newer)"),
    ("git", "needed by the demonstration's git hand", "Install it: apt-get install git"),
)
"""Name, what it is good for, how to get it."""
