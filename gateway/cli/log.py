"""``handrail log``: checkpoints, proofs and witnesses, from what the gateway shows to anybody (c2sp.org/tlog-tiles).

Nothing that is fetched is believed: proofs are folded here from hash tiles, and hold or do not hold against a
checkpoint that a key of the trust document signed.
"""

from typing import Annotated, Any

import typer

from audit.checkpoint import tlog_proof
from audit.merkle import inclusion, verify_inclusion
from audit.tiles import fold_from_tiles, hash_in, tile_of
from gateway.cli import log_consistency
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.log_notes import Cosignatures, claimed, fetcher
from gateway.cli.output import Output, counted
from gateway.rendering import moment

app = noun("log")
app.add_typer(log_consistency.app)


@command(app, example="log checkpoint > checkpoint.txt", good="it was printed")
def checkpoint(session: Session, cosignatures: Cosignatures = None) -> None:
    """Print the newest checkpoint, to keep: whoever holds an old one can see that a log was rolled back."""
    note = session.client.log_checkpoint(cosignatures)
    found = claimed(note)
    document = {"origin": found.origin, "tree_size": found.tree_size, "note": note}
    session.out.show(document, lambda: session.out.raw(note))


@command(app, example="log proof 17 > 17.tlog-proof", good="it was printed")
def proof(
    session: Session,
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX", help="Of the entry.", show_default=False)],
    cosignatures: Cosignatures = None,
) -> None:
    """Print the proof that an entry is in the log (c2sp.org/tlog-proof@v1), made from its public hash tiles."""
    note = session.client.log_checkpoint(cosignatures)
    head = claimed(note)
    if index >= head.tree_size:
        raise Stop(
            f"entry {index} is not in a tree of {counted(head.tree_size, 'entry', 'entries')}",
            "Choose a smaller index.",
        )
    fetch = fetcher(session)
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
