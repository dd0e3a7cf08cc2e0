"""A witness that is slow, hung, broken or malicious: what it answers is kept out, and the log does not wait for it."""

import asyncio
import base64
import contextlib
import struct
import time
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from audit.checkpoint import checkpoint_text, key_id, note_text, signature_line
from audit.cosignature import ED25519, WitnessKey, cosigned_message
from audit.witness import ANSWER_MAX_BYTES, Fault, request_body
from audit.witnesses import Witnesses, quorum_of
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.settings import LogSettings, SettingsError
from hand_adapters.courier import courier
from tests.audit.conftest import draft
from tests.until import until

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME = "witness.example/w"
NOW = int(time.time())


def vkey(name=NAME, private=PRIVATE):
    material = ED25519 + private.public_key().public_bytes_raw()
    return f"{name}+{key_id(name, material).hex()}+{base64.b64encode(material).decode()}"


KEY = WitnessKey.parse(vkey())


def cosign(checkpoint, *, private=PRIVATE, name=NAME, at=NOW, key=KEY):
    signature = private.sign(cosigned_message(checkpoint, at))
    return signature_line(name, key.key_id + struct.pack(">Q", at) + signature).encode()


def response(status, body, kind="text/plain", extra=b""):
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode()
    return head + extra + b"connection: close\r\n\r\n" + body


class Hostile:
    """Answers as it is told to.

    Attributes:
        answer: takes the checkpoint's text, gives the bytes of the whole response; ``None`` never answers.
        asked: bodies of the requests, in order.
    """

    def __init__(self):
        self.answer = None
        self.asked = []
        self.open = 0
        self.url = ""

    async def serve(self, reader, writer):
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            body = (await reader.readexactly(length)).decode()
            self.asked.append(body)
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer(note_text(body.partition("\n\n")[2])))
                await writer.drain()
        self.open -= 1
        writer.close()


@pytest.fixture
async def hostile():
    peer = Hostile()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield peer
    server.close()


@asynccontextmanager
async def asked(open_log, engine, hostile, **settings):
    """A log of three entries, and its one witness."""
    one = {"key": vkey(), "url": hostile.url, "private_network": True, "timeout_seconds": settings.pop("timeout", 5)}
    async with open_log(engine, witnesses={"w": one}, **settings) as log:
        await log.append(Append([draft(), draft()]))
        asking = Witnesses.open(log._settings, log, log.cosigned, courier)
        try:
            yield log, asking, asking.all[0]
        finally:
            await asking.close()


def stored(engine):
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM cosignatures")).scalar()


