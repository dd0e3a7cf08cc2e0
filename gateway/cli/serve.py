"""``handrail serve``: run the gateway."""

import ipaddress
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from gateway.app import build
from gateway.cli.command import command, noun
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.settings import Settings, load
from gateway.telemetry import configure_logging
from gateway.web.asgi import create_app
from gateway.web.server import uvicorn_config

app = noun("Run the gateway.")


@command(app)
def serve(
    out: Output,
    config: Annotated[
        Path | None, typer.Option("--config", help="handrail.toml. Default: HANDRAIL_CONFIG, ./handrail.toml.")
    ] = None,
) -> Exit:
    """Run the gateway until it is interrupted. Exit 1 if it could not start."""
    settings = load(config)
    configure_logging(settings.telemetry)
    _warn(out, settings)
    server = _Server(uvicorn_config(create_app(build(settings)), settings), out)
    try:
        server.run()
    except SystemExit:
        # uvicorn has logged why it cannot bind, and exits with a code of its own.
        raise Stop(
            f"the gateway could not listen on {settings.server.host}:{settings.server.port}",
            "Is one running there already? Choose another [server] port or host.",
            Exit.NEGATIVE,
        ) from None
    if not server.started:
        raise Stop("the gateway did not start", "The log above says why.", Exit.NEGATIVE)
    return Exit.GOOD


class _Server(uvicorn.Server):
    """Says where it listens once it does (with port 0 only the socket knows)."""

    def __init__(self, config: uvicorn.Config, out: Output) -> None:
        super().__init__(config)
        self._out = out

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        urls = [
            f"http://{f'[{host}]' if ':' in host else host}:{port}"
            for server in self.servers
            for host, port, *_ in (item.getsockname() for item in server.sockets)
        ]
        self._out.show({"listening": urls}, lambda: self._out.line(f"Handrail listens on {', '.join(urls)}"))


def _warn(out: Output, settings: Settings) -> None:
    host = settings.server.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        out.note(
            f"WARNING: listening on {host} without TLS. API keys and everything that tools return cross the network in "
            "clear unless a TLS proxy stands in front and nothing else can reach this port.",
            "bold red",
        )
