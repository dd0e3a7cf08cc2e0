"""What a session of a coding agent keeps of itself: ``python -m bench.session``. Markdown on standard output.

A client sends its whole conversation each turn. Here one grows by 20 kB a turn, through a gateway in a process of its
own, and what its sealed values take is read from the database.
"""

import asyncio
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.messages import CONFIGURATION, body, first_token, prepare
from bench.processes import SERVER_CORE, free_port, pinned
from gateway.settings import load
from tests.anthropic_api.blocks import message
from tests.anthropic_api.server import serving

TURN_BYTES: Final = 20_000
TURNS: Final = (5, 10, 20)


def turns(count: int) -> Iterator[Mapping[str, Any]]:
    """The bodies of a session's requests."""
    draw = random.Random(1)
    said: list[dict[str, str]] = []
    for _ in range(count):
        said.append({"role": "user", "content": "".join(draw.choices("abcdefghijklmnop ", k=TURN_BYTES))})
        yield {**json.loads(body(0)), "messages": list(said)}
        said.append({"role": "assistant", "content": "Done."})


def sealed_bytes(database: Path) -> int:
    """What sealed values take."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (found,) = connection.execute("SELECT sum(length(sealed)) FROM payloads").fetchone()
    return int(found or 0)


async def measure(directory: Path) -> list[tuple[int, int, int, int]]:
    """Turns, and the bytes of the last request, of all requests, and of what is kept."""
    async with serving() as api:
        whole = message("Done.")
        api.decide = lambda _: whole
        port = free_port()
        configuration = directory / "handrail.toml"
        text = CONFIGURATION.format(home=directory / "home", port=port, api=api.url)
        configuration.write_text(text, encoding="utf-8")
        settings = load(configuration)
        token = await prepare(settings)
        database = settings.home / "handrail.db"
        command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
        rows, before, sent = [], sealed_bytes(database), 0
        with pinned(SERVER_CORE, command, port, directory / "gateway.log"):
            async with httpx2.AsyncClient(timeout=60, headers={"x-handrail-context": "session"}) as http:
                for number, asked in enumerate(turns(max(TURNS)), 1):
                    raw = json.dumps(asked, separators=(",", ":")).encode()
                    await first_token(http, f"http://127.0.0.1:{port}/anthropic", token, raw)
                    sent += len(raw)
                    if number in TURNS:
                        rows.append((number, len(raw), sent, sealed_bytes(database) - before))
        return rows


def table(rows: list[tuple[int, int, int, int]]) -> str:
    """As docs/messages.md has it."""
    lines = ["| turns | last request | all requests | sealed values | of the requests |", "|---|---|---|---|---|"]
    lines += [
        f"| {count} | {last / 1e3:.0f} kB | {sent / 1e6:.1f} MB | {kept / 1e6:.1f} MB | {kept / sent:.2f} |"
        for count, last, sent, kept in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(table(asyncio.run(measure(Path(place)))))
