"""``handrail init``: a home, keys, tables and the first principal; running it again changes nothing that is there."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import setup
from gateway.cli.command import command, noun
from gateway.cli.output import Output
from gateway.settings import load

app = noun("Set a gateway's home up.")


@command(app)
def init(
    out: Output,
    config: Annotated[
        Path | None, typer.Option("--config", help="handrail.toml. Default: HANDRAIL_CONFIG, ./handrail.toml.")
    ] = None,
) -> None:
    """Make the home, its keys, the tables and the first principal; its API key is shown once and kept in cli.json."""
    settings = load(config)
    file = settings.home / "cli.json"
    done = setup.run(settings)
    written = done.token is not None and not file.exists()
    if written:
        principals = {setup.FIRST_PRINCIPAL: {"api_key": done.token}}
        stored = {"url": settings.public_url, "default": setup.FIRST_PRINCIPAL, "principals": principals}
        setup.write_private(file, stored)
    document = {
        "home": str(done.home.absolute()),
        "origin": done.origin,
        "principal": setup.FIRST_PRINCIPAL if done.token else None,
        "token": done.token,
        "cli_json": str(file.absolute()) if written else None,
    }
    out.show(document, lambda: _show(out, document))


def _show(out: Output, document: dict[str, str | None]) -> None:
    out.facts([("home", document["home"]), ("log", document["origin"]), ("principal", document["principal"])])
    if document["token"] is not None:
        out.line("API key, shown once:")
        out.raw(f"  {document['token']}")
    else:
        out.line("It has principals already; nothing was changed.")
    if document["cli_json"] is not None:
        out.line(f"It is also in {document['cli_json']}, for this command line.")
    out.line("Next: handrail serve")
