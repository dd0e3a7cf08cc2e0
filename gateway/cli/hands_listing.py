"""``handrail hands listing``: what an MCP server offers, asked once and kept in a file. Asks no gateway."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.calls import HandResult
from gateway.cli import saving, secret_values
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.errors import HandrailError
from gateway.redaction import Redactor

app = group()


@command(
    app,
    "listing",
    example="hands listing https://mcp.example/mcp --bearer token.txt --out tracker-tools.json",
    good="the file is written",
    negative="the server cannot be asked",
)
def listing(
    out: Output,
    url: Annotated[str, typer.Argument(metavar="URL", help="Endpoint of the server.")],
    file: Annotated[Path, typer.Option("--out", help="Which file to write.")],
    bearer: Annotated[
        Path | None, typer.Option(help="File with a token of yours, sent as Authorization: Bearer.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a header with the value in the file; repeatable.")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a query parameter with the value in the file; repeatable.")
    ] = None,
    private_network: Annotated[
        bool, typer.Option("--private-network", help="The server may be at a private or loopback address.")
    ] = False,
    force: saving.Force = False,
) -> Exit:
    """Ask an MCP server over HTTP what it offers, and write that to the file that a hand's listing names."""
    # Only this command and a gateway need the protocol.
    from gateway.settings import HandSettings, SettingsError  # noqa: PLC0415
    from hand_adapters.mcp import McpHttpAdapter  # noqa: PLC0415
    from hand_adapters.mcp.asking import listed  # noqa: PLC0415

    saving.refuse_existing(file, force=force)
    headers = _values("--header", header)
    parameters = _values("--query", query)
    values = [*headers.values(), *parameters.values()]
    if bearer is not None:
        values.append(secret_values.from_file(bearer))
        headers["Authorization"] = f"Bearer {values[-1]}"
    try:
        declared = HandSettings.model_validate({"adapter": "mcp", "url": url, "private_network": private_network})
        McpHttpAdapter.validate("x", declared)
    except (SettingsError, ValueError) as exc:
        detail = exc.detail if isinstance(exc, SettingsError) else "not the URL of a server"
        raise Stop(detail.removeprefix("hands.x."), _mend(url, private_network=private_network), Exit.USAGE) from None
    try:
        with out.progress("Asking", None):
            found: dict[str, Any] = asyncio.run(listed(url, headers, parameters, private_network=private_network))
    except HandrailError as exc:
        raise Stop(f"{url}: {exc.text} {exc.detail}".strip(), _hint(exc.detail), Exit.NEGATIVE) from None
    if values:
        found = Redactor(values).result(HandResult((), found)).structured
    saving.save_json(file, found, force=force, private=False)
    names = [tool["name"] for tool in found["tools"]]
    what = "tool" if len(names) == 1 else "tools"
    out.show({"file": str(file), "tools": names}, lambda: out.line(f"{file} has {len(names)} {what}."))
    return Exit.GOOD


def _values(option: str, given: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given or ():
        name, file = secret_values.named(option, one)
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise Stop(f"{option} {name}: not NAME=FILE", f"Give {option} X-Api-Key=key.txt.", Exit.USAGE)
        found[name] = secret_values.from_file(file)
    return found


def _mend(url: str, *, private_network: bool) -> str:
    if "?" in url:
        return "Take its query off, and give --query NAME=FILE for what stands there."
    if url.startswith("http://") and not private_network:
        return (
            "Give https://HOST/PATH. If the server is on this machine or in a private network: give --private-network."
        )
    return "Give https://HOST/PATH."


def _hint(detail: str) -> str:
    if "status 401" in detail or "status 403" in detail:
        return "It wants to know who asks: give --bearer FILE, --header NAME=FILE or --query NAME=FILE."
    return "Is it the URL of an MCP server, and can it be reached from here?"
