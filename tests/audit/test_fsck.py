"""fsck names each tampering, and nothing else. The attacker owns the database: triggers are dropped first."""

import json
import os

import pytest
from sqlalchemy import delete, event, insert, select, text, update

import migrations
from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable
from audit.findings import Fault
from audit.fsck import check
from audit.merkle import HASH_BYTES, Frontier, last_leaf, leaf_hash
from audit.tables import checkpoints, entries, head, payloads
from gateway.canonical import b64url_decode
from gateway.commitments import commit
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.owner import attack

ENTRIES = 13


@pytest.fixture
async def kept(engine, open_log):
    """A log of 13 entries in two checkpoints; returns the notes that a client kept."""
    async with open_log(engine, checkpoint_interval_seconds=0.001) as log:
        await log.append(Append([draft(1), draft(2, fields={"args": commit(b"v", "s")}), draft(3), draft(4)]))
        first = (await log._signed())[1]
        await log.append(Append([draft(number, reasons=("paths.outside",)) for number in range(5, 13)]))
        second = (await log._signed())[1]
    assert list(check(engine)) == []
    return [first, second]


@pytest.fixture
def key(signer):
    return VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))


def row(engine, index):
    with engine.connect() as connection:
        return connection.execute(select(entries).where(entries.c.idx == index)).one()


def change_hash(engine, level, idx, value):
    """Put ``value`` in the place of a complete subtree's hash."""
    leaf = last_leaf((level, idx))
    hashes = bytes(row(engine, leaf).hashes)
    hashes = hashes[: level * HASH_BYTES] + value + hashes[(level + 1) * HASH_BYTES :]
    attack(engine, update(entries).where(entries.c.idx == leaf).values(hashes=hashes))


def named(engine, **options):
    return [(finding.fault, finding.first, finding.last) for finding in check(engine, **options)]


async def test_an_untouched_log_has_no_findings(engine, kept, key, epochs):
    seen = []
    assert list(check(engine, keys=[key], kept=kept, epochs=epochs, progress=lambda *at: seen.append(at))) == []
    assert seen[-1] == (ENTRIES, ENTRIES)


@pytest.mark.parametrize("index", range(ENTRIES))
async def test_one_flipped_byte_in_a_body_is_named(engine, kept, index):
    body = bytes(row(engine, index).body)
    flipped = body.replace(b'"principal":"p-1"', b'"principal":"p-2"').replace(b"LOGOPN", b"LOGOPM")
    attack(engine, update(entries).where(entries.c.idx == index).values(body=flipped))
    found = named(engine)
    assert found[0] == (Fault.LEAF, index, index)
    assert {fault for fault, *_ in found} == {Fault.LEAF, Fault.COLUMN}


@pytest.mark.parametrize("index", range(ENTRIES))
async def test_a_changed_leaf_hash_is_named(engine, kept, index):
    change_hash(engine, 0, index, os.urandom(32))
    assert named(engine) == [(Fault.LEAF, index, index)]


@pytest.mark.parametrize(("level", "idx"), [(1, 0), (1, 5), (2, 1), (2, 2), (3, 0)])
async def test_a_changed_node_is_named(engine, kept, level, idx):
    change_hash(engine, level, idx, os.urandom(32))
    assert named(engine) == [(Fault.NODE, idx << level, ((idx + 1) << level) - 1)]


async def test_a_missing_and_an_extra_node_are_named(engine, kept):
    change_hash(engine, 3, 0, b"")
    change_hash(engine, 1, 4, os.urandom(64))
    found = sorted(named(engine), key=repr)
    assert [found[0], found[-1]] == [(Fault.EXTRA_NODE, 9, 9), (Fault.NODE, 8, 9)]
    assert (Fault.MISSING_NODE, 0, 7) in found


@pytest.mark.parametrize(
    "column", ["tenant", "type", "context_id", "plan_id", "principal", "reasons", "effect", "time"]
)
async def test_a_query_column_that_lies_is_named(engine, kept, column):
    lie = {"type": "POLALW", "time": "2020-01-01T00:00:00.000Z"}.get(column, "lie")
    attack(engine, update(entries).where(entries.c.idx == 6).values({column: lie}))
    assert named(engine) == [(Fault.COLUMN, 6, 6)]


@pytest.mark.parametrize("fields", ['{"args":"' + "0" * 64 + '"}', None, "not json", '["x"]'])
async def test_a_changed_field_commitment_is_named(engine, kept, fields):
    attack(engine, update(entries).where(entries.c.idx == 2).values(fields=fields))
    assert named(engine) == [(Fault.FIELDS, 2, 2)]


@pytest.mark.parametrize("index", [0, 5, 6, 11])
async def test_a_deleted_row_is_named(engine, kept, index):
    attack(engine, delete(entries).where(entries.c.idx == index))
    assert named(engine) == [(Fault.MISSING_ENTRY, index, index)]


@pytest.mark.parametrize(("one", "other"), [(4, 5), (3, 9)])
async def test_two_rows_that_changed_places_are_named(engine, kept, one, other):
    attack(
        engine,
        update(entries).where(entries.c.idx == one).values(idx=1000),
        update(entries).where(entries.c.idx == other).values(idx=one),
        update(entries).where(entries.c.idx == 1000).values(idx=other),
    )
    close = [(first, last) for _, first, last in named(engine) if last - first <= 1]
    assert all(any(first <= at <= last for first, last in close) for at in (one, other))


