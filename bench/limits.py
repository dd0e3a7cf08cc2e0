"""``python -m bench.limits``: what the limits of the gateway cost one request, in microseconds of processor time.

One connection in memory, the same request again and again, answered by an application that does nothing: uvicorn's own
protocol, the guarded one, and the guarded one with the counting of principals. They take turns.
"""

import argparse
import asyncio
import statistics
import time
from functools import partial
from typing import Any

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.model import Principal, Role
from gateway.settings import LimitSettings
from gateway.telemetry import Metrics
from gateway.web.admission import Admission
from gateway.web.doors import Doors
from gateway.web.server import GuardedHttpProtocol

REQUEST = (
    b"POST /v1/plans?wait=5 HTTP/1.1\r\nhost: handrail.example.com\r\nuser-agent: bench\r\naccept: */*\r\n"
    b"authorization: Bearer hr_0123456789abcdef_0123456789abcdef0123456789abcdef\r\n"
    b"content-type: application/jose\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024
)
GENEROUS = LimitSettings(requests_per_second=1_000_000, requests_burst=1_000_000)
CALLER = Principal("agent", "default", "p-agent", frozenset({Role.AGENT}), None)


class _Transport(asyncio.Transport):
    """Takes everything at once."""

    def write(self, data: Any) -> None:
        """Nothing is kept."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Two addresses."""
        return {"peername": ("192.0.2.7", 40_000), "sockname": ("192.0.2.1", 8080)}.get(name, default)

    def is_closing(self) -> bool:
        """It stays."""
        return False

    def get_write_buffer_size(self) -> int:
        """It is empty."""
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""


async def _nothing(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class _Counting:
    """What ``AuthenticationMiddleware`` does of limits."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        credential = next(value for name, value in scope["headers"] if name == b"authorization")
        self._admission.look(scope, credential)
        self._admission.holds(credential)
        self._admission.enter(CALLER)
        try:
            await _nothing(scope, receive, send)
        finally:
            self._admission.leave(CALLER)


async def _seconds(protocol: Any, app: Any, requests: int) -> float:
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", access_log=False)
    config.load()
    config.loaded_app = app
    state = ServerState()
    connection = protocol(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    connection.connection_made(_Transport())
    began = time.process_time()
    for _ in range(requests):
        connection.data_received(REQUEST)
        while state.tasks:
            await asyncio.sleep(0)
    seconds = time.process_time() - began
    connection.connection_lost(None)
    if state.total_requests != requests:
        raise RuntimeError(f"{state.total_requests} of {requests} requests were answered")
    return seconds


async def measure(requests: int, rounds: int) -> dict[str, float]:
    """Microseconds of one request, the median of the rounds, by what stands before the application."""
    doors = Doors(GENEROUS, (), Metrics())
    counting = _Counting(Admission(GENEROUS, Metrics()))
    guarded = partial(GuardedHttpProtocol, doors=doors)
    subjects = {
        "uvicorn's protocol": (HttpToolsProtocol, _nothing),
        "with limits of a connection": (guarded, _nothing),
        "and of the principal": (guarded, counting),
    }
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, (protocol, app) in subjects.items():
            found[name].append(await _seconds(protocol, app, requests) / requests * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of one round")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    found = uvloop.run(measure(arguments.requests, arguments.rounds))
    bare = next(iter(found.values()))
    print("| one request that does nothing | µs | of bare |\n|---|---|---|")
    for name, microseconds in found.items():
        print(f"| {name} | {microseconds:.1f} | {microseconds / bare:.2f} |")


if __name__ == "__main__":
    main()
