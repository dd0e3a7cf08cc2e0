"""How much of the log was under a checkpoint before a moment: never more than was."""

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from audit.checkpoint import VerifierKey, note_text
from audit.cosignature import Quorum, WitnessKey, cosigned_message, from_answer
from audit.cosigned import store
from audit.epochs import EpochKeys
from audit.log import Log
from audit.predating import covered_size, covered_without, key_changes
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings
from tests.audit.conftest import CONTROLS, TIME, CheckpointSigner, draft

WITNESS = Ed25519PrivateKey.generate()
WATCHING = WitnessKey("w.example", WITNESS.public_key().public_bytes_raw())


@dataclass
class Diary:
    """A log whose clock the test moves, and whose checkpoints' key it changes."""

    log: Log
    signer: CheckpointSigner
    now: Callable[[float], None]
    sizes: dict[float, int] = field(default_factory=dict)

    async def day(self, at: float) -> int:
        """One entry at a moment, and a checkpoint of it; the log's size."""
        self.now(at)
        await self.log.append(Append([draft(int(at))]))
        self.sizes[at], _ = await self.log.signed_head()
        return self.sizes[at]

    async def record(self, kid: str, state: str) -> None:
        facts: dict[str, str | int] = {"kid": kid, "purpose": "checkpoint", "state": state}
        await self.log.append(Append([EntryDraft(EntryType.KEY_ROTATED, "default", facts=facts)]))

    async def cosign(self, at: int) -> None:
        size, note = await self.log.signed_head()
        text = note_text(note)
        blob = WATCHING.key_id + at.to_bytes(8, "big") + WITNESS.sign(cosigned_message(text, at))
        line = f"\u2014 {WATCHING.name} {base64.b64encode(blob).decode()}\n"
        await self.log.append(Append((), [store(size, from_answer(text, line, WATCHING))]))

    @property
    def key(self) -> VerifierKey:
        return VerifierKey.parse(self.log.vkey())


@pytest.fixture
async def diary(engine: Engine, epochs: EpochKeys, signer: CheckpointSigner) -> AsyncIterator[Diary]:
    clock = [TIME]
    log = Log(engine, LogSettings(), signer, epochs, "g1", lambda: clock[0], controls=CONTROLS)
    await log.start()

    def move(at: float) -> None:
        clock[0] = TIME + at

    yield Diary(log, signer, move)
    await log.close()


async def test_a_checkpoint_counts_as_older_than_the_entry_behind_it(diary: Diary) -> None:
    for at in (10.0, 20.0, 30.0):
        await diary.day(at)
    reader, sizes = diary.log.reader, diary.sizes
    assert covered_size(reader, TIME + 30) == sizes[20.0], "the entry of 30 was written, and its checkpoint not yet"
    assert covered_size(reader, TIME + 25) == sizes[10.0], "nothing says that the checkpoint of 20 is older than 25"
    assert covered_size(reader, TIME + 9) <= sizes[10.0] - 1
    assert covered_size(reader, TIME - 1_000) == 0
    assert covered_size(reader, TIME + 10_000) <= sizes[30.0]


async def test_of_a_key_of_checkpoints_only_what_another_key_signed_before_counts(diary: Diary) -> None:
    first = diary.key
    await diary.day(10.0)
    before = await diary.day(20.0)
    diary.signer.key = Ed25519PrivateKey.generate()  # rotated; the second one will be stolen
    await diary.record("second", "active")
    for at in (30.0, 40.0, 50.0):
        await diary.day(at)
    log = diary.log
    assert covered_without(log.reader, log.cosigned, TIME + 45, "second", [first]) == before
    assert covered_size(log.reader, TIME + 45) > before, "for a key that signs no checkpoints, theirs count"
    stranger = VerifierKey(log.origin, bytes(range(32)))
    assert covered_without(log.reader, log.cosigned, TIME + 45, "second", [stranger]) == 0
    assert covered_without(log.reader, log.cosigned, TIME + 15, "second", [first]) < before


async def test_what_witnesses_saw_in_time_counts_whoever_signed_it(diary: Diary) -> None:
    log = diary.log
    log.cosigned.quorum = Quorum((WATCHING,), 1)
    await diary.record("only", "active")
    seen = await diary.day(10.0)
    await diary.cosign(int(TIME) + 11)
    await diary.day(20.0)
    await diary.cosign(int(TIME) + 21)
    assert covered_without(log.reader, log.cosigned, TIME + 21, "only", []) == seen
    assert covered_without(log.reader, log.cosigned, TIME + 11, "only", []) == 0, "not before it saw it"
    log.cosigned.quorum = Quorum((WitnessKey("w.example", bytes(range(32))),), 1)
    assert covered_without(log.reader, log.cosigned, TIME + 21, "only", []) == 0, "somebody else's line in the database"


async def test_the_changes_of_keys_are_those_of_the_list_and_epochs_are_not(diary: Diary) -> None:
    await diary.record("a", "active")
    epoch: dict[str, str | int] = {"purpose": "epoch", "epoch": "00000001-aa"}
    await diary.log.append(Append([EntryDraft(EntryType.KEY_ROTATED, "default", facts=epoch)]))
    await diary.record("a", "retiring")
    found = key_changes(diary.log.reader)
    assert [(code, kid, state) for _, code, kid, state in found] == [
        ("KEYROT", "a", "active"), ("KEYROT", "a", "retiring"),
    ]  # fmt: skip