async def test_a_cut_tail_is_named_by_head_and_checkpoint(engine, kept):
    attack(engine, delete(entries).where(entries.c.idx >= 10))
    found = named(engine)
    assert (Fault.TRUNCATED, 10, 12) in found
    assert {fault for fault, *_ in found} == {Fault.TRUNCATED}


def rebuilt(engine, bodies):
    """What an attacker who knows the format does: a new history, consistent in itself."""
    edge = Frontier()
    statements = [delete(checkpoints).where(checkpoints.c.tree_size > len(bodies))]
    for index, body in enumerate(bodies):
        members = json.loads(body)
        hashes = b"".join((leaf_hash(body), *edge.append(leaf_hash(body))))
        values = {"body": body, "hashes": hashes, "principal": members.get("principal")}
        statements.append(update(entries).where(entries.c.idx == index).values(values))
    statements.append(delete(entries).where(entries.c.idx >= len(bodies)))
    statements.append(update(head).values(tree_size=edge.size, root=edge.root()))
    attack(engine, *statements)


async def test_a_tail_cut_with_everything_rebuilt_is_found_by_the_checkpoint_a_client_kept(engine, kept, key):
    rebuilt(engine, [bytes(row(engine, index).body) for index in range(9)])
    assert named(engine, keys=[key]) == []
    assert named(engine, keys=[key], kept=kept) == [(Fault.TRUNCATED, 9, 12)]


async def test_a_rewritten_history_is_found_by_the_checkpoints_and_located_between_them(engine, kept, key):
    bodies = [bytes(row(engine, index).body) for index in range(ENTRIES)]
    bodies[7] = bodies[7].replace(b'"p-1"', b'"p-2"')
    rebuilt(engine, bodies)
    assert named(engine, keys=[key]) == [(Fault.CHECKPOINT, 5, 12)]


async def test_a_forged_checkpoint_is_named(engine, kept, key, signer):
    forged = kept[0].replace("\n5\n", "\n6\n")
    attack(engine, insert(checkpoints).values(tree_size=6, note=forged))
    assert [finding.detail for finding in check(engine, keys=[key])] == [
        "the stored checkpoint of size 6: the signature of handrail.local/log does not verify"
    ]


async def test_a_checkpoint_of_another_log_is_named(engine, kept, key):
    foreign = kept[0].replace("handrail.local/log\n", "other.example/log\n", 1)
    assert [finding.fault for finding in check(engine, kept=[foreign, "garbage"])] == [Fault.CHECKPOINT] * 2


async def test_a_head_that_lies_is_named(engine, kept):
    attack(engine, update(head).values(root=os.urandom(32)))
    assert named(engine) == [(Fault.HEAD, None, None)]
    attack(engine, update(head).values(tree_size=11))
    assert (Fault.HEAD, 11, 12) in named(engine)
    attack(engine, delete(head))
    assert (Fault.HEAD, None, None) in named(engine)


async def test_a_payload_that_does_not_open_its_commitment_is_named_with_its_entry(engine, kept, epochs):
    attack(engine, update(payloads).values(sealed=os.urandom(64)))
    assert named(engine) == []
    assert named(engine, epochs=epochs) == [(Fault.PAYLOAD, 2, 2)]


async def test_payloads_under_keys_that_are_gone_are_not_findings(engine, kept, tmp_path):
    assert named(engine, epochs=EpochKeys(tmp_path / "other", os.urandom(32))) == []


async def test_a_writer_does_not_build_on_a_tampered_tree(engine, kept, open_log):
    change_hash(engine, 3, 0, os.urandom(32))
    with pytest.raises(LogUnavailable, match="the head does not match"):
        async with open_log(engine):
            pass


async def test_a_log_longer_than_one_read_is_checked_whole(engine, open_log):
    async with open_log(engine) as log:
        for _ in range(4):
            await log.append(Append([draft(number) for number in range(300)]))
    assert list(check(engine)) == []
    attack(engine, update(entries).where(entries.c.idx == 1030).values(principal="p-9"))
    assert named(engine) == [(Fault.COLUMN, 1030, 1030)]


@pytest.mark.postgres
async def test_a_check_takes_as_long_as_the_log_is_long(postgres_url, open_log, monkeypatch):
    """What serves people gives its statements seconds; a check of millions of entries needs minutes for one."""
    engine = make_engine(postgres_url)
    migrations.upgrade(engine)
    async with open_log(engine) as log:
        await log.append(Append([draft(1)]))
    asked = []

    def slow(connection):
        connection.execute(text("SELECT pg_sleep(0.4)"))
        asked.append(connection.execute(text("SHOW statement_timeout")).scalar_one())
        asked.append(connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one())
        return iter(())

    @event.listens_for(engine, "connect")
    def hurry(raw, _record):
        raw.execute("SET statement_timeout = 200")
        raw.commit()

    engine.dispose()
    monkeypatch.setattr("audit.fsck.fsck_beside.index", slow)
    assert list(check(engine)) == []
    assert asked == ["0", "0"]
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "200ms", "for the check alone"
    engine.dispose()
