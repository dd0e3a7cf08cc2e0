"""A verifier's own witnesses: which keys it takes, and what a checkpoint must have of them. Written from the text of
c2sp.org/tlog-cosignature, with keys of its own.
"""

import base64
import hashlib
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import MalformedError, Quorum, Trust, VerificationError, verify_receipt
from handrail.note import NO_QUORUM, LogKey, WitnessKey, open_checkpoint

from audit.checkpoint import VerifierKey
from audit.cosignature import Quorum as GatewayQuorum
from audit.cosignature import WitnessKey as GatewayWitnessKey
from audit.errors import NoteInvalid
from tests.client.receipt_forge import ORIGIN, Forge, public, vkey

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
NAMES = [f"w{number}.example" for number in range(3)]
TIME = 1_795_226_400


def material(key):
    return b"\x04" + public(key)


def key_id(name, key):
    return hashlib.sha256(name.encode() + b"\n" + material(key)).digest()[:4]


def witness_vkey(number):
    name, key = NAMES[number], KEYS[number]
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(material(key)).decode()}"


def line(number, text, *, time=TIME, key=None, said=None):
    signed = (key or KEYS[number]).sign(f"cosignature/v1\ntime {time if said is None else said}\n{text}".encode())
    blob = key_id(NAMES[number], KEYS[number]) + struct.pack(">Q", time) + signed
    return f"\u2014 {NAMES[number]} {base64.b64encode(blob).decode()}\n"


@pytest.fixture
def forge():
    return Forge()


@pytest.fixture
def log_key(forge):
    return LogKey.parse(vkey(ORIGIN, forge.log_key))


def text_of(forge):
    return forge.checkpoint().partition("\n\n")[0] + "\n"


def judge(note, forge, log_key, needed, count=3):
    """What both verifiers say: they share no code and must agree."""
    vkeys = [witness_vkey(number) for number in range(count)]
    try:
        found = GatewayQuorum(tuple(GatewayWitnessKey.parse(one) for one in vkeys), needed).verify(note)
        theirs = sorted(one.witness for one in found)
    except NoteInvalid:
        theirs = None
    try:
        mine = sorted(open_checkpoint(note, [log_key], Quorum.parse(vkeys, needed)).witnesses)
    except MalformedError:
        mine = None
    assert mine == theirs
    return mine


def test_enough_of_the_known_witnesses_are_enough(forge, log_key):
    text, note = text_of(forge), forge.checkpoint()
    assert judge(note, forge, log_key, 1) is None
    assert judge(note + line(1, text), forge, log_key, 1) == ["w1.example"]
    assert judge(note + line(1, text), forge, log_key, 2) is None
    assert judge(note + line(1, text) + line(0, text), forge, log_key, 2) == ["w0.example", "w1.example"]
    assert judge(note + line(1, text) + line(1, text, time=TIME + 1), forge, log_key, 2) is None, "one witness twice"
    assert judge(note + line(2, text) + line(1, text), forge, log_key, 2, count=2) is None, "a stranger counts nothing"


TAMPERED = {
    "another text": lambda text: line(0, text.replace("\n7\n", "\n8\n")),
    "another key": lambda text: line(0, text, key=KEYS[1]),
    "another time": lambda text: line(0, text, said=TIME + 1),
    "no time": lambda text: line(0, text, time=0),
    "a time of 64 bits": lambda text: line(0, text, time=2**63),
    "cut": lambda text: "\u2014 w0.example " + base64.b64encode(key_id(NAMES[0], KEYS[0]) + bytes(8)).decode() + "\n",
    "a plain signature": lambda text: (
        "\u2014 w0.example " + base64.b64encode(key_id(NAMES[0], KEYS[0]) + KEYS[0].sign(text.encode())).decode() + "\n"
    ),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_known_witness_s_line_that_fails_refuses_the_checkpoint(forge, log_key, tamper):
    text, note = text_of(forge), forge.checkpoint()
    assert judge(note + line(1, text) + tamper(text), forge, log_key, 1) is None


def test_the_log_s_own_signature_is_still_needed(forge, log_key):
    text = text_of(forge)
    with pytest.raises(MalformedError, match="no trusted key"):
        open_checkpoint(f"{text}\n{line(0, text)}", [log_key], Quorum.parse([witness_vkey(0)]))


def test_a_witness_is_asked_for_by_its_own_kind_of_key(forge):
    for wrong in ("", "x", vkey(ORIGIN, forge.log_key), witness_vkey(0)[:-3] + "AA=", "w+00000000+BAAA"):
        with pytest.raises(MalformedError):
            WitnessKey.parse(wrong)
        with pytest.raises(NoteInvalid):
            GatewayWitnessKey.parse(wrong)
    with pytest.raises(MalformedError):
        LogKey.parse(witness_vkey(0))
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(witness_vkey(0))


@pytest.mark.parametrize(("vkeys", "needed"), [([0, 0], 1), ([0], 2), ([0], 0), ([0], -1), ([], 1)])
def test_a_quorum_that_cannot_be_is_refused(vkeys, needed):
    with pytest.raises(MalformedError):
        Quorum.parse([witness_vkey(number) for number in vkeys], needed)


def test_all_are_needed_where_no_number_is_given():
    assert Quorum.parse([witness_vkey(0), witness_vkey(1)]).needed == 2
    assert NO_QUORUM.needed == 0


def test_a_receipt_holds_only_with_the_witnesses_that_its_verifier_names(forge):
    trust = replace(Trust.from_document(forge.trust()), quorum=Quorum.parse([witness_vkey(0)]))
    with pytest.raises(VerificationError, match="0 of 1 witnesses cosigned it; 1 are needed") as failed:
        verify_receipt(forge.raw(), trust)
    assert failed.value.step == 4
    text, plain = text_of(forge), forge.checkpoint()
    forge.checkpoint = lambda: plain + line(0, text)
    report = verify_receipt(forge.raw(), trust)
    assert "and by 1 of 1 witnesses (w0.example)." in report.steps[3].text
