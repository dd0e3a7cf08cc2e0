"""What stands beside entries, head and checkpoints: each column of each table is changed, and rows are deleted,
repeated and exchanged. What nobody can find is named too, with what becomes of it (``UNVOUCHED``).
"""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from audit.checkpoint import KEY_ID_BYTES, note_text, signature_line
from audit.cosignature import Cosignature, WitnessKey, cosigned_message
from audit.cosigned import store
from audit.errors import SealBroken
from audit.findings import Fault
from audit.fsck import check
from audit.opening import unseal
from audit.postings import BLOCK
from audit.query import Filter
from audit.tables import (
    checkpoints,
    cosignatures,
    data_keys,
    entries,
    erased_keys,
    erasures,
    head,
    key_buckets,
    key_epochs,
    payload_keys,
    payloads,
    posting_blocks,
    postings,
)
from audit.wrapping import every_epoch
from gateway.commitments import commit
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.erasing import eraser_of
from tests.audit.indexed import missing
from tests.audit.tampering import UNVOUCHED, every_flip, owner, put_back, saved
from tests.until import until

SEALED = (payloads, payload_keys, data_keys, key_buckets, key_epochs, erasures, erased_keys)
WITNESSES = [("w1.example", Ed25519PrivateKey.generate()), ("w2.example", Ed25519PrivateKey.generate())]
KEYS = [WitnessKey(name, key.public_key().public_bytes_raw()) for name, key in WITNESSES]


def word(note: str, number: int, time: int) -> Cosignature:
    """What a witness says of a checkpoint."""
    name, private = WITNESSES[number]
    blob = KEYS[number].key_id + time.to_bytes(8, "big") + private.sign(cosigned_message(note_text(note), time))
    return Cosignature(name, blob[:KEY_ID_BYTES], time, signature_line(name, blob))


@pytest.fixture
async def told(engine: Engine, open_log: Any, epochs: Any) -> Engine:
    """See :func:`tell`, on each database."""
    return await tell(engine, open_log, epochs)


async def tell(engine: Engine, open_log: Any, epochs: Any) -> Engine:
    """A log with values of one and of two people, of whom a third was erased, and with the word of two witnesses."""
    ann, bob, cid = ("default/people/" + name for name in ("ann", "bob", "cid"))
    async with open_log(engine, checkpoint_interval_seconds=0.001) as log, eraser_of(engine, log, epochs) as eraser:
        for number, subjects in enumerate([(ann,), (bob,), (ann, bob), (cid,)]):
            await log.append(Append([draft(number, fields={"args": commit(b"of %d" % number, *subjects)})]))
            size, note = await log._signed()
            await log.append(Append((), [store(size, word(note, each, 1_000 + number)) for each in (0, 1)]))
        await eraser.request("default", cid, by="p-9")
        assert await eraser.advance()
    return engine


@pytest.fixture
async def indexed(engine: Engine, open_log: Any) -> Engine:
    """A log with a block of the inverted index."""
    async with open_log(engine) as log:
        for first in range(0, BLOCK + 1, 256):
            await log.append(Append([draft(first + number, reasons=("a.b",)) for number in range(256)]))
        await until(lambda: not missing(log.reader))
    return engine


async def test_each_column_of_what_can_be_erased(told: Engine, epochs: Any) -> None:
    for table in SEALED:
        every_flip(told, table, epochs=epochs)
    assert {name.split(".")[0] for name in UNVOUCHED} <= {table.name for table in SEALED}


async def test_each_column_of_a_cosignature(told: Engine) -> None:
    every_flip(told, cosignatures, witnesses=KEYS)


async def test_each_column_of_the_index(indexed: Engine) -> None:
    for table in (postings, posting_blocks):
        every_flip(indexed, table, flips=1)


async def test_a_value_of_another_type_is_found(sqlite_engine: Engine, open_log: Any, epochs: Any) -> None:
    """SQLite keeps each value's type beside it: a bit of the file makes a number of a wrapped key."""
    told = await tell(sqlite_engine, open_log, epochs)
    for table in (entries, head, checkpoints, cosignatures, *SEALED):
        rows = saved(told, table)
        chosen = " AND ".join(f"{key.name} = :{key.name}" for key in table.primary_key)
        for column in table.c:
            for value in ("4711", "-1.5", "X'00FF'", "'other'"):
                changed = text(f"UPDATE {table.name} SET {column.name} = {value} WHERE {chosen}")
                try:
                    with owner(told) as connection:
                        connection.execute(changed, {key.name: rows[-1][key.name] for key in table.primary_key})
                except IntegrityError:  # there is one head, and an index is a number
                    assert column.primary_key
                    continue
                found = list(check(told, epochs=epochs, witnesses=KEYS))
                assert found or str(column) in UNVOUCHED, f"{column} = {value}"
                put_back(told, table, rows)
    assert list(check(told, epochs=epochs, witnesses=KEYS)) == []


