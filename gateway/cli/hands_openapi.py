"""``handrail hands openapi``: a declaration to review, made of an OpenAPI document. Asks no gateway and no network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.command import command, group
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.output import Output
from gateway.settings.base import Identifier

app = group()


@command(
    app,
    "openapi",
    example="hands openapi petstore.yaml --id petstore --operations tag:pets",
    good="it was printed",
    negative="none of the operations can be offered",
)
def openapi(
    out: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An OpenAPI 3.0, 3.1 or 3.2 document, JSON or YAML.")],
    hand_id: Annotated[str, typer.Option("--id", help="What the hand is to be called.")],
    operations: Annotated[
        list[str] | None,
        typer.Option(
            help="Which operations: an operationId, tag:NAME, or 'METHOD /path' with * for a segment and ** for "
            "anything; repeatable. Default: all."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where the API is. The document's servers count for nothing.")
    ] = None,
) -> Exit:
    """Print a declaration of a hand to review, with what the document suggests as comments."""
    # Only this command needs the reader of documents.
    from gateway.cli.openapi_declaration import declaration  # noqa: PLC0415
    from hand_adapters.http.openapi.document import Document  # noqa: PLC0415
    from hand_adapters.http.openapi.reading import DocumentError  # noqa: PLC0415
    from hand_adapters.http.openapi.selection import select  # noqa: PLC0415
    from hand_adapters.http.openapi.suggest import suggest  # noqa: PLC0415

    _check_id(hand_id)
    try:
        document = Document.load(file)
        chosen = select(document.operations, operations or ["* /**"])
        with out.progress("Reading", None):
            found, left_out = suggest(document, chosen)
    except DocumentError as exc:
        raise Stop(f"{file}: {exc.detail}", _hint(exc.place), code=Code.FILE) from None
    for operation, why in left_out:
        out.note(f"{operation.name} is left out: {why}", "yellow")
    for note in (note for one in found for note in one.offer.notes):
        out.note(note, "yellow")
    text = "\n".join(declaration(hand_id, file, document, base_url, found)) + "\n"
    result: dict[str, Any] = {
        "hand": hand_id,
        "toml": text,
        "operations": [one.document() for one in found],
        "left_out": [{"name": operation.name, "why": why} for operation, why in left_out],
    }
    out.show(result, lambda: out.raw(text))
    return Exit.GOOD if found else Exit.NEGATIVE


def _check_id(hand_id: str) -> None:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    try:
        TypeAdapter(Identifier).validate_python(hand_id)
    except ValidationError:
        raise Stop(f"--id {hand_id}: no id of a hand", "Lower-case letters, digits, - and _; a letter first.") from None


def _hint(place: str) -> str:
    return "Mend it there, or take another document." if place else "Look at the file, or choose other operations."
