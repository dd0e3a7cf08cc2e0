"""The verifier that hands embed: its keys and its memory. What it checks of a request is in the vectors."""

import asyncio
import json
import socket
import threading
from email.header import Header
from http.client import HTTPMessage
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from handrail.errors import StepRefused
from handrail.hand import Verifier
from handrail.single_use import FileUses, MemoryUses, Uses
from handrail.step_keys import JWKS_MAX_BYTES, LIFETIME_SECONDS, PAUSE_SECONDS, StepKeys
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.client.stand_in import serving

DOCUMENT: dict[str, Any] = json.loads(files("handrail").joinpath("vectors/step-credentials.json").read_text())
GOOD = {**DOCUMENT["request"], **DOCUMENT["cases"][0]}
JWKS = DOCUMENT["jwks"]
KID = JWKS["keys"][0]["kid"]


def verify(uses: Uses | None = None, headers: Any = None) -> str:
    verifier = Verifier(JWKS, issuer=GOOD["issuer"], hand=GOOD["hand"], uses=uses, clock=lambda: GOOD["now"])
    shown = [tuple(pair) for pair in GOOD["headers"]] if headers is None else headers
    return verifier.verify(shown, GOOD["action"], GOOD["args"], method=GOOD["method"], url=GOOD["url"]).jti


def code(call: Any) -> str:
    with pytest.raises(StepRefused) as refusal:
        call()
    return refusal.value.code


def test_it_gives_what_was_bound() -> None:
    verifier = Verifier(JWKS, issuer=GOOD["issuer"], hand=GOOD["hand"], clock=lambda: GOOD["now"])
    step = verifier.verify(dict(GOOD["headers"]), GOOD["action"], GOOD["args"], method=GOOD["method"], url=GOOD["url"])
    assert (step.subject, step.actor, step.context_id, step.action) == ("alice", "alice-laptop", "ctx-1", "add_note")
    assert (step.binding["tenant"], step.binding["step_id"]) == ("default", "note")
    assert step.expires_at - step.issued_at == 60
    assert (
        code(
            lambda: verifier.verify(
                dict(GOOD["headers"]), GOOD["action"], GOOD["args"], method=GOOD["method"], url=GOOD["url"]
            )
        )
        == "verify.replayed"
    )


def test_a_frameworks_headers_show_a_second_credential() -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in GOOD["headers"]]
    verify(headers=Headers(raw=raw))
    assert code(lambda: verify(headers=Headers(raw=[*raw, raw[0]]))) == "credential.missing"


def test_headers_as_http_server_gives_them_are_read() -> None:
    message = HTTPMessage()
    message["X-Note"] = Header("not of interest", "utf-8")
    for name, value in GOOD["headers"]:
        message[name] = value
    assert verify(headers=message) == GOOD_JTI
    message["DPoP"] = "another"
    assert code(lambda: verify(headers=message)) == "credential.missing"


@pytest.mark.parametrize(
    "headers",
    [
        ["Authorization", "DPoP"],
        [("Authorization",)],
        [("DPoP", "a", "b")],
        [(b"authorization", b"DPoP x"), (b"dpop", b"y")],
        [("authorization", b"DPoP x"), ("dpop", b"y")],
        [("authorization", Header("DPoP x")), ("dpop", "y")],
        [None],
    ],
)
def test_headers_that_are_no_pairs_of_texts_are_refused_in_the_verifier_s_words(headers: Any) -> None:
    assert code(lambda: verify(headers=headers)) == "credential.missing"


def test_the_challenge_says_what_a_client_can_mend() -> None:
    assert StepRefused("credential.missing", "").challenge == 'DPoP algs="Ed25519"'
    assert StepRefused("proof.refused", "").challenge == 'DPoP error="invalid_dpop_proof", algs="Ed25519"'
    assert StepRefused("verify.expired", "").challenge == 'DPoP error="invalid_token", algs="Ed25519"'


