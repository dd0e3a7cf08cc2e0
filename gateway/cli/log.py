"""``handrail log``: checkpoints, proofs and witnesses, from what the gateway shows to anybody (c2sp.org/tlog-tiles).

Nothing that is fetched is believed: proofs are folded here from hash tiles, and hold or do not hold against a
checkpoint that a key of the trust document signed.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import MalformedError, Trust
from handrail.note import LogKey, Quorum, open_checkpoint

from audit.checkpoint import Checkpoint, VerifierKey, note_text, parse_checkpoint, tlog_proof, verify_checkpoint
from audit.errors import LogUnavailable, NoteInvalid, ProofInvalid
from audit.merkle import consistency, inclusion, verify_consistency, verify_inclusion
from audit.tiles import Tile, fold_from_tiles, hash_in, tile_of
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.options import PostQuantum, both_required
from gateway.cli.output import Output
from gateway.rendering import moment

app = noun("log")

TrustFile = Annotated[Path, typer.Option(help="Trust document ('handrail keys trust'), from a channel you trust.")]
Cosignatures = Annotated[
    int | None, typer.Option(min=0, help="The newest checkpoint that so many of the gateway's witnesses cosigned.")
]
Witness = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="KEY", help="Verifier key of a witness that you trust. Repeat."),
]
Needed = Annotated[
    int | None, typer.Option("--quorum", min=1, help="How many of them must have cosigned. Default: all.")
]


def quorum(witness: list[str] | None, needed: int | None) -> Quorum:
    """The witnesses that somebody named on the command line.

    Raises:
        Stop: a key cannot be used, or there are fewer than are needed.
    """
    if not witness:
        if needed is not None:
            raise Stop("--quorum without --witness", "Name each witness that you trust with --witness KEY.")
        return Quorum()
    try:
        return Quorum.parse(witness, needed)
    except MalformedError as exc:
        raise Stop(f"--witness: {exc}", "Give the keys as the witnesses' operators publish them.") from None


@command(app, example="log checkpoint > checkpoint.txt", good="it was printed")
def checkpoint(session: Session, cosignatures: Cosignatures = None) -> None:
    """Print the newest checkpoint, to keep: whoever holds an old one can see that a log was rolled back."""
    note = session.client.log_checkpoint(cosignatures)
    found = _claimed(note)
    document = {"origin": found.origin, "tree_size": found.tree_size, "note": note}
    session.out.show(document, lambda: session.out.raw(note))


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

    What must be signed twice, or cosigned, is the checkpoint of today; the kept one counts because you kept it.
    """
    keys = _log_keys(trust)
    required = both_required(Trust.load(trust)).required if post_quantum else ()
    policy = quorum(witness, needed)
    old_note = _read(kept)
    new_note = session.client.log_checkpoint(cosignatures)
    try:
        old, new = (verify_checkpoint(note, keys, keys[0].name) for note in (old_note, new_note))
        names = open_checkpoint(new_note, [LogKey.parse(str(key)) for key in keys], policy, required).witnesses
        path: list[bytes] = []
        if 0 < old.tree_size <= new.tree_size:
            path = fold_from_tiles(consistency(old.tree_size, new.tree_size), new.tree_size, _fetcher(session))
        verify_consistency(old.tree_size, new.tree_size, path, old.root, new.root)
    except (NoteInvalid, ProofInvalid, LogUnavailable, MalformedError) as exc:
        why = str(exc) if isinstance(exc, MalformedError) else exc.detail
        document: dict[str, Any] = {"consistent": False, "reason": why}
        session.out.show(document, lambda: session.out.section(f"It does not hold: {why}.", style="red"))
        return Exit.NEGATIVE
    document = {"consistent": True, "origin": new.origin, "from": old.tree_size, "to": new.tree_size,
                "witnesses": list(names)}  # fmt: skip
    session.out.show(document, lambda: _show_consistent(session.out, old, new, names))
    return Exit.GOOD


@command(app, example="log proof 17 > 17.tlog-proof", good="it was printed")
def proof(
    session: Session,
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX", help="Of the entry.", show_default=False)],
    cosignatures: Cosignatures = None,
) -> None:
    """Print the proof that an entry is in the log (c2sp.org/tlog-proof@v1), made from its public hash tiles."""
    note = session.client.log_checkpoint(cosignatures)
    head = _claimed(note)
    if index >= head.tree_size:
        raise Stop(f"entry {index} is not in a tree of {head.tree_size} entries", "Choose a smaller index.")
    fetch = _fetcher(session)
    path = fold_from_tiles(inclusion(index, head.tree_size), head.tree_size, fetch)
    tile = tile_of((0, index), head.tree_size)
    verify_inclusion(hash_in(tile, fetch(tile), (0, index)), index, head.tree_size, path, head.root)
    text = tlog_proof(index, path, note)
    session.out.show({"index": index, "tree_size": head.tree_size, "proof": text}, lambda: session.out.raw(text))


@command(
    app,
    example="log witnesses",
    good="enough witnesses gave their word lately, or none is needed",
    negative="too few did, or one says that the log is not the one it saw",
)
def witnesses(session: Session) -> Exit:
    """List the log's witnesses, what each cosigned last, and what is wrong with it."""
    document = session.client.log_witnesses()
    session.out.show(document, lambda: _show_witnesses(session.out, document))
    return Exit.NEGATIVE if document.get("problem") else Exit.GOOD


def _claimed(note: str) -> Checkpoint:
    """What a checkpoint says; who signed it is for whoever verifies it. It goes to a terminal, so it is plain text."""
    if not note.replace("\n", "").isprintable():
        raise Stop("the checkpoint holds characters that no checkpoint has", "Is this the gateway's URL?")
    return parse_checkpoint(note_text(note))


def _fetcher(session: Session) -> Any:
    fetched: dict[Tile, bytes] = {}

    def fetch(tile: Tile) -> bytes:
        if tile not in fetched:
            fetched[tile] = session.client.log_tile(tile.path())
        return fetched[tile]

    return fetch


def _log_keys(trust: Path) -> list[VerifierKey]:
    trusted = Trust.load(trust)
    known = [VerifierKey.parse(vkey) for vkey in json.loads(trust.read_bytes())["log"]]
    return [key for key in known if key.name == trusted.origin]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        text = f"{file}: {exc.strerror if isinstance(exc, OSError) else 'not UTF-8'}"
        raise Stop(text, "Give a checkpoint that was saved as text.", code=Code.FILE) from None


def _show_consistent(out: Output, old: Checkpoint, new: Checkpoint, names: tuple[str, ...]) -> None:
    text = f"The log of {new.tree_size} entries extends the kept one of {old.tree_size}: nothing of it was changed."
    out.line(text, style="green")
    if names:
        out.line(f"Cosigned by {', '.join(names)}.")


def _show_witnesses(out: Output, document: dict[str, Any]) -> None:
    out.table(
        ["witness", "key", "cosigned", "at", "age (s)", "fault", "what is wrong"],
        (
            [one["name"], one["key"], one["tree_size"], moment(one["cosigned_at"]), one["age_seconds"],
             one["fault"], one["detail"]]
            for one in document["witnesses"]
        ),
        "No witness is configured: nobody but who keeps checkpoints would see another history.",
    )  # fmt: skip
    if document["quorum"]:
        out.section(f"{document['quorum']} needed; they last gave their word {document['lag_seconds']} s ago.")
    if document["problem"]:
        out.section(f"{document['problem']}", style="red")
