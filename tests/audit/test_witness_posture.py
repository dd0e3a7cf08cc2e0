"""The posture check ``witnesses-quorum``: by cosignatures that verify, and not by rows."""

import base64
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import key_id, note_text, signature_line
from audit.cosignature import ED25519, Cosignature, WitnessKey, cosigned_message
from audit.cosigned import store
from gateway.ports import Append
from gateway.posture.log import CHECKS
from gateway.posture.model import State
from gateway.posture.scene import Scene
from gateway.settings import Settings
from tests.audit.conftest import draft

NOW = 1_800_000_000
[LOOK] = [check.look for check in CHECKS if check.id == "witnesses-quorum"]
PRIVATE = {f"w{n}.example": Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)}


def vkey(name):
    material = ED25519 + PRIVATE[name].public_key().public_bytes_raw()
    return f"{name}+{key_id(name, material).hex()}+{base64.b64encode(material).decode()}"


def cosigned(name, note, at, private=None):
    key = WitnessKey.parse(vkey(name))
    signature = (private or PRIVATE[name]).sign(cosigned_message(note_text(note), at))
    line = signature_line(name, key.key_id + struct.pack(">Q", at) + signature)
    return Cosignature(name, key.key_id, at, line)


def looked(engine, quorum=2, now=NOW):
    witnesses = {f"w{n}": {"key": vkey(name), "url": f"https://{name}"} for n, name in enumerate(PRIVATE)}
    settings = Settings(
        database={"url": engine.url.render_as_string(hide_password=False)},
        log={"witness_quorum": quorum, "witnesses": witnesses if quorum else {}},
    )
    scene = Scene(settings, now)
    try:
        return LOOK(scene)
    finally:
        scene.close()


@pytest.fixture
async def said(open_log, engine):
    """Takes (witness, seconds ago) and stores such words under one checkpoint."""

    async def saying(*words, private=None):
        async with open_log(engine) as log:
            await log.append(Append([draft()]))
            await log.checkpoint()
            size, note = log.reader.checkpoint()
            rows = [store(size, cosigned(name, note, NOW - ago, private)) for name, ago in words]
            await log.append(Append((), rows))

    return saying


async def test_without_a_quorum_nobody_watches(engine):
    verdict = looked(engine, quorum=0)
    assert verdict.state is State.FAIL
    assert "[log.witnesses]" in verdict.remedy


async def test_enough_of_them_lately_pass(said, engine):
    await said(("w1.example", 10), ("w2.example", 800), ("w3.example", 90_000))
    verdict = looked(engine)
    assert verdict.state is State.PASS, verdict
    assert "2 of 3" in verdict.detail
    assert "800 seconds" in verdict.detail


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ([], "0 witnesses ever"),
        ([("w1.example", 1)], "1 witnesses ever"),
        ([("w1.example", 1), ("w2.example", 901)], "901 seconds ago"),
    ],
)
async def test_too_few_or_too_long_ago_is_found(said, engine, words, detail):
    await said(*words)
    verdict = looked(engine)
    assert verdict.state is State.FAIL
    assert detail in verdict.detail
    assert "log witnesses" in verdict.remedy


async def test_rows_that_somebody_made_up_are_no_word(said, engine):
    await said(("w1.example", 1), ("w2.example", 1), private=Ed25519PrivateKey.generate())
    assert looked(engine).state is State.FAIL
