"""What the way out of a jail adds to a request: ``python -m bench.egress``. JSON on standard output.

One client asks one host over TLS on this machine, one request after another on a kept connection: directly; through
the proxy, which speaks TLS for it; and through the proxy in TLS that ends there. Each request is an entry of a real log
(SQLite) before it leaves. Rounds alternate, so that other load on the machine falls on all alike, and the client is the
same few lines each time.
"""

import argparse
import asyncio
import json
import socket
import ssl
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from audit.log import Log
from bench.append import opened
from gateway.calls import HandCall
from gateway.settings import EgressLimits, EgressSettings, HandSettings
from hand_adapters.egress import EgressGate, serving
from hand_adapters.egress.reports import Reports
from tests.authority import Authority

ANSWER: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
LIMITS: Final = EgressLimits(requests=100_000, requests_per_second=10_000)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The host: the same answer to every request, until the client goes."""
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> float:
    """Milliseconds of one request, to the end of its answer's body."""
    begun = time.perf_counter()
    writer.write(request)
    await reader.readuntil(b'{"ok":true}')
    return (time.perf_counter() - begun) * 1000


async def measure(requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """Way -> milliseconds of a request."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        authority = Authority(home / "authority")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.issue("host"))
        host = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = host.sockets[0].getsockname()[1]
        where = f"127.0.0.1:{port}"
        rule = EgressSettings(
            host="127.0.0.1", port=port, paths=("/**",), private_network=True, ca_file=authority.certificate
        )
        gate = EgressGate("bench", HandSettings(adapter="mcp", command=("x",), egress=(rule,), egress_limits=LIMITS))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        proxy = listener.getsockname()[1]
        gate.open([listener])
        direct = ssl.create_default_context(cafile=str(authority.certificate))
        inside = ssl.create_default_context(cadata=Path(gate.binds[0].source).read_text(encoding="ascii"))
        absolute = f"GET http://{where}/x HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()
        origin = f"GET /x HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()
        times: dict[str, list[float]] = {"direct": [], "originated": [], "terminated": []}
        async with opened(f"sqlite:///{home / 'log.db'}", home) as log, serving(gate, _call(log)):
            connections = {
                "direct": await asyncio.open_connection("127.0.0.1", port, ssl=direct),
                "originated": await asyncio.open_connection("127.0.0.1", proxy),
                "terminated": await asyncio.open_connection("127.0.0.1", proxy),
            }
            reader, writer = connections["terminated"]
            writer.write(f"CONNECT {where} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(inside, server_hostname="127.0.0.1")
            for way, (reader, writer) in connections.items():
                await ask(reader, writer, absolute if way == "originated" else origin)  # its connection to the host
            for _ in range(rounds):
                for way, (reader, writer) in connections.items():
                    request = absolute if way == "originated" else origin
                    times[way] += [await ask(reader, writer, request) for _ in range(requests)]
            for _, writer in connections.values():
                writer.transport.abort()
        gate.close()
        host.close()
    bare = statistics.median(times["direct"])
    return {
        way: {
            "median": round(statistics.median(found), 3),
            "p90": round(statistics.quantiles(found, n=10)[-1], 3),
            "ratio_to_direct": round(statistics.median(found) / bare, 2),
            "added_median": round(statistics.median(found) - bare, 3),
        }
        for way, found in times.items()
    }


def _call(log: Log) -> HandCall:
    reports = Reports(log, lambda *_: None)

    async def record(code: str, facts: object, personal: bytes) -> None:
        await reports.record(call, code, facts, personal)  # type: ignore[arg-type]

    call = HandCall(
        tenant="default",
        principal_id="bench",
        context_id="bench",
        plan_id="0" * 64,
        step_id="s1",
        hand="bench",
        action="fetch",
        args={},
        args_bytes=b"{}",
        credential="",
        manifest_digest="0" * 64,
        deadline_seconds=600,
        result_max_bytes=1_048_576,
        prove=lambda _method, _url: "",
        record=record,
    )
    return call


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.requests, options.rounds)), indent=2))
