"""``handrail backup``: copies of the database while the gateway runs, and a log that goes on from one."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from audit.backup import names, refuse_existing
from audit.checkpoint import VerifierKey, note_text, parse_checkpoint
from audit.errors import BackupRefused, NoteInvalid
from gateway import backups
from gateway.cli.command import command, noun
from gateway.cli.exits import Code, Exit, Stop, unreadable
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.settings import LogSettings, Settings, load

_RESTORED: Final = re.compile(r"/restored-[0-9TZ]+$")

app = noun("backup")

Trust = Annotated[
    list[Path] | None, typer.Option("--trust", help="Trust document kept elsewhere than the backup. Repeat.")
]
Kept = Annotated[list[Path] | None, typer.Option("--kept", help="A checkpoint of the log kept elsewhere. Repeat.")]
Directory = Annotated[Path, typer.Argument(help="A directory that 'backup create' wrote.")]


@command(
    app,
    example="backup create --out /backups/monday",
    good="it was made, checked and entered in the log",
    negative="the log is not sound, or something of that name is there",
    unreachable="the database cannot be reached",
)
def create(
    out: Output,
    to: Annotated[Path, typer.Option("--out", help="Directory to make.")],
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="Also copy the home's keys to this directory: keep it apart from every backup."),
    ] = None,
    config: Config = None,
) -> Exit:
    """Back the database up while the gateway runs, without any key of the gateway."""
    settings = load(config)
    to = to.absolute()
    try:
        if keys is not None:
            _must_be_apart(to, keys.absolute())
            refuse_existing(keys)
            _must_have_a_place(keys.absolute())
        with out.progress("copying the database", None) as advance:
            made = backups.create(settings, to, advance)
        copied = _copied(settings, keys.absolute(), to) if keys is not None else []
    except BackupRefused as exc:
        return _refused(out, exc)
    document = {
        "backup": str(to), "origin": made.manifest.origin, "size": made.manifest.size, "root": made.manifest.root,
        "digest": made.manifest.digest, "index": made.index, "keys": copied,
    }  # fmt: skip
    out.show(document, lambda: _show_made(out, document))
    return Exit.GOOD


@command(
    app,
    example="backup verify /backups/monday",
    good="it is whole, signed, and its log is sound",
    negative="it is not",
)
def verify(out: Output, directory: Directory, trust: Trust = None, kept: Kept = None, config: Config = None) -> Exit:
    """Check a backup's signature and digests, and every entry, node and checkpoint in it; nothing is written."""
    settings = load(config)
    _must_be_a_directory(directory)
    trusted, notes = _trusted(trust), _kept(kept)
    try:
        with out.progress("checking the backup", None) as advance:
            manifest = backups.verify(settings, directory, trusted, notes, advance)
    except BackupRefused as exc:
        return _refused(out, exc)
    document: dict[str, Any] = {
        "whole": True, "origin": manifest.origin, "time": manifest.time, "size": manifest.size, "root": manifest.root,
        "digest": manifest.digest,
    }  # fmt: skip
    out.show(document, lambda: _show_verified(out, document))
    return Exit.GOOD


@command(
    app,
    example="backup restore /backups/monday --into new/handrail.db",
    good="the database is there, and holds a log of a new name",
    negative="the backup does not hold, or the target is not empty",
    unreachable="the database cannot be reached",
)
def restore(
    out: Output,
    directory: Directory,
    into: Annotated[str, typer.Option(help="A file that is not there, or the URL of an empty PostgreSQL database.")],
    origin: Annotated[
        str | None, typer.Option(help="Name of the log from now on. Default: the old one and the time.")
    ] = None,
    trust: Trust = None,
    kept: Kept = None,
    config: Config = None,
) -> Exit:
    """Put a backup into an empty database, as a log under a new name that says what was lost."""
    settings = load(config)
    url = into if "://" in into else f"sqlite:///{Path(into).absolute()}"
    _must_be_a_directory(directory)
    trusted, notes = _trusted(trust), _kept(kept)
    try:
        name = origin or _new_name(directory)
        _must_be_a_name(name)
        with out.progress("restoring", None) as advance:
            done = backups.restore(settings, directory, url, name, trusted, notes, advance)
    except BackupRefused as exc:
        return _refused(out, exc)
    document = {
        "url": url if url.startswith("sqlite") else "as given", "origin": name, "former": done.manifest.origin,
        "size": done.size, "lost": done.known - done.size, "known_size": done.known, "checkpoint": done.checkpoint,
    }  # fmt: skip
    out.show(document, lambda: _show_restored(out, document))
    return Exit.GOOD