ANSWERS = {
    "nothing": (lambda _: b"", Fault.UNREACHABLE),
    "no HTTP": (lambda _: b"\x00\x01\x02\r\n\r\n", Fault.UNREACHABLE),
    "an error": (lambda _: response(500, b"x"), Fault.UNREACHABLE),
    "a redirect": (lambda t: response(307, cosign(t), extra=b"location: http://127.0.0.1:1/\r\n"), Fault.UNREACHABLE),
    "not found": (lambda _: response(404, b""), Fault.UNKNOWN_LOG),
    "forbidden": (lambda _: response(403, b""), Fault.UNTRUSTED_KEY),
    "bad request": (lambda _: response(400, b""), Fault.REFUSED),
    "unprocessable": (lambda _: response(422, b""), Fault.FORKED),
    "an empty answer": (lambda _: response(200, b""), Fault.MALFORMED),
    "no line": (lambda _: response(200, b"thank you\n"), Fault.MALFORMED),
    "not UTF-8": (lambda t: response(200, b"\xff" + cosign(t)), Fault.MALFORMED),
    "a cut line": (lambda t: response(200, cosign(t)[:-5] + b"\n"), Fault.MALFORMED),
    "no newline": (lambda t: response(200, cosign(t)[:-1]), Fault.MALFORMED),
    "another key": (lambda t: response(200, cosign(t, private=OTHER)), Fault.MALFORMED),
    "another name": (lambda t: response(200, cosign(t, name="another.example/w")), Fault.MALFORMED),
    "another tree": (
        lambda t: response(200, cosign(checkpoint_text(t.split("\n")[0], 3, bytes(32)))),
        Fault.MALFORMED,
    ),
    "a plain signature": (
        lambda t: response(200, signature_line(NAME, KEY.key_id + PRIVATE.sign(t.encode())).encode()),
        Fault.MALFORMED,
    ),
    "no time": (lambda t: response(200, cosign(t, at=0)), Fault.MALFORMED),
    "a time in the future": (lambda t: response(200, cosign(t, at=NOW + 86_400)), Fault.MALFORMED),
    "a time beyond 63 bits": (lambda t: response(200, cosign(t, at=2**63)), Fault.MALFORMED),
    "one good line and one bad": (lambda t: response(200, cosign(t) + cosign(t, private=OTHER)), Fault.MALFORMED),
    "too many lines": (lambda t: response(200, cosign(t) * 101), Fault.MALFORMED),
    "too much": (lambda t: response(200, cosign(t) + b"x" * ANSWER_MAX_BYTES), Fault.UNREACHABLE),
    "a stream without an end": (
        lambda _: (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 65_535 + b"\r\n"
            b"ffff\r\n" + b"x" * 65_535 + b"\r\n"
        ),
        Fault.UNREACHABLE,
    ),
    "a compressed bomb": (
        lambda _: response(200, bytes.fromhex("1f8b0800") + bytes(100), extra=b"content-encoding: gzip\r\n"),
        Fault.MALFORMED,
    ),
    "a conflict without a size": (lambda _: response(409, b"", "text/x.tlog.size"), Fault.MALFORMED),
    "a conflict in words": (lambda _: response(409, b"2\n", "text/plain"), Fault.MALFORMED),
    "a conflict with a negative size": (lambda _: response(409, b"-2\n", "text/x.tlog.size"), Fault.MALFORMED),
    "a conflict with a padded size": (lambda _: response(409, b"02\n", "text/x.tlog.size"), Fault.MALFORMED),
    "a conflict with an endless size": (
        lambda _: response(409, b"9" * 5000 + b"\n", "text/x.tlog.size"),
        Fault.MALFORMED,
    ),
    "a conflict with a size beyond the log": (lambda _: response(409, b"4\n", "text/x.tlog.size"), Fault.AHEAD),
}


