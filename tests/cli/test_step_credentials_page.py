"""The page about step credentials, done as it says: its hand in a process of its own behind a proxy that records, a
real gateway, and then every request again that somebody on the way could send."""

import asyncio
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.cli import real
from tests.cli.real import CONFIG
from tests.client.stand_in import serving
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.until import until

PAGE = (ROOT / "docs" / "step-credentials.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[PROGRAM] = [text for language, text in BLOCKS if language == "python" and text.startswith("# notes.py")]
[DECLARATION] = [text for language, text in BLOCKS if language == "toml"]
[LINES] = [text for language, text in BLOCKS if language == "python" and text != PROGRAM]


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Hand:
    """The page's program, started and killed."""

    def __init__(self, directory: Path, outer: str, gateway: str) -> None:
        self.port = free_port()
        program = PROGRAM.replace("http://127.0.0.1:9000", outer).replace("http://127.0.0.1:8080", gateway)
        program = program.replace("handrail.local/log", "handrail.test/replay").replace("9000", str(self.port))
        (directory / "notes.py").write_text(program, encoding="utf-8")
        self.directory = directory
        self.start()

    def start(self) -> None:
        command = [sys.executable, "notes.py"]
        self.process = subprocess.Popen(command, cwd=self.directory, stderr=subprocess.DEVNULL)
        asyncio.run(until(lambda: listening(self.port)))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def send(self, headers: list[tuple[str, str]], body: bytes, path: str = "/find") -> tuple[int, Any, str | None]:
        """The status, the document and the challenge that it answers with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest("POST", path)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.getheader("WWW-Authenticate")
        finally:
            connection.close()


class Road:
    """Between gateway and hand: passes on, or swallows, and remembers what it saw."""

    def __init__(self) -> None:
        self.hand: Hand | None = None
        self.seen: list[tuple[list[tuple[str, str]], bytes]] = []
        self.swallows = False

    async def carry(self, request: Request) -> Response:
        names = ("authorization", "dpop", "content-type")
        headers = [(name, value) for name, value in request.headers.items() if name in names]
        self.seen.append((headers, await request.body()))
        if self.swallows or self.hand is None:
            return Response(status_code=504)
        status, document, _ = await asyncio.to_thread(self.hand.send, *self.seen[-1])
        return Response(json.dumps(document), status, media_type="application/json")


class Place:
    """A gateway, the road and the hand at its end."""

    def __init__(self, home: Path, road: Road, hand: Hand) -> None:
        self.home, self.road, self.hand = home, road, hand

    def find(self, text: str) -> Any:
        """The one step of a plan that asks the hand."""
        action = {"id": "s", "hand": "notes", "action": "find", "args": {"text": text}}
        (self.home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [action]}))
        token = real.invoke(self.home, "plan", "sign", "--as", "ada", str(self.home / "plan.json")).stdout
        sent = real.invoke(self.home, "plan", "submit", "-", "--wait", "20", "--as", "ada", "--json", stdin=token)
        [step] = json.loads(sent.stdout)["steps"]
        return step


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    work = tmp_path_factory.mktemp("notes")
    road = Road()
    with serving(Starlette(routes=[Route("/{path:path}", road.carry, methods=["POST"])])) as outer:
        declaration = DECLARATION.replace("http://127.0.0.1:9000", outer)
        config = CONFIG + declaration.replace("{", "{{").replace("}", "}}")
        with real.gateway(work, config, {"ada": "agent"}, signer="ada", issuer="ada-laptop") as home:
            pinned = real.invoke(home, "hands", "pin", "notes", "--yes", "--as", "admin")
            assert pinned.exit_code == 0, pinned.output
            url = json.loads((home / "cli.json").read_text())["url"]
            hand = road.hand = Hand(work, outer, url)
            try:
                yield Place(home, road, hand)
            finally:
                hand.kill()


def test_the_three_lines_are_three() -> None:
    assert len([line for line in LINES.splitlines() if line]) == 3


def test_the_hand_obeys_a_step_once_whatever_is_sent_again(place: Place) -> None:
    step = place.find("chairs")
    assert (step["status"], step["result"]["structured"]) == ("succeeded", {"found": ["chairs: 3"], "for": "ada"})
    headers, body = place.road.seen[-1]

    status, refused, challenge = place.hand.send(headers, body)
    assert (status, refused["code"]) == (401, "verify.replayed")
    assert challenge == 'DPoP error="invalid_token", algs="Ed25519"'

    place.hand.kill()
    place.hand.start()
    assert place.hand.send(headers, body)[:2] == (401, {"code": "verify.replayed"}), "a restart forgets nothing"


def test_what_was_caught_on_the_way_is_good_for_that_call_alone(place: Place) -> None:
    place.road.swallows = True
    step = place.find("tables")
    place.road.swallows = False
    assert (step["status"], step["error"]["code"]) == ("ambiguous", "hand.lost_reply")
    headers, body = place.road.seen[-1]
    authorization, proof = dict(headers)["authorization"], dict(headers)["dpop"]

    def code(headers: list[tuple[str, str]], body: bytes = body, path: str = "/find") -> str:
        status, refused, _ = place.hand.send(headers, body, path)
        assert status == 401
        return str(refused["code"])

    assert code([]) == "credential.missing"
    assert code([("authorization", authorization)]) == "credential.missing"
    assert code([("authorization", authorization.replace("DPoP", "Bearer")), ("dpop", proof)]) == "credential.missing"
    assert code(headers, body.replace(b"tables", b"chairs")) == "credential.refused"
    assert code(headers, path="/delete") == "proof.refused"
    older = dict(place.road.seen[0][0])
    assert code([("authorization", authorization), ("dpop", older["dpop"])]) == "proof.refused"
    assert code([("authorization", older["authorization"]), ("dpop", proof)]) == "credential.refused"
    status, found, _ = place.hand.send(headers, b' {"text" : "tables"}')
    assert (status, found) == (200, {"found": ["tables: 1"], "for": "ada"}), "delivered late, as it was decided"
    assert code(headers) == "verify.replayed"