@pytest.mark.parametrize("kind", [MemoryUses, FileUses])
def test_of_many_at_once_one_may_act(kind: Any, tmp_path: Path) -> None:
    uses = MemoryUses() if kind is MemoryUses else FileUses(tmp_path / "used.sqlite")
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def attempt() -> None:
        together.wait(30)
        try:
            outcomes.append(verify(uses))
        except StepRefused as refusal:
            outcomes.append(refusal.code)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == sorted([GOOD_JTI, *["verify.replayed"] * 7])


GOOD_JTI = verify()


def test_a_refused_request_uses_nothing_up() -> None:
    uses = MemoryUses()
    forged = [(name, value + "A" if name == "DPoP" else value) for name, value in GOOD["headers"]]
    assert code(lambda: verify(uses, forged)) == "proof.refused"
    assert verify(uses) == GOOD_JTI


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    uses = MemoryUses(capacity=1)
    uses.claim("a", 100, now=50.0)
    assert code(lambda: uses.claim("b", 100, now=105.0)) == "credential.refused"
    uses.claim("b", 200, now=105.5)
    assert code(lambda: uses.claim("b", 200, now=105.5)) == "verify.replayed"


def test_a_file_forgets_what_is_over_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite"
    FileUses(file).claim("a", 100, now=50.0)
    FileUses(file).claim("b", 200, now=105.0)
    assert code(lambda: FileUses(file).claim("a", 100, now=105.0)) == "verify.replayed"
    FileUses(file).claim("c", 300, now=106.0)
    FileUses(file).claim("a", 100, now=106.0)
    assert code(lambda: FileUses(file).claim("b", 200, now=106.0)) == "verify.replayed"


def test_a_memory_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    assert code(lambda: FileUses(tmp_path / "absent" / "used.sqlite")) == "credential.refused"
    uses = FileUses(tmp_path / "used.sqlite")
    (tmp_path / "used.sqlite").write_bytes(b"no database, but long enough to be looked at as one" * 100)
    assert code(lambda: uses.claim("a", 100, now=50.0)) == "credential.refused"


