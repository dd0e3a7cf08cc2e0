"""``handrail audit``: query the log, and check it for tampering."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail import MalformedError, Trust
from handrail.entries import verify_page
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from audit.assurance.verified import record_verification
from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.findings import Finding
from audit.fsck import check
from audit.post_quantum import PostQuantumKey
from audit.tables import entries
from audit.witnesses import quorum_of
from gateway.cli import audit_bundle, audit_export
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.options import NO_SECOND_KEY, Config, PostQuantum, both_required
from gateway.cli.output import Output, counted
from gateway.cli.pseudonyms import pseudonym
from gateway.cli.scope import within
from gateway.cli.times import wire_time
from gateway.entries import LABELS, EntryType
from gateway.errors import HandrailError
from gateway.keyring import services as key_services
from gateway.keyring import stores as key_stores
from gateway.settings import Settings, load
from keys.stores.master import VARIABLE

_SHOWN_MAX: Final = 200

app = noun("audit")
app.add_typer(audit_export.app)
app.add_typer(audit_bundle.app)


@command(
    app,
    example="audit query --effect deny --since 7d --count",
    good="they were listed",
    negative="with --trust: an entry is not what the log holds",
)
def query(
    session: Session,
    type_: Annotated[str | None, typer.Option("--type", help="Code or words: POLDNY, 'policy denied'.")] = None,
    effect: Annotated[str | None, typer.Option(help="allow, ask or deny.")] = None,
    context: Annotated[str | None, typer.Option(help="Context id.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan id.")] = None,
    step: Annotated[str | None, typer.Option(help="Step id; with --plan or --context.")] = None,
    hand: Annotated[str | None, typer.Option(help="Hand id.")] = None,
    action: Annotated[str | None, typer.Option(help="Action of a hand.")] = None,
    principal: Annotated[str | None, typer.Option(help="Pseudonym, as entries show it.")] = None,
    reason: Annotated[str | None, typer.Option(help="Reason code.")] = None,
    control: Annotated[str | None, typer.Option(help="A control, as entries name it: 'gdpr:5(2)'.")] = None,
    policy: Annotated[str | None, typer.Option(help="Digest of the policy bundle that decided.")] = None,
    since: Annotated[str | None, typer.Option(help="At or after: 7d, 12h, 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Before: as --since.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Only entries that follow this index in the list.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Entries on one page.")] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first; --after then goes back.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Say how many match in all.")] = False,
    trust: Annotated[
        Path | None, typer.Option(help="Trust document; with it every entry's proof is asked for and checked.")
    ] = None,
    post_quantum: PostQuantum = False,
) -> Exit:
    """List entries, oldest first unless --newest is given; the query itself is recorded."""
    if type_ is not None and type_ not in {word for code, label in LABELS.items() for word in _names(code, label)}:
        known = ", ".join(f"{code} ({label})" for code, label in LABELS.items())
        raise Stop(f"--type {type_}: there is no such type of entry", f"There are: {known}.")
    trusted = None if trust is None else Trust.load(trust)
    if post_quantum:
        trusted = both_required(trusted)
    now = time.time()
    page = session.client.audit_entries(
        type=type_, effect=effect, context=context, plan=plan, step=step, hand=hand, action=action,
        principal=pseudonym(principal), reason=reason, control=control, policy=policy,
        since=wire_time(since, "--since", now), until=wire_time(until, "--until", now),
        after=after, limit=limit, order="newest" if newest else None, count="true" if count else None,
        proofs=None if trusted is None else "true",
    )  # fmt: skip
    verdict, negative = (None, False) if trusted is None else _proved(page, trusted)
    session.out.show(page if verdict is None else page | {"proved": verdict}, lambda: _show(session.out, page, verdict))
    return Exit.NEGATIVE if negative else Exit.GOOD


def _proved(page: dict[str, Any], trust: Trust) -> tuple[str, bool]:
    """What the proofs on the page show, in words, and whether they fail."""
    try:
        checkpoint = verify_page(page, trust)
    except MalformedError as exc:
        return f"not proved: {exc}", True
    return f"each entry stands in {checkpoint.origin} under the checkpoint of size {checkpoint.size}", False


def _names(code: EntryType, label: str) -> tuple[str, str, str]:
    return code.value, label, code.name.lower()


@command(
    app,
    example="audit fsck --trust trust.json",
    good="the log is sound",
    negative="it was changed; each faulty entry is named",
    unreachable="the database cannot be reached",
)
def fsck(
    out: Output,
    config: Config = None,
    trust: Annotated[
        Path | None, typer.Option(help="Trust document; with it every checkpoint's signature is checked too.")
    ] = None,
    post_quantum: PostQuantum = False,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint kept from earlier; the log must still contain it. Repeat.")
    ] = None,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Open every sealed value too (needs the master key).")
    ] = False,
    record: Annotated[
        bool, typer.Option(help="Put on record that it was done, where the home is a gateway's. Not for copies.")
    ] = True,
) -> Exit:
    """Read the whole log from the database and recompute everything that can be."""
    settings = load(config)
    keys = [VerifierKey.parse(vkey) for vkey in log_keys(trust)] if trust else []
    second = second_keys(trust) if post_quantum else []
    kept = [_text(file) for file in checkpoint or ()]
    engine = make_engine(settings.database_url)
    try:
        must_hold_a_log(engine)
        with out.progress("checking the log", None) as advance:
            size = 0

            def progress(done: int, total: int) -> None:
                nonlocal size
                size = total
                advance(done, total)

            epochs = _epochs(settings) if payloads else None
            witnesses = quorum_of(settings.log).keys
            found = list(check(engine, keys=keys, second=second, kept=kept, epochs=epochs, witnesses=witnesses,
                               progress=progress))  # fmt: skip
        done = _Done(size, len(found), bool(keys), len(kept), payloads)
        recorded = _record(settings, engine, done) if record else _Recorded(None, "not asked for")
    finally:
        engine.dispose()
    findings = [
        {"fault": str(item.fault), "detail": item.detail, "first": item.first, "last": item.last} for item in found
    ]
    document = {"sound": not found, "findings": findings, "size": done.size, "recorded": recorded.index}
    if recorded.index is None:
        document["not_recorded"] = recorded.why_not
    out.show(document, lambda: _show_findings(out, found))
    if not out.json:
        out.note(f"On record as entry {recorded.index}." if recorded.index is not None else
                 f"Not on record: {recorded.why_not}.")  # fmt: skip
    return Exit.NEGATIVE if found else Exit.GOOD


@dataclass(frozen=True, slots=True)
class _Done:
    """What a verification did."""

    size: int
    findings: int
    signatures: bool
    kept: int
    payloads: bool


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Where it is on record, or why it is not."""

    index: int | None
    why_not: str = ""