async def test_a_wrapped_key_of_another_type_is_a_broken_seal(told: Engine, epochs: Any) -> None:
    """A gateway that meets one refuses what depends on it, and goes on."""
    [bucket, *_] = every_epoch(epochs)
    with pytest.raises(SealBroken):
        bucket.unwrap("k", 7)  # type: ignore[arg-type]
    with pytest.raises(SealBroken):
        unseal(bucket.wrapper, "c", 7)  # type: ignore[arg-type]


async def test_rows_that_changed_places_are_found(told: Engine, epochs: Any) -> None:
    """Sealed values and wrapped keys are bound to their row, and a cosignature to its checkpoint."""
    for table, column in ((payloads, "sealed"), (data_keys, "wrapped"), (data_keys, "subject"), (cosignatures, "line")):
        rows = saved(told, table)
        one, other = rows[0], rows[-1]
        with owner(told) as connection:
            for to, of in ((one, other), (other, one)):
                chosen = [key == to[key.name] for key in table.primary_key]
                connection.execute(update(table).where(*chosen).values({column: of[column]}))
        assert list(check(told, epochs=epochs, witnesses=KEYS)), f"{table}.{column}"
        put_back(told, table, rows)


async def test_a_row_that_is_there_twice_is_found(told: Engine, epochs: Any) -> None:
    twice = {payloads: "commitment", data_keys: "key_id", erasures: "erasure_id", cosignatures: "witness"}
    twice |= {payload_keys: "commitment"}
    for table, column in twice.items():
        rows = saved(told, table)
        with owner(told) as connection:
            connection.execute(insert(table).values({**rows[0], column: "f" * len(rows[0][column])}))
        found = {finding.fault for finding in check(told, epochs=epochs, witnesses=KEYS)}
        # A wrapped key under another id does not unwrap; the others belong to nothing.
        assert found, table
        put_back(told, table, rows)


async def test_which_deleted_rows_are_found(told: Engine, epochs: Any) -> None:
    """A value may be gone: that is what erasure is. A key that is gone before its value is not, and no erasure is."""
    wanted = {
        payloads: set(),
        data_keys: {Fault.PAYLOAD},
        payload_keys: {Fault.PAYLOAD},
        key_buckets: {Fault.PAYLOAD},
        erasures: {Fault.ERASURE},
        erased_keys: {Fault.ERASURE},
        key_epochs: set(),
        cosignatures: set(),
    }
    owners = saved(told, payload_keys)
    for table, faults in wanted.items():
        rows = saved(told, table)
        with owner(told) as connection:
            connection.execute(delete(table))
            if table is payloads:
                connection.execute(delete(payload_keys))
        found = {finding.fault for finding in check(told, epochs=epochs, witnesses=KEYS)}
        assert found == faults, table
        put_back(told, table, rows)
        if table is payloads:
            put_back(told, payload_keys, owners)


async def test_a_cosignature_without_its_checkpoint_or_its_key_is_found(told: Engine) -> None:
    with told.connect() as connection:
        size = connection.execute(select(cosignatures.c.tree_size).limit(1)).scalar()
    stranger = WitnessKey(KEYS[0].name, KEYS[0].public)
    assert list(check(told, witnesses=[stranger])) == []
    with owner(told) as connection:
        connection.execute(delete(checkpoints).where(checkpoints.c.tree_size == size))
    assert {finding.fault for finding in check(told)} == {Fault.COSIGNATURE}


async def test_what_is_gone_from_the_index(indexed: Engine, open_log: Any) -> None:
    """Missing postings are found; where their block is not counted either, its entries are looked through."""
    rows = saved(indexed, postings)
    with owner(indexed) as connection:
        connection.execute(delete(postings).where(postings.c.term == "type:PLNRCV"))
    assert {finding.fault for finding in check(indexed)} == {Fault.INDEX}
    with owner(indexed) as connection:
        connection.execute(delete(postings))
    assert {finding.fault for finding in check(indexed)} == {Fault.INDEX}
    put_back(indexed, postings, rows)
    with owner(indexed) as connection:
        connection.execute(delete(posting_blocks))
    assert {finding.fault for finding in check(indexed)} == {Fault.INDEX}
    with owner(indexed) as connection:
        connection.execute(delete(postings))
    assert list(check(indexed)) == []
    async with open_log(indexed) as log:
        wanted = Filter(tenant="default", type="PLNRCV")
        page = await log.reads.query(wanted, after=None, limit=10, newest_first=False, counted=True)
        assert len(page.entries) == 10
