"""Signed notes, checkpoints and proofs, against the examples in the C2SP texts and against tampering."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import (
    VerifierKey,
    checkpoint_text,
    note_text,
    parse_checkpoint,
    sign_note,
    verify_checkpoint,
    verify_note,
    verify_tlog_proof,
)
from audit.errors import NoteInvalid, NotLogged, ProofInvalid
from audit.merkle import leaf_hash, verify_consistency
from gateway.ports import Append
from tests.audit.conftest import draft

# c2sp.org/signed-note, "Example"
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey("handrail.local/log", PRIVATE.public_key().public_bytes_raw())
ROOT = bytes(range(32))


def signed(text=None, key=KEY, private=PRIVATE):
    return sign_note(text or checkpoint_text("handrail.local/log", 7, ROOT), key, private.sign)


def test_the_published_example_verifies():
    assert verify_note(NOTE, [VerifierKey.parse(VKEY)]) == "This is an example message.\n"
    assert str(VerifierKey.parse(VKEY)) == VKEY


def test_a_checkpoint_round_trips():
    note = signed()
    assert note.startswith(
        "handrail.local/log\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n\u2014 handrail.local/log "
    )
    checkpoint = verify_checkpoint(note, [KEY], "handrail.local/log")
    assert (checkpoint.origin, checkpoint.tree_size, checkpoint.root) == ("handrail.local/log", 7, ROOT)


def test_a_verifier_key_whose_base64_has_a_plus_round_trips():
    number = 0
    while True:
        key = VerifierKey(
            "a.example/log", Ed25519PrivateKey.from_private_bytes(number.to_bytes(32)).public_key().public_bytes_raw()
        )
        if str(key).count("+") > 2:
            break
        number += 1
    assert VerifierKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n7\n", "\n8\n"),
        lambda note: note.replace("AAEC", "AAED"),
        lambda note: note.replace("\u2014 handrail.local/log", "\u2014 other.example/log"),
        lambda note: note.replace("\u2014 ", "- "),
        lambda note: note.rstrip("\n"),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note + "\n",
        lambda note: note[:-4] + "AA=\n",
        lambda note: note.replace("\n7\n", "\n7\r\n"),
        lambda note: "",
        lambda note: note.split("\u2014")[0],
    ],
)
def test_any_change_to_a_note_is_refused(change):
    with pytest.raises(NoteInvalid):
        verify_note(change(signed()), [KEY])


def test_unknown_signatures_are_ignored_but_a_bad_known_one_is_not():
    other = Ed25519PrivateKey.generate()
    witness = VerifierKey("witness.example", other.public_key().public_bytes_raw())
    text = checkpoint_text("handrail.local/log", 7, ROOT)
    both = signed() + sign_note(text, witness, other.sign).removeprefix(text + "\n")
    verify_note(both, [KEY])
    verify_note(both, [witness])
    forged = signed() + sign_note(text + "x\n", witness, other.sign).split("\n\n")[1]
    verify_note(forged, [KEY])
    with pytest.raises(NoteInvalid):
        verify_note(forged, [KEY, witness])
    with pytest.raises(NoteInvalid):
        verify_note(both, [])


def test_a_key_that_was_rotated_between_name_and_signature_is_noticed():
    with pytest.raises(NoteInvalid):
        signed(private=Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    "text",
    [
        "o\n7\n",
        "o\n07\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n-7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n7\nAAEC\n",
        "\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\nextension\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(NoteInvalid):
        parse_checkpoint(text)


def test_a_checkpoint_of_another_log_is_refused():
    with pytest.raises(NoteInvalid):
        verify_checkpoint(signed(), [KEY], "other.example/log")


@pytest.mark.parametrize(
    "vkey",
    [
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("example.com/foo", "example.com/bar"),
        VKEY.replace("AeKy", "AuKy").replace("+Aeky", "+Auky"),
        VKEY[:-4],
        "example.com/foo",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "",
    ],
)
def test_a_verifier_key_that_does_not_fit_itself_is_refused(vkey):
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(vkey)


async def test_the_logs_own_proofs_verify_offline_and_changed_ones_do_not(engine, open_log):
    async with open_log(engine) as log:
        await log.append(Append([draft(number) for number in range(20)]))
        key = VerifierKey.parse(log.vkey())
        proofs = {index: (await log.proof(index), await log.entry(index)) for index in (0, 7, 20)}
        early = verify_checkpoint(await log.checkpoint(), [key], log.origin)
        await log.append(Append([draft(number) for number in range(9)]))
        late = verify_checkpoint((await log._signed())[1], [key], log.origin)
        path = log.reader.consistency(early.tree_size, late.tree_size)
        with pytest.raises(NotLogged):
            log.reader.consistency(0, late.tree_size + 1)
    verify_consistency(early.tree_size, late.tree_size, path, early.root, late.root)
    for index, (proof, body) in proofs.items():
        assert verify_tlog_proof(proof, leaf_hash(body), [key], "handrail.local/log") == (index, early)
        with pytest.raises(ProofInvalid):
            verify_tlog_proof(proof, leaf_hash(body + b" "), [key])
        with pytest.raises(ProofInvalid):
            verify_tlog_proof(proof.replace(f"index {index}\n", f"index {index + 1}\n"), leaf_hash(body), [key])
        for broken in (
            proof.replace("tlog-proof@v1", "tlog-proof@v2"),
            proof.replace(f"index {index}\n", ""),
            proof.replace(f"index {index}\n", f"index 0{index}\n"),
            proof.replace("\n\n", "\nAA==\n\n", 1),
            proof.replace("\n\n", "\n"),
        ):
            with pytest.raises(NoteInvalid):
                verify_tlog_proof(broken, leaf_hash(body), [key])
        with_extra = proof.replace("@v1\n", "@v1\nextra aGVsbG8=\n")
        assert verify_tlog_proof(with_extra, leaf_hash(body), [key])[0] == index


async def test_a_checkpoint_follows_an_append_without_being_asked_for(engine, open_log):
    async with open_log(engine, checkpoint_interval_seconds=0.01) as log:
        for number in range(3):
            indices = await log.append(Append([draft(number)]))
            while (log.reader.checkpoint() or (0, ""))[0] <= indices[0]:
                await log.ready()
        size, note = log.reader.checkpoint()
        assert size == 4
        assert note_text(note) == checkpoint_text(log.origin, 4, log.reader.root(4))


async def test_asking_often_signs_once(engine, open_log, signer, monkeypatch):
    signatures = []
    real = signer.sign_raw
    monkeypatch.setattr(signer, "sign_raw", lambda purpose, text: signatures.append(text) or real(purpose, text))
    async with open_log(engine, checkpoint_interval_seconds=60) as log:
        await log.append(Append([draft()]))
        notes = {await log.checkpoint() for _ in range(50)}
        assert len(notes) == 1
        assert len(signatures) <= 2


async def test_a_key_that_cannot_sign_does_not_stop_appends(engine, open_log, signer, monkeypatch):
    def broken(*_):
        raise NoteInvalid("no key")

    async with open_log(engine, checkpoint_interval_seconds=0.01) as log:
        monkeypatch.setattr(signer, "sign_raw", broken)
        assert await log.append(Append([draft()])) == range(1, 2)
        assert await log.append(Append([draft()])) == range(2, 3)
        with pytest.raises(NoteInvalid):
            await log.checkpoint()
        monkeypatch.undo()
        assert parse_checkpoint(note_text(await log.checkpoint())).tree_size == 3