def _record(settings: Settings, engine: Engine, done: _Done) -> _Recorded:
    """Put it on record. A verdict stands without that, so nothing is raised."""
    try:
        gateway_id = (settings.home / "gateway-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return _Recorded(None, f"no gateway lives in {settings.home}")
    if not done.size:
        return _Recorded(None, "the log is empty")
    try:
        return _Recorded(record_verification(engine, settings.log.origin, gateway_id, time.time(), **asdict(done)))
    except HandrailError as exc:
        return _Recorded(None, exc.detail or exc.text)


def must_hold_a_log(engine: Engine) -> None:
    """Refuse a database without entries: SQLite would make the file, and an empty log would be found sound."""
    url = engine.url
    where = url.render_as_string(hide_password=True)
    missing = Stop(f"{where}: there is no log there", "Set HANDRAIL_HOME, or give the --config that the gateway has.")
    try:
        if url.get_backend_name() == "sqlite":
            file = Path(url.database or "")
            if not file.is_file():
                raise missing
            # Our own engine would turn a stranger's file into a write-ahead one.
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                asked = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
                found = bool(connection.execute(asked, (entries.name,)).fetchone()[0])
        else:
            found = inspect(engine).has_table(entries.name)
    except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError):
        return  # what reads the log says what is wrong with the database
    if not found:
        raise missing


