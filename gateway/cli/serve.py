"""``handrail serve``: run the gateway."""

import gc
import socket
import sys

import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.app import build
from gateway.cli.command import command, noun
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.console.routes import pages
from gateway.errors import HandrailError
from gateway.settings import load
from gateway.setup import database_unusable
from gateway.telemetry import configure_logging
from gateway.web.asgi import create_app
from gateway.web.proxies import LISTENER_REMEDY, listener_problem
from gateway.web.server import uvicorn_config
from gateway.web.stopping import DrainingServer, Stops

app = noun("serve")


@command(
    app, example="serve --config handrail.toml", good="it was interrupted, after serving", negative="it could not start"
)
def serve(
    out: Output,
    config: Config = None,
) -> Exit:
    """Run the gateway until it is interrupted."""
    settings = load(config)
    configure_logging(settings.telemetry)
    problem = listener_problem(settings.server)
    if problem is not None:
        raise Stop(problem, LISTENER_REMEDY, Exit.USAGE)
    try:
        gateway = build(settings)
        app_ = _Starting(create_app(gateway, pages(gateway)))
    except HandrailError as exc:
        raise _not_started(exc) from None
    server = _Server(uvicorn_config(app_, settings, tls=gateway.tls, metrics=gateway.metrics), out, gateway)
    try:
        server.run()
    except SystemExit:
        # uvicorn exits with a code of its own, both where the gateway does not start and where it cannot bind.
        if app_.failed:
            if isinstance(app_.failure, OSError):
                raise app_.failure from None
            if isinstance(app_.failure, SQLAlchemyError):
                raise _not_started(database_unusable(settings, app_.failure)) from None
            raise _not_started(app_.failure) from None
        raise Stop(
            f"the gateway could not listen on {settings.server.host}:{settings.server.port}",
            "Is one running there already? Choose another [server] port or host.",
            Exit.NEGATIVE,
        ) from None
    if not server.started:
        raise _not_started(None)
    return Exit.GOOD


def _not_started(failure: HandrailError | None) -> Stop:
    """The sentence for the operator, private detail included: it is their terminal."""
    if failure is None:
        return Stop("the gateway did not start", "The log above says why.", Exit.NEGATIVE)
    said = f"{failure.reason}: {failure.detail or failure.text}"
    return Stop(f"the gateway did not start: {said}", "'handrail doctor' looks at what it needs.", Exit.NEGATIVE)


class _Starting:
    """The application; keeps what stopped its start, where uvicorn would only print the traceback.

    Attributes:
        failure: an error that has words of its own; anything else is a fault of ours and keeps its traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failed = False
        self.failure: HandrailError | OSError | SQLAlchemyError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette sends this while it handles the exception.
                exception = sys.exception()
                self.failed = True
                if isinstance(exception, HandrailError | OSError | SQLAlchemyError):
                    self.failure = exception
                    message = {"type": message["type"]}
            await send(message)

        await self._app(scope, receive, note if scope["type"] == "lifespan" else send)


class _Server(DrainingServer):
    """Says where it listens once it does: with port 0 only the socket knows."""

    def __init__(self, config: uvicorn.Config, out: Output, gateway: Stops) -> None:
        super().__init__(config, gateway)
        self._out = out

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        scheme = "http" if self.config.ssl is None else "https"
        urls = [
            f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            for server in self.servers
            for host, port, *_ in (item.getsockname() for item in server.sockets)
        ]
        _settle_garbage()
        self._out.show({"listening": urls}, lambda: self._out.line(f"Handrail listens on {', '.join(urls)}"))


def _settle_garbage() -> None:
    """Have the collector leave alone what lives as long as the process, and look less often: a request makes some
    thousand objects and next to no cycles, and at Python's thresholds the walks over them were a twentieth of a step.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