@pytest.mark.parametrize(("answer", "fault"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_that_is_no_cosignature_is_named_and_not_kept(sqlite_engine, open_log, hostile, answer, fault):
    async with asked(open_log, sqlite_engine, hostile) as (log, asking, witness):
        hostile.answer = answer
        await asking.attempt(witness)
        assert witness.fault is fault, witness.detail
        assert (witness.tree_size, witness.cosigned_at, witness.failures) == (0, None, 1)
        assert stored(sqlite_engine) == 0
        assert "cosign" not in (await log.cosigned_checkpoint()).note
        assert await log.reads.run(log.cosigned.newest, 1) is None
        # And it may come back.
        hostile.answer = lambda checkpoint: response(200, cosign(checkpoint))
        await asking.attempt(witness)
        assert (witness.fault, witness.tree_size, witness.failures) == (None, 3, 0)
        assert (await log.cosigned_checkpoint(1)).note.count("\u2014") == 2


async def test_strangers_lines_beside_the_cosignature_are_left_out(sqlite_engine, open_log, hostile):
    async with asked(open_log, sqlite_engine, hostile) as (log, asking, witness):
        hostile.answer = lambda t: response(200, signature_line("stranger.example", bytes(80)).encode() + cosign(t))
        await asking.attempt(witness)
        assert witness.fault is None
        assert "stranger" not in (await log.cosigned_checkpoint(1)).note


async def test_a_conflict_is_followed_once_and_to_no_size_of_a_liar_s_choice(sqlite_engine, open_log, hostile):
    async with asked(open_log, sqlite_engine, hostile) as (_, asking, witness):
        hostile.answer = lambda _: response(409, b"2\n", "text/x.tlog.size")
        await asking.attempt(witness)
        assert [body.split("\n")[0] for body in hostile.asked] == ["old 0", "old 2"]
        assert len(hostile.asked[1].split("\n\n")[0].split("\n")) == 1 + 1, "with the proof from 2 to 3"
        assert (witness.fault, witness.tree_size) == (None, 0), "nothing is learnt from it, and it counts as no word"


async def test_a_witness_that_never_answers_holds_up_neither_the_log_nor_the_end(sqlite_engine, open_log, hostile):
    async with asked(open_log, sqlite_engine, hostile, timeout=60, witness_interval_seconds=0.01) as (log, asking, _):
        asking.start()
        await until(lambda: hostile.open == 1)
        for number in range(20):
            await log.append(Append([draft(number)]))
            assert (await log.cosigned_checkpoint()).note
        await log.ready()
        assert hostile.open == 1, "one request at a time"
    await until(lambda: hostile.open == 0)


async def test_a_witness_that_is_too_slow_is_given_up(sqlite_engine, open_log, hostile):
    async with asked(open_log, sqlite_engine, hostile, timeout=0.05) as (_, asking, witness):
        await asking.attempt(witness)
        assert witness.fault is Fault.UNREACHABLE
        pauses = []
        for failures in range(1, 30):
            witness.failures = failures
            pauses.append(asking._pause(witness))
        assert max(pauses) <= 300
        assert pauses[-1] > pauses[0]


async def test_a_lagging_quorum_is_a_notice_and_one_liar_cannot_make_one(sqlite_engine, open_log, hostile):
    now = [time.time()]
    live = {"key": vkey(), "url": hostile.url, "private_network": True}
    liar = {"key": vkey("liar.example", OTHER), "url": f"{hostile.url}/liar", "private_network": True}
    async with open_log(sqlite_engine, witnesses={"w": live, "liar": liar}, witness_quorum=1) as log:
        await log.append(Append([draft()]))
        asking = Witnesses.open(log._settings, log, log.cosigned, courier, lambda: now[0])
        asking.start()
        await asking.close()
        assert (asking.problem(), asking.lags) == (None, False)
        now[0] += 901
        assert (asking.problem(), asking.lags) == (Reason.LOG_UNWITNESSED, True)
        hostile.answer = lambda checkpoint: response(200, cosign(checkpoint, at=int(now[0])))
        await asking.attempt(asking.all[0])
        hostile.answer = lambda _: response(422, b"")
        await asking.attempt(asking.all[1])
        assert (asking.problem(), asking.lags) == (Reason.LOG_FORKED, False)
        assert [one["fault"] for one in asking.view()["witnesses"]] == [None, "forked"]
        await asking.close()


# --- what is configured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["nonsense", vkey()[:-4] + "AAA=", vkey().replace("witness", "witnes5"),
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"],
)  # fmt: skip
def test_a_key_that_cannot_be_used_stops_the_start(key):
    with pytest.raises((SettingsError, ValueError), match="key"):
        quorum_of(LogSettings(witnesses={"w": {"key": key, "url": "https://w.example"}}))


def test_one_key_under_two_names_is_one_witness():
    table = {name: {"key": vkey(f"{name}.example"), "url": "https://w.example"} for name in ("a", "b")}
    with pytest.raises(SettingsError, match="one witness"):
        quorum_of(LogSettings(witnesses=table, witness_quorum=2))


@pytest.mark.parametrize(
    "table",
    [
        {"witness_quorum": 1},
        {"witnesses": {"w": {"key": vkey(), "url": "http://w.example"}}},
        {"witnesses": {"w": {"key": vkey(), "url": "ftp://w.example"}}},
        {"witness_lag_max_seconds": 10, "witness_heartbeat_seconds": 10},
    ],
)
def test_settings_that_cannot_hold_are_refused(table):
    with pytest.raises(ValueError, match="witness"):
        LogSettings(**table)


def test_an_address_that_the_gateway_does_not_dial_stops_the_start(sqlite_engine):
    settings = LogSettings(witnesses={"w": {"key": vkey(), "url": "https://169.254.169.254/"}})
    with pytest.raises(SettingsError, match=r"log\.witnesses\.w"):
        Witnesses.open(settings, None, type("C", (), {"quorum": quorum_of(settings)}), courier)


def test_a_request_is_what_the_specification_shows():
    proof = [bytes(32), bytes([255] * 32)]
    body = request_body(20852014, proof, "o\n20852163\nroot\n\n\u2014 o AAAA\n").decode()
    assert body == (
        "old 20852014\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n//////////////////////////////////////////8=\n\n"
        "o\n20852163\nroot\n\n\u2014 o AAAA\n"
    )
    assert request_body(0, [], "o\n").startswith(b"old 0\n\no\n")