def log_keys(trust: Path) -> list[str]:
    """The log's verifier keys of a trust document."""
    Trust.load(trust)
    keys: list[str] = json.loads(trust.read_bytes())["log"]
    return keys


def second_keys(trust: Path | None) -> list[PostQuantumKey]:
    """The log's ML-DSA-44 keys of a trust document. Raises ``Stop`` where it names none."""
    vkeys = () if trust is None else Trust.load(trust).post_quantum_keys
    if not vkeys:
        raise Stop("--post-quantum: no ML-DSA-44 key of the log is known", NO_SECOND_KEY)
    return [PostQuantumKey(key.name, key.raw) for key in vkeys]


def _epochs(settings: Settings) -> EpochKeys:
    """The keys that seal the side table. Nothing is made here: without the gateway's own master key nothing opens."""
    if not key_services.has_wrapper(settings):
        raise Stop(f"{settings.master_key_file}: there is no master key", f"Give {VARIABLE}, or leave out --payloads.")
    return EpochKeys(settings.epochs_directory, key_stores.open_root(settings).derive("epoch"))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        text = f"{file}: {exc.strerror if isinstance(exc, OSError) else 'not UTF-8'}"
        raise Stop(text, "Give a checkpoint that was saved as text.", code=Code.FILE) from None


def _show(out: Output, page: dict[str, Any], verdict: str | None) -> None:
    rows = []
    for item in page.get("entries") or []:
        entry = item.get("entry") or {}
        step = " ".join(str(entry[name]) for name in ("step_id", "hand", "action") if entry.get(name))
        rows.append(
            [item.get("index"), entry.get("time"), _what(item, entry), step, entry.get("effect"), entry.get("reasons")]
        )
    out.table(["index", "time", "what", "step", "effect", "reasons"], rows, "No entry matches.")
    covers = page.get("covers") or {}
    matches = "" if page.get("matches") is None else f"; {page['matches']} match in all"
    out.section(
        f"covers entries {covers.get('first')} to {covers.get('last')} of a log of {page.get('tree_size')}{matches}"
    )
    hands = (page.get("scope") or {}).get("hands")
    if hands is not None:
        out.line(within(hands), style="yellow")
    for gone in covers.get("dropped") or []:
        text = f"entries {gone.get('first')} to {gone.get('last')}: retention is over; whether they match is not known"
        out.line(text, style="yellow")
    if verdict is not None:
        out.line(verdict[0].upper() + verdict[1:] + ".", style="red" if verdict.startswith("not ") else "green")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")


def _what(item: dict[str, Any], entry: dict[str, Any]) -> Any:
    """The type in words, by the entry itself: the label beside it is the gateway's word, and no proof covers it."""
    code = str(entry.get("type"))
    return LABELS[EntryType(code)] if code in set(EntryType) else entry.get("type", item.get("label"))


def _show_findings(out: Output, found: list[Finding]) -> None:
    if not found:
        out.line("The log is sound: every leaf, node, root and checkpoint follows from the entries.", style="green")
        return
    out.table(
        ["entries", "fault", "what is wrong"],
        ([_range(item), str(item.fault), item.detail] for item in found[:_SHOWN_MAX]),
    )
    if len(found) > _SHOWN_MAX:
        out.line(f"... and {len(found) - _SHOWN_MAX} more (--json lists all)")
    out.section(f"{counted(len(found), 'finding')}: this log was changed.", style="red")


def _range(item: Finding) -> str:
    if item.first is None:
        return ""
    return str(item.first) if item.first == item.last else f"{item.first} to {item.last}"