class Published:
    """A JWKS as a server gives it."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Response = JSONResponse(JWKS)
        self.arrived = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()

    async def handle(self, _request: Request) -> Response:
        self.asked += 1
        self.arrived.set()
        await asyncio.to_thread(self.goes_on.wait, 60)
        return self.answer


@pytest.fixture
def published() -> Any:
    found = Published()
    with serving(Starlette(routes=[Route("/{path:path}", found.handle)])) as url:
        yield found, StepKeys(f"{url}/.well-known/jwks.json")


def test_keys_are_fetched_when_needed_and_kept(published: Any) -> None:
    server, keys = published
    assert server.asked == 0
    assert keys.get(KID, 1000.0).kid == KID
    keys.get(KID, 1000.0 + LIFETIME_SECONDS - 1)
    assert server.asked == 1
    keys.get(KID, 1000.0 + LIFETIME_SECONDS)
    assert server.asked == 2


def test_invented_key_ids_cause_one_fetch_in_ten_seconds(published: Any) -> None:
    server, keys = published
    keys.get(KID, 1000.0)
    for number in range(50):
        assert code(lambda number=number: keys.get(f"{number:043d}", 1000.0)) == "verify.unknown_key"
    assert server.asked == 1
    assert code(lambda: keys.get("A" * 43, 1000.0 + PAUSE_SECONDS)) == "verify.unknown_key"
    assert server.asked == 2
    assert keys.get(KID, 1000.0 + PAUSE_SECONDS).kid == KID


def test_who_asks_for_a_known_key_does_not_wait_while_another_is_looked_for(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handrail.step_keys.TIMEOUT_SECONDS", 60)
    server, keys = published
    keys.get(KID, 1000.0)
    server.arrived.clear()
    server.goes_on.clear()
    found: list[str] = []
    invented = threading.Thread(target=lambda: found.append(code(lambda: keys.get("A" * 43, 1000.0 + PAUSE_SECONDS))))
    known = threading.Thread(target=lambda: found.append(keys.get(KID, 1000.0 + PAUSE_SECONDS).kid))
    try:
        invented.start()
        assert server.arrived.wait(30)
        known.start()
        known.join(10)
        assert found == [KID]
    finally:
        server.goes_on.set()
        invented.join(30)
        known.join(30)
    assert found == [KID, "verify.unknown_key"]


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"])
def test_an_answer_that_trickles_is_given_up(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes soon after the one before; the whole never does."""
    monkeypatch.setattr("handrail.step_keys.TIMEOUT_SECONDS", 0.5)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(start)
                while not over.wait(0.01):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        server = threading.Thread(target=trickle)
        server.start()
        keys, found = StepKeys(f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"), []
        asking = threading.Thread(target=lambda: found.append(code(lambda: keys.get(KID, 1000.0))))
        asking.start()
        asking.join(20)
        gave_up = not asking.is_alive()
        server.join(20 if gave_up else 0)
        hung_up = not server.is_alive()
        over.set()
        for thread in (asking, server):
            thread.join(30)
    assert gave_up
    assert hung_up, "the connection is let go of"
    assert found == ["verify.unknown_key"]


async def test_keys_are_fetched_from_within_an_event_loop_too(published: Any) -> None:
    _, keys = published
    assert keys.get(KID, 1000.0).kid == KID


def test_a_rotated_key_is_found_and_a_revoked_one_lost(published: Any) -> None:
    server, keys = published
    server.answer = JSONResponse({"keys": []})
    assert code(lambda: keys.get(KID, 1000.0)) == "verify.unknown_key"
    server.answer = JSONResponse(JWKS)
    assert keys.get(KID, 1000.0 + PAUSE_SECONDS).kid == KID
    server.answer = JSONResponse({"keys": [{**JWKS["keys"][0], "state": "revoked"}]})
    assert code(lambda: keys.get(KID, 1010.0 + LIFETIME_SECONDS)) == "verify.unknown_key"


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=503),
        RedirectResponse("http://127.0.0.1:1/jwks.json"),
        Response(b"<html>"),
        Response(b'{"keys":[],"keys":[]}'),
        JSONResponse({"keys": "none"}),
        JSONResponse({"keys": [{**JWKS["keys"][0], "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kid": None}]}),
        Response(b" " * (JWKS_MAX_BYTES + 1)),
    ],
    ids=["away", "elsewhere", "a page", "a member twice", "no list", "a key of small order", "too large"],
)
def test_keys_that_cannot_be_fetched_age_out(published: Any, answer: Response) -> None:
    server, keys = published
    keys.get(KID, 1000.0)
    server.answer = answer
    assert code(lambda: keys.get("A" * 43, 1000.0 + PAUSE_SECONDS)) == "verify.unknown_key"
    assert keys.get(KID, 1000.0 + LIFETIME_SECONDS - 1).kid == KID, "young keys are still good"
    assert code(lambda: keys.get(KID, 1000.0 + LIFETIME_SECONDS)) == "verify.unknown_key"
    assert code(lambda: keys.get(KID, 1001.0 + LIFETIME_SECONDS)) == "verify.unknown_key"


def test_a_clock_set_back_makes_no_key_younger(published: Any) -> None:
    server, keys = published
    keys.get(KID, 1000.0)
    server.answer = Response(status_code=503)
    assert code(lambda: keys.get(KID, 10.0)) == "verify.unknown_key"


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text('{"keys":[]}')
    keys = StepKeys(file)
    assert code(lambda: keys.get(KID, 1000.0)) == "verify.unknown_key"
    file.write_text(json.dumps(JWKS))
    assert keys.get(KID, 1000.0 + PAUSE_SECONDS).kid == KID


@pytest.mark.parametrize("url", ["http://gateway.example/jwks", "ftp://127.0.0.1/jwks", "jwks.json", "https:/x"])
def test_keys_do_not_come_from_where_anybody_could_put_them(url: str) -> None:
    if url.startswith("https"):
        assert code(lambda: StepKeys(url).get(KID, 1.0)) == "verify.unknown_key"
    else:
        assert code(lambda: StepKeys(url)) == "verify.unknown_key"


def test_a_key_of_another_purpose_signs_no_step() -> None:
    keys = StepKeys(JWKS)
    receipt = next(key["kid"] for key in JWKS["keys"] if key["purpose"] == "receipt")
    assert code(lambda: keys.get(receipt, 1.0)) == "verify.unknown_key"
