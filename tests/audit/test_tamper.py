"""Every byte: whoever owns the database changes, moves, repeats, cuts or takes back anything in it, and fsck finds it,
or a client that kept a checkpoint does. What nobody can find without one is tested too (docs/threat-model.md).
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, update
from typer.testing import CliRunner

import migrations
from audit import backup
from audit.checkpoint import VerifierKey
from audit.database import make_engine, writing
from audit.findings import Fault
from audit.fsck import check
from audit.merkle import Frontier, leaf_hash
from audit.tables import checkpoints, entries, head, metadata
from gateway.canonical import b64url_decode
from gateway.cli.main import app
from gateway.commitments import commit
from gateway.ports import Append
from tests.audit.conftest import CheckpointSigner, draft
from tests.audit.tampering import GUARDED, Specimen, flip_file, flip_value, owner, specimen

ENTRIES = 13
FLIPS = 3
"""Seeds for each column."""
FILE_FLIPS = 60


@pytest.fixture
async def kept(engine: Engine, open_log: Any) -> list[str]:
    """A log of 13 entries; returns the checkpoints that a client kept, of 5, 9 and 13 entries."""
    notes = []
    async with open_log(engine, checkpoint_interval_seconds=0.001) as log:
        for first in (1, 5, 9):
            args = {"args": commit(b"v", "s")}
            batch = [draft(number, fields=args, reasons=("a.b",)) for number in range(first, first + 4)]
            await log.append(Append(batch))
            notes.append((await log._signed())[1])
    return notes


@pytest.fixture
def key(signer: CheckpointSigner) -> VerifierKey:
    return VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))


def faults(engine: Engine, **options: Any) -> list[Fault]:
    return [finding.fault for finding in check(engine, **options)]


def saved(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }


def put_back(engine: Engine, copy: dict[str, list[dict[str, Any]]]) -> None:
    with owner(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        for table in metadata.sorted_tables:
            if copy[table.name]:
                connection.execute(insert(table), copy[table.name])


async def test_an_untouched_copy_is_sound(
    engine: Engine, kept: list[str], key: VerifierKey, epochs: Any, new: Callable[[], Engine]
) -> None:
    copied = new()
    with engine.connect() as reader, writing(copied.connect()) as writer, writer.begin():
        backup.copy(reader, writer, metadata.sorted_tables)
    for one in (engine, copied):
        assert faults(one, keys=[key], kept=kept, epochs=epochs) == []


async def test_one_bit_of_any_column_of_any_row_is_found(engine: Engine, kept: list[str], key: VerifierKey) -> None:
    before = saved(engine)
    for table in GUARDED:
        for column in table.c:
            for seed in range(FLIPS):
                done = flip_value(engine, table, column.name, random.Random(f"{column}{seed}"))
                assert faults(engine, keys=[key], kept=kept), done
                put_back(engine, before)
                assert faults(engine, keys=[key], kept=kept) == []


@pytest.mark.parametrize("seed", range(4))
async def test_rows_that_changed_places_are_found(engine: Engine, kept: list[str], key: VerifierKey, seed: int) -> None:
    one, other = random.Random(seed).sample(range(ENTRIES), 2)
    with owner(engine) as connection:
        bodies = {
            row.idx: row.body
            for row in connection.execute(select(entries).where(entries.c.idx.in_([one, other]))).all()
        }
        if seed % 2:
            for idx, body in ((one, bodies[other]), (other, bodies[one])):
                connection.execute(update(entries).where(entries.c.idx == idx).values(body=body))
        else:
            for old, new in ((one, 1000), (other, one), (1000, other)):
                connection.execute(update(entries).where(entries.c.idx == old).values(idx=new))
    assert faults(engine, keys=[key])


@pytest.mark.parametrize("at", [0, 7, 12])
async def test_a_deleted_row_is_found(engine: Engine, kept: list[str], key: VerifierKey, at: int) -> None:
    with owner(engine) as connection:
        connection.execute(delete(entries).where(entries.c.idx == at))
    assert faults(engine, keys=[key])


@pytest.mark.parametrize("to", [13, 14, 3, -1])
async def test_a_row_that_is_there_twice_is_found(engine: Engine, kept: list[str], key: VerifierKey, to: int) -> None:
    with owner(engine) as connection:
        row = dict(connection.execute(select(entries).where(entries.c.idx == 6)).mappings().one())
        connection.execute(delete(entries).where(entries.c.idx == to))
        connection.execute(insert(entries).values({**row, "idx": to}))
    assert faults(engine, keys=[key])


@pytest.mark.parametrize("moved", [False, True])
async def test_a_cut_tail_is_found(engine: Engine, kept: list[str], key: VerifierKey, *, moved: bool) -> None:
    cut(engine, 10, head_too=moved)
    assert Fault.TRUNCATED in faults(engine, keys=[key])


def cut(engine: Engine, size: int, *, head_too: bool, checkpoints_too: bool = False) -> None:
    """Cut the log to ``size`` entries, consistently as far as asked."""
    with owner(engine) as connection:
        connection.execute(delete(entries).where(entries.c.idx >= size))
        if head_too:
            edge = Frontier()
            for body in connection.execute(select(entries.c.body).order_by(entries.c.idx)).scalars():
                edge.append(leaf_hash(bytes(body)))
            connection.execute(update(head).values(tree_size=edge.size, root=edge.root()))
        if checkpoints_too:
            connection.execute(delete(checkpoints).where(checkpoints.c.tree_size > size))


async def test_a_tail_cut_with_head_and_checkpoints_shows_to_a_kept_checkpoint_alone(
    engine: Engine, kept: list[str], key: VerifierKey
) -> None:
    cut(engine, 10, head_too=True, checkpoints_too=True)
    assert faults(engine, keys=[key]) == []
    # What the kept checkpoint covers decides: one of nine entries cannot know of a tenth.
    assert faults(engine, keys=[key], kept=kept[:2]) == []
    assert faults(engine, keys=[key], kept=kept) == [Fault.TRUNCATED]


async def test_a_database_that_is_rolled_back_whole_shows_to_a_kept_checkpoint_alone(
    engine: Engine, open_log: Any, key: VerifierKey
) -> None:
    async with open_log(engine, checkpoint_interval_seconds=0.001) as log:
        await log.append(Append([draft(1), draft(2)]))
        older = (await log._signed())[1]
    before = saved(engine)
    async with open_log(engine, checkpoint_interval_seconds=0.001) as log:
        await log.append(Append([draft(3)]))
        newer = (await log._signed())[1]
    put_back(engine, before)
    assert faults(engine, keys=[key], kept=[older]) == []
    assert faults(engine, keys=[key], kept=[newer]) == [Fault.TRUNCATED]


async def test_a_log_that_takes_the_place_of_another_is_found_by_its_key_or_by_a_kept_checkpoint(
    engine: Engine, kept: list[str], key: VerifierKey, open_log: Any, new: Callable[[], Engine], signer: Any
) -> None:
    replaced = new()
    async with open_log(replaced, checkpoint_interval_seconds=0.001) as log:
        await log.append(Append([draft(number, principal="p-9") for number in range(12)]))
        await log._signed()
    # Same origin, same key: nothing in the database says so. That is what kept checkpoints and witnesses are for.
    assert faults(replaced, keys=[key]) == []
    assert faults(replaced, keys=[key], kept=kept[:1]) == [Fault.CHECKPOINT]
    assert faults(replaced, keys=[key], kept=kept)
    # Another key.
    signer.key = CheckpointSigner().key
    other = new()
    async with open_log(other, checkpoint_interval_seconds=0.001) as log:
        await log.append(Append([draft(number) for number in range(12)]))
        await log._signed()
    assert Fault.CHECKPOINT in faults(other, keys=[key])


async def test_a_second_head_is_found(engine: Engine, kept: list[str]) -> None:
    with owner(engine) as connection:
        row = dict(connection.execute(select(head)).mappings().one())
        connection.execute(insert(head).values({**row, "id": 2, "tree_size": 3}))
    assert faults(engine) == [Fault.HEAD]


async def test_an_origin_changes_only_at_a_restore(engine: Engine, kept: list[str]) -> None:
    """A forged change of the name, with every hash made anew."""
    for kind, facts in (("PLNRCV", {}), ("BAKRST", {"origin": "other/log", "size": 6}), ("BAKRST", {"size": 5})):
        before = saved(engine)
        with owner(engine) as connection:
            edge = Frontier()
            for row in connection.execute(select(entries).order_by(entries.c.idx)).all():
                members = json.loads(row.body)
                if row.idx >= 6:
                    members["origin"] = "handrail.local/forged"
                if row.idx == 6:
                    members |= {"type": kind, "facts": {**facts}}
                body = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
                hashes = b"".join((leaf_hash(body), *edge.append(leaf_hash(body))))
                values = {"body": body, "hashes": hashes, "type": members["type"]}
                connection.execute(update(entries).where(entries.c.idx == row.idx).values(values))
            connection.execute(update(head).values(root=edge.root(), origin="handrail.local/forged"))
            connection.execute(delete(checkpoints))
        assert Fault.BODY in faults(engine), kind
        put_back(engine, before)


# --- bytes of the file -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    import asyncio

    return asyncio.run(specimen(tmp_path_factory.mktemp("specimen")))


def test_a_bit_of_the_file_is_found_or_read_by_nobody(closed: Specimen, tmp_path: Path) -> None:
    outcomes = [
        flip_file(closed, tmp_path / "copy.db", random.Random(seed))[1].split(":")[0] for seed in range(FILE_FLIPS)
    ]
    assert "found" in outcomes


@pytest.mark.parametrize(("at", "what"), [(0, "storage"), (16, "storage"), (18, "unavailable"), (59, "storage")])
def test_a_damaged_header_is_said_and_nothing_is_called_sound(
    closed: Specimen, tmp_path: Path, at: int, what: str
) -> None:
    """Magic, page size, write version (then the file may not be written) and text encoding."""
    raw = bytearray(closed.file.read_bytes())
    raw[at] ^= 0xFF
    (tmp_path / "copy.db").write_bytes(raw)
    result = CliRunner().invoke(
        app, ["audit", "fsck", "--json"], env={"HANDRAIL_DATABASE__URL": f"sqlite:///{tmp_path / 'copy.db'}"}
    )
    said = json.loads(result.stdout)
    if what == "unavailable":
        assert (result.exit_code, said["error"]["code"]) == (3, "log.unavailable")
    else:
        assert result.exit_code == 1
        assert what in {finding["fault"] for finding in said["findings"]}


@pytest.fixture
def new(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Any:
    """Further migrated databases of the kind of ``engine``."""
    made: list[Engine] = []

    def make() -> Engine:
        if engine.dialect.name == "sqlite":
            url = f"sqlite:///{tmp_path / f'new{len(made)}.db'}"
        else:
            url = request.getfixturevalue("postgres_server").create_database()
        made.append(make_engine(url))
        migrations.upgrade(made[-1])
        return made[-1]

    yield make
    for one in made:
        one.dispose()
