"""``handrail hands import``: from the servers that an MCP client knows to hands that somebody can review."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import client_hand, suggested, toml_text
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop
from gateway.cli.jailing import jailing
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.errors import HandrailError
from gateway.settings import HandSettings, Settings, SettingsError, load
from hand_adapters.client_presets import PRESETS
from hand_adapters.jail import Jail
from hand_adapters.kinds import kind_of
from hand_adapters.mcp.servers_file import Declared, declare, read
from hand_adapters.suggest import Suggestion, suggestion

app = group()


@command(
    app,
    "import",
    example="hands import .mcp.json --ask >> handrail.toml",
    good="every server was turned into a hand",
    negative="one could not be; the output says why",
)
def import_(
    out: Output,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=".mcp.json, claude_desktop_config.json, mcp.json.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="In place of a file: the tools that a client itself runs. One of: claude-code.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="A server by its name; again for more. Default: all.")] = None,
    packages: Annotated[
        Path | None, typer.Option(help="Where npm installed the servers that npx would fetch (has node_modules).")
    ] = None,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask", help="Start each in the jail, or ask at its URL, and suggest annotations by what it offers."
        ),
    ] = False,
    config: Config = None,
) -> Exit:
    """Print declarations of hands for the servers of an MCP client's file, and change nothing."""
    if (file is None) == (client is None):
        raise Stop("it takes a file, or a client", "handrail hands import FILE, or --client claude-code", Exit.USAGE)
    if client is not None:
        return _client(out, client, alone=not (only or packages or ask))
    if file is None:
        raise RuntimeError("a file or a client was given")
    try:
        servers = read(file)
    except SettingsError as exc:
        raise Stop(exc.detail, "Give the file in which an MCP client keeps its servers.", Exit.USAGE) from None
    missing = sorted(set(only or ()) - {server.name for server in servers})
    if missing:
        there = ", ".join(server.name for server in servers)
        raise Stop(f"{file} has no {', '.join(missing)}", f"There are: {there}.", Exit.USAGE)
    chosen = [server for server in servers if not only or server.name in only]
    declared = declare(chosen, packages.absolute() if packages is not None else None)
    offered: dict[str, list[Suggestion] | str] = {}
    if ask:
        usable = [item for item in declared if not item.problem]
        with out.progress("asking the servers", len(usable)) as advance:
            offered = asyncio.run(_ask(load(config), usable, advance))
    text = "\n\n".join("\n".join(_block(item, offered.get(item.id))) for item in declared)
    out.show(
        {"toml": text, "hands": [_document(item, offered.get(item.id)) for item in declared]}, lambda: out.raw(text)
    )
    failed = [item for item in declared if item.problem or isinstance(offered.get(item.id), str)]
    return Exit.NEGATIVE if failed else Exit.GOOD


def _client(out: Output, name: str, *, alone: bool) -> Exit:
    """A hand of the tools that a client itself runs."""
    tools = PRESETS.get(name)
    if tools is None or not alone:
        there = ", ".join(sorted(PRESETS))
        raise Stop(f"no client is called {name}, or it came with options of a file", f"There are: {there}.", Exit.USAGE)
    text = "\n".join(client_hand.lines(name, tools))
    document = {"id": name, "name": name, "notes": [], "declaration": client_hand.declaration(tools)}
    out.show({"toml": text, "hands": [document]}, lambda: out.raw(text))
    return Exit.GOOD


async def _ask(settings: Settings, declared: Sequence[Declared], advance: Any) -> dict[str, list[Suggestion] | str]:
    """What each offers, by id; a text where it could not be asked."""
    found: dict[str, list[Suggestion] | str] = {}
    async with jailing(settings) as jail:
        for number, item in enumerate(declared, 1):
            found[item.id] = await _offered(item, jail)
            advance(number, len(declared))
    return found


async def _offered(item: Declared, jail: Jail) -> list[Suggestion] | str:
    adapter = None
    try:
        settings = HandSettings.model_validate(_settings(item))
        kind = kind_of(settings)
        kind.validate(item.id, settings)
        adapter = kind(item.id, settings, jail)
        manifest = await adapter.manifest()
    except HandrailError as exc:
        return exc.detail or exc.text
    finally:
        if adapter is not None:
            await adapter.close()
    return [suggestion(action) for action in manifest.actions.values()]


def _settings(item: Declared) -> dict[str, Any]:
    if item.url is not None:
        return {"adapter": "mcp", "url": item.url} | {
            key: value
            for key, value in (
                ("private_network", item.private_network),
                ("listing", item.listing),
                ("secrets", {name: dict(secret) for name, secret in item.secrets.items()}),
            )
            if value
        }
    binds = [{"source": str(directory)} for directory in item.directories]
    return {"adapter": "mcp", "command": item.command, "env": item.env, "binds": binds}


def _block(item: Declared, offered: list[Suggestion] | str | None) -> Iterator[str]:
    if item.problem:
        yield from toml_text.comment(f"{item.name}: not a hand. {item.problem}")
        return
    yield from toml_text.comment(f"{item.name}. What is not said of an action counts as the worst.")
    for note in item.notes:
        yield from toml_text.comment(note)
    yield f"[hands.{item.id}]"
    yield 'adapter = "mcp"'
    if not item.enabled:
        yield "enabled = false"
    yield from _place(item)
    if isinstance(offered, str):
        yield ""
        yield from toml_text.comment(f"It could not be asked what it offers: {offered}")
    elif offered is not None:
        yield ""
        yield from toml_text.comment(
            "Suggested by what the server says of itself, which may be wrong: look at each action, and uncomment what "
            "is true."
        )
        for found in offered:
            yield f"# [hands.{item.id}.actions.{toml_text.key(found.action)}]"
            yield from suggested.lines(found, f"it says: {found.why}")


def _place(item: Declared) -> Iterator[str]:
    """Where the server is: a program with its directories, or an address with its secrets."""
    if item.url is None:
        yield f"command = {toml_text.value(item.command)}"
        if item.env:
            yield f"env = {toml_text.value(dict(item.env))}"
        for directory in item.directories:
            yield f"\n[[hands.{item.id}.binds]]"
            yield f"source = {toml_text.value(directory)}"
        return
    yield f"url = {toml_text.value(item.url)}"
    if item.private_network:
        yield "private_network = true"
    if item.listing is not None:
        yield from toml_text.comment(f"Written by: handrail hands listing URL --out {item.listing}")
        yield f"listing = {toml_text.value(item.listing)}"
    for name, secret in item.secrets.items():
        yield f"\n[hands.{item.id}.secrets.{name}]"
        for key, value in secret.items():
            yield f"{key} = {toml_text.value(value)}"


def _document(item: Declared, offered: list[Suggestion] | str | None) -> Mapping[str, Any]:
    document: dict[str, Any] = {"id": item.id, "name": item.name, "notes": list(item.notes)}
    if item.problem:
        return document | {"problem": item.problem}
    declaration = _settings(item)
    if item.url is None:
        declaration["command"] = list(item.command)
    document |= {"enabled": item.enabled, "declaration": declaration}
    if isinstance(offered, str):
        document["problem"] = offered
    elif offered is not None:
        document["actions"] = [found.document() for found in offered]
    return document
