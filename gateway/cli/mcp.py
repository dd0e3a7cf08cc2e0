"""``handrail mcp``: for clients of MCP."""

import asyncio
import os
import re
import sys
from typing import Annotated, Final

import httpx2
import typer
from handrail.connection import base_url, settings

from gateway.cli.command import As, CaFile, ClientCert, ClientKey, Url, command, noun
from gateway.cli.connect import Connection, resolve
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output

app = noun("mcp")

_HAND: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Without a callback Typer would take a lone command for the noun itself.
app.callback()(lambda: None)


@command(
    app,
    example="mcp stdio --url http://127.0.0.1:8080",
    good="the client closed its side",
    negative="the client reads no more",
)
def stdio(
    out: Output,
    url: Url = None,
    hand: Annotated[str | None, typer.Option(help="Only this hand, under its tools' own names.")] = None,
    as_name: As = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", hidden=True, help="Refused: others may see it in ps.")
    ] = None,
) -> Exit:
    """Serve one client of MCP on standard input and output, at the gateway.

    The key comes from HANDRAIL_API_KEY or cli.json. Nothing but messages of MCP goes to standard output; what went
    wrong is said on standard error.
    """
    if api_key is not None:
        raise Stop(
            "--api-key is not taken here: as long as the client runs, everybody on this machine could read the key",
            "Give it in the environment, as HANDRAIL_API_KEY: clients have a place for that ('env').",
        )
    if hand is not None and _HAND.fullmatch(hand) is None:
        raise Stop(f"--hand {hand}: no hand is called so", "'handrail hands list' shows what you may use.")
    tls = {"ca_file": ca_file, "client_cert": client_cert, "client_key": client_key}
    connection = resolve(url, None, as_name, tls)
    if connection.api_key is None and "client_cert" not in connection.tls:
        raise Stop(
            "no API key: HANDRAIL_API_KEY is not set, and there is no cli.json",
            "Put the key of an agent into HANDRAIL_API_KEY: handrail principals add ID --role agent",
        )
    return asyncio.run(_serve(connection, hand, out))


async def _serve(connection: Connection, hand: str | None, out: Output) -> Exit:
    from gateway.cli.stdio_bridge import LINE_MAX_BYTES, Bridge  # noqa: PLC0415 - slow to load, and a wrong use needs none
    from gateway.cli.stdio_lines import LinesIn, LinesOut  # noqa: PLC0415

    base = base_url(connection.url)
    url = f"{base}/mcp" if hand is None else f"{base}/mcp/{hand}"
    # Whatever else this process may print goes to standard error: the client would read it as a message.
    sys.stdout.flush()
    wire = os.dup(1)
    os.dup2(2, 1)
    async with httpx2.AsyncClient(**settings(base, connection.api_key, **connection.tls)) as http:
        try:
            await Bridge(http, url, LinesOut(wire), out.note).run(LinesIn(0, LINE_MAX_BYTES))
        except OSError:
            return Exit.NEGATIVE
    return Exit.GOOD