def _refused(out: Output, error: BackupRefused) -> Exit:
    unfit = isinstance(error, backups.HomeUnfit)
    hint = "Set HANDRAIL_HOME and --config as for the gateway." if unfit else "Nothing was changed. See docs/backup.md."
    out.error(error.detail, hint, Code.FILE if unfit else Code.REFUSED)
    return Exit.USAGE if unfit else Exit.NEGATIVE


def _must_be_a_directory(backup: Path) -> None:
    if not backup.is_dir():
        raise Stop(f"{backup}: there is no such directory", "Give one that 'backup create' wrote.", code=Code.FILE)


def _new_name(directory: Path) -> str:
    """The old name, and when it was restored."""
    old = _RESTORED.sub("", names(directory)[0])
    return f"{old}/restored-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _must_be_a_name(origin: str) -> None:
    try:
        LogSettings(origin=origin)
    except ValueError:
        raise Stop(f"--origin {origin}: not the name of a log", "A name is like log.example/handrail-2.") from None


def _must_have_a_place(keys: Path) -> None:
    """Before the backup is made: a directory that is not there may be a medium that is not mounted, so none is made."""
    if not keys.parent.is_dir():
        raise Stop(f"--keys {keys}: {keys.parent} is no directory", "Make it, or mount it. Nothing was made.")


def _copied(settings: Settings, keys: Path, backup: Path) -> list[str]:
    """The names of the keys that were copied; where that fails, the backup stands, and it is said."""
    try:
        return backups.copy_keys(settings, keys)
    except OSError as exc:
        text = f"{keys}: {exc.strerror or exc}; no key was copied, and the backup is made: {backup}"
        raise Stop(text, "Mend that; then make a backup of another name with --keys.", code=Code.FILE) from None


def _must_be_apart(backup: Path, keys: Path) -> None:
    if keys == backup or backup in keys.parents or keys in backup.parents:
        raise Stop(
            f"--keys {keys}: in one place with the backup",
            "Erasure rests on keys that are in no backup: give a directory elsewhere.",
        )


def _trusted(files: list[Path] | None) -> list[str]:
    """The verifier keys of trust documents."""
    found: list[str] = []
    for file in files or ():
        try:
            keys = backups.verifier_keys(_text(file).encode())
            for key in keys:
                VerifierKey.parse(key)
        except (BackupRefused, NoteInvalid):
            hint = "Give one that 'handrail keys trust' saved."
            raise Stop(f"{file}: not a trust document", hint, code=Code.FILE) from None
        found += keys
    return found


def _kept(files: list[Path] | None) -> list[str]:
    """Kept checkpoints."""
    found = []
    for file in files or ():
        note = _text(file)
        try:
            parse_checkpoint(note_text(note))
        except NoteInvalid as exc:
            hint = "Give a checkpoint as 'handrail log checkpoint' prints it."
            raise Stop(f"{file}: not a checkpoint: {exc.detail}", hint, code=Code.FILE) from None
        found.append(note)
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise unreadable(file, exc) from None
    except UnicodeDecodeError:
        raise Stop(f"{file}: not UTF-8", "Give a file that was saved as text.", code=Code.FILE) from None


def _show_made(out: Output, document: dict[str, Any]) -> None:
    out.facts((name, document[name]) for name in ("backup", "origin", "size", "root", "index"))
    if document["keys"]:
        out.line(f"Keys were copied: {', '.join(document['keys'])}. Keep them apart from every backup.", style="yellow")
    else:
        out.line("It holds no key: without the home's keys it cannot be restored.")


def _show_verified(out: Output, document: dict[str, Any]) -> None:
    out.facts((name, document[name]) for name in ("origin", "time", "size", "root"))
    out.line("The backup is whole: its manifest is signed, and its log is sound.", style="green")


def _show_restored(out: Output, document: dict[str, Any]) -> None:
    out.facts((name, document[name]) for name in ("url", "origin", "former", "size", "known_size", "lost"))
    if document["lost"]:
        first, last = document["size"], document["known_size"] - 1
        out.line(f"Entries {first} to {last} of {document['former']} are lost; the new log says so.", style="yellow")
    out.line(f'Next: set url under [database] and origin = "{document["origin"]}" under [log], then: handrail serve')
