"""``handrail log consistency``: whether the log of today still holds what a kept checkpoint covers, also where it was
restored from a backup since and so has another name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import MalformedError, Trust
from handrail.errors import HandrailProblem
from handrail.note import LogKey, open_checkpoint

from audit.checkpoint import Checkpoint, VerifierKey, note_text, parse_checkpoint, verify_checkpoint
from audit.errors import LogUnavailable, NoteInvalid, ProofInvalid
from audit.merkle import consistency, verify_consistency
from audit.tiles import fold_from_tiles
from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.log_notes import Cosignatures, Needed, TrustFile, Witness, claimed, fetcher, quorum
from gateway.cli.options import PostQuantum, both_required
from gateway.cli.output import Output, counted
from gateway.entries import EntryType

app = group()


@dataclass(frozen=True, slots=True)
class _Restore:
    """What the gateway says of how the log got another name; ``index`` of the entry that says it.

    Attributes:
        size: entries that came from the backup.
        known: size of the newest checkpoint of the old name that was known.
    """

    index: int
    size: int
    known: int


@command(
    app,
    "consistency",
    example="log consistency checkpoint.txt --trust trust.json",
    good="the log still holds everything that the kept checkpoint covers",
    negative="it does not, or a signature does not hold",
)
def consistency_(
    session: Session,
    kept: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint kept from earlier.", show_default=False)],
    trust: TrustFile,
    witness: Witness = None,
    needed: Needed = None,
    cosignatures: Cosignatures = None,
    post_quantum: PostQuantum = False,
) -> Exit:
    """Prove that the log of today extends a checkpoint that you kept, from its public hash tiles alone.

    What must be signed twice, or cosigned, is the checkpoint of today; the kept one counts because you kept it. A log
    that was restored from a backup has a new name: a kept checkpoint of the old one counts where the trust document
    names that too.
    """
    trusted = Trust.load(trust)
    keys = [VerifierKey.parse(vkey) for vkey in json.loads(trust.read_bytes())["log"]]
    required = both_required(trusted).required if post_quantum else ()
    policy = quorum(witness, needed)
    old_note, origin = _read(kept)
    new_note = session.client.log_checkpoint(cosignatures)
    why = _of_no_known_name(origin, claimed(new_note).origin, trusted.origin, keys)
    restored: _Restore | None = None
    try:
        if why:
            raise NoteInvalid(why)
        old = verify_checkpoint(old_note, keys, origin)
        current = [key for key in keys if key.name == trusted.origin]
        new = verify_checkpoint(new_note, current, trusted.origin)
        names = open_checkpoint(new_note, [LogKey.parse(str(key)) for key in current], policy, required).witnesses
        path: list[bytes] = []
        if 0 < old.tree_size <= new.tree_size:
            path = fold_from_tiles(consistency(old.tree_size, new.tree_size), new.tree_size, fetcher(session))
        try:
            verify_consistency(old.tree_size, new.tree_size, path, old.root, new.root)
        except ProofInvalid as exc:
            if old.origin == new.origin:
                raise
            restored = _restore(session, old.origin)
            raise ProofInvalid(_lost(old, restored)) from exc
    except (NoteInvalid, ProofInvalid, LogUnavailable, MalformedError) as exc:
        return _refuse(session.out, str(exc) if isinstance(exc, MalformedError) else exc.detail, restored)
    document = {"consistent": True, "origin": new.origin, "kept_origin": old.origin, "from": old.tree_size,
                "to": new.tree_size, "witnesses": list(names)}  # fmt: skip
    session.out.show(document, lambda: _show(session.out, old, new, names))
    return Exit.GOOD


def _read(file: Path) -> tuple[str, str]:
    """A kept checkpoint, and the log that it claims to be of. Raises ``Stop`` where it is none."""
    hint = "Give a checkpoint as 'handrail log checkpoint' prints it."
    try:
        note = file.read_text(encoding="utf-8")
        found = parse_checkpoint(note_text(note))
    except (OSError, UnicodeDecodeError) as exc:
        text = f"{file}: {exc.strerror if isinstance(exc, OSError) else 'not UTF-8'}"
        raise Stop(text, hint, code=Code.FILE) from None
    except NoteInvalid as exc:
        raise Stop(f"{file}: not a checkpoint: {exc.detail}", hint, code=Code.FILE) from None
    if not found.origin.isprintable():
        raise Stop(f"{file}: not a checkpoint: its log has a name that cannot be printed", hint, code=Code.FILE)
    return note, found.origin


def _of_no_known_name(old: str, new: str, trusted: str, keys: Sequence[VerifierKey]) -> str:
    """Why the names do not go together; empty where they do."""
    if new != trusted:
        return (
            f"the gateway's log is {new}, and your trust document is of {trusted}. A log that was restored from a "
            "backup has a new name: get the new trust document, over a channel that you trust"
        )
    if old not in {key.name for key in keys}:
        return f"the kept checkpoint is of the log {old}, which your trust document does not name; it is of {trusted}"
    return ""


def _restore(session: Session, origin: str) -> _Restore | None:
    """The entry by which the log gave up the name ``origin``; ``None`` where there is none that the caller may read."""
    try:
        page = session.client.audit_entries(type=str(EntryType.BACKUP_RESTORED))
        told = [(int(one["index"]), one["entry"]["facts"]) for one in page["entries"]]
        named = [(at, facts) for at, facts in told if facts["origin"] == origin]
        found = [_Restore(at, int(facts["size"]), int(facts["known_size"])) for at, facts in named]
    except (HandrailProblem, KeyError, TypeError, ValueError):
        return None
    return next(iter(found), None)


def _lost(old: Checkpoint, restored: _Restore | None) -> str:
    """Why a checkpoint of a former name does not hold."""
    text = f"the log was restored from a backup since, and was called {old.origin} before"
    if restored is None:
        return (
            f"{text}. The entry that says what was lost is for auditors: 'handrail audit query --type "
            f"{EntryType.BACKUP_RESTORED}'"
        )
    said = (
        f"entry {restored.index} says that the backup had {restored.size} entries, of {restored.known} that are known"
    )
    if old.tree_size <= restored.size:
        return f"{text}; {said}. All that the kept checkpoint covers should be in it, and is not: it was changed"
    return f"{text}; {said}. Entries {restored.size} to {old.tree_size - 1}, which the kept checkpoint covers, are lost"


def _refuse(out: Output, why: str, restored: _Restore | None) -> Exit:
    document: dict[str, Any] = {"consistent": False, "reason": why}
    if restored is not None:
        document["restored"] = {"index": restored.index, "size": restored.size, "known_size": restored.known}
    out.show(document, lambda: out.section(f"It does not hold: {why}.", style="red"))
    return Exit.NEGATIVE


def _show(out: Output, old: Checkpoint, new: Checkpoint, names: tuple[str, ...]) -> None:
    size = counted(new.tree_size, "entry", "entries")
    text = f"The log of {size} extends the kept one of {old.tree_size}: nothing of it was changed."
    out.line(text, style="green")
    if old.origin != new.origin:
        out.line(f"It was restored from a backup since, and was called {old.origin} before.")
    if names:
        out.line(f"Cosigned by {', '.join(names)}.")
