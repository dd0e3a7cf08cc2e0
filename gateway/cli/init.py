"""``handrail init``: a home, keys, tables and the first principal; running it again changes nothing that is there."""

import asyncio
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from audit.errors import LogMisconfigured
from gateway import setup
from gateway.cli.command import command, noun
from gateway.cli.connect import home
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.saving import save_json
from gateway.settings import Settings, load

app = noun("init")


@command(
    app,
    example="init --config handrail.toml",
    good="the home is ready, now or already",
    unreachable="the database cannot be reached",
)
def init(
    out: Output,
    config: Config = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Add this security admin, on record, where too few are left to agree on one."),
    ] = None,
) -> Exit:
    """Make the home, its keys, the tables and the first principal; its API key is shown once and kept in cli.json."""
    settings = load(config)
    if admin is not None:
        token = _rescue(settings, admin)
        facts = [("security admin", admin), ("API key, shown once", token)]
        out.show({"principal": admin, "token": token}, lambda: out.facts(facts))
        return Exit.GOOD
    file = settings.home / "cli.json"
    try:
        done = setup.run(settings)
    except LogMisconfigured as exc:
        raise Stop(exc.detail, _hint(settings.home)) from None
    written, unwritten = done.token is not None and not file.exists(), None
    if written:
        principals = {setup.FIRST_PRINCIPAL: {"api_key": done.token}}
        stored = {"url": settings.public_url, "default": setup.FIRST_PRINCIPAL, "principals": principals}
        try:
            save_json(file, stored, force=False, private=True)
        except Stop as stop:
            written, unwritten = False, stop  # nobody could ask for the key again: it is shown all the same
    document = {
        "home": str(done.home.absolute()),
        "origin": done.origin,
        "principal": setup.FIRST_PRINCIPAL if done.token else None,
        "token": done.token,
        "cli_json": str(file.absolute()) if written else None,
    }
    serve = "handrail serve" if config is None else f"handrail serve --config {shlex.quote(str(config))}"
    out.show(document, lambda: _show(out, document, serve))
    if unwritten is None:
        return Exit.GOOD
    out.note(f"error: {unwritten.text}", style="bold red")
    out.note("The API key above is kept nowhere: keep it yourself, and give it as HANDRAIL_API_KEY.")
    return unwritten.exit


def _rescue(settings: Settings, admin: str) -> str:
    if not settings.home.is_dir():
        raise Stop(f"{settings.home} is no home yet", "Run 'handrail init' without --admin first.")
    try:
        return asyncio.run(setup.add_administrator(settings, admin))
    except LogMisconfigured as exc:
        raise Stop(exc.detail, _hint(settings.home)) from None


def _hint(at: Path) -> str:
    """Which configuration the home was made with: the demonstration leaves its own there."""
    own = at / "handrail.toml"
    if own.is_file():
        return f"The home has a configuration of its own: give --config {own}"
    return "Give the --config that the home was made with, or choose another HANDRAIL_HOME."


def _show(out: Output, document: dict[str, str | None], serve: str) -> None:
    out.facts([("home", document["home"]), ("log", document["origin"]), ("principal", document["principal"])])
    if document["token"] is not None:
        out.line("API key, shown once:")
        out.raw(f"  {document['token']}")
    else:
        out.line("It has principals already; nothing was changed.")
    if document["cli_json"] is not None:
        out.line(f"It is also in {document['cli_json']}, for this command line.")
        kept_in = Path(document["cli_json"]).parent
        if home(os.environ).absolute() != kept_in:
            out.line(f"Commands look for it where HANDRAIL_HOME says: export HANDRAIL_HOME={shlex.quote(str(kept_in))}")
    out.line(f"Next: {serve}")
