"""What the commands of ``handrail log`` share: options, the witnesses that a reader names, tiles fetched once."""

from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import MalformedError
from handrail.note import Quorum

from audit.checkpoint import Checkpoint, note_text, parse_checkpoint
from audit.tiles import Tile
from gateway.cli.connect import Session
from gateway.cli.exits import Stop

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


def claimed(note: str) -> Checkpoint:
    """What a checkpoint says; who signed it is for whoever verifies it. It goes to a terminal, so it is plain text."""
    if not note.replace("\n", "").isprintable():
        raise Stop("the checkpoint holds characters that no checkpoint has", "Is this the gateway's URL?")
    return parse_checkpoint(note_text(note))


def fetcher(session: Session) -> Any:
    """Fetches hash tiles for ``audit.tiles.fold_from_tiles``."""
    fetched: dict[Tile, bytes] = {}

    def fetch(tile: Tile) -> bytes:
        if tile not in fetched:
            fetched[tile] = session.client.log_tile(tile.path())
        return fetched[tile]

    return fetch
