"""Changes that an owner of the database makes to a log, and what finds them. Every choice comes from a seed.

``python -m tests.audit.tampering COUNT [SEED]`` flips that many bits of a SQLite file, one in each copy.
"""

import asyncio
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, delete, insert, select, text, update

import migrations
from audit.checkpoint import VerifierKey
from audit.controls import shipped
from audit.database import changing_schema, make_engine, writing
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable
from audit.findings import Finding
from audit.fsck import check
from audit.log import Log
from audit.tables import checkpoints, entries, head, metadata
from gateway.canonical import b64url_decode
from gateway.commitments import commit
from gateway.ports import Append
from gateway.settings import LogSettings
from tests.audit.conftest import CheckpointSigner, draft

GUARDED: Final = (entries, head, checkpoints)
"""Every value in these is held against something by fsck."""
UNVOUCHED: Final = {
    "payloads.created_at": "when its time ends; what is late to be deleted is deleted late",
    "data_keys.created_at": "the same",
    "key_buckets.epoch": "the bucket's values cannot be opened, as if their keys were erased",
    "key_epochs.epoch": "no gateway seals under an epoch whose key it has not: it refuses to write",
    "key_epochs.begun_at": "when the next epoch begins",
    "erased_keys.key_id": "the key itself was deleted and its epoch key destroyed",
    "erasures.requested_at": "the entry has its own time",
    "erasures.done_at": "the entry has its own time",
}
"""Column -> what becomes of a change, where nothing is there to find it."""
FILLER: Final = 40


@dataclass(frozen=True, slots=True)
class Specimen:
    """A log of 13 entries in a file, and what a client kept of it."""

    file: Path
    key: VerifierKey
    kept: tuple[str, ...]
    epochs: EpochKeys

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"


@contextmanager
def owner(engine: Engine) -> Iterator[Connection]:
    """A transaction of the database's owner, with every guard of the log taken away."""
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        if engine.dialect.name == "sqlite":
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for name in connection.exec_driver_sql(named).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in metadata.sorted_tables:
                connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER ALL"))
        yield connection


def flipped(value: Any, rng: random.Random) -> Any:
    """``value`` with one bit changed; a text stays a text that the driver takes, and NULL becomes one."""
    if value is None:
        return "x"
    if isinstance(value, float):
        return value + 1 + rng.randrange(100)
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(15))  # the narrowest column has 16 bits
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    if not raw:
        return "x" if isinstance(value, str) else b"x"
    while True:
        at = rng.randrange(len(raw))
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        if not isinstance(value, str):
            return bytes(changed)
        try:
            shown = changed.decode()
        except UnicodeDecodeError:
            continue
        if "\0" not in shown:
            return shown


def flip_value(engine: Engine, table: Table, column: str, rng: random.Random) -> str:
    """Flip one bit of one value of ``column``; returns which."""
    with owner(engine) as connection:
        rows = connection.execute(select(table).order_by(*table.primary_key)).mappings().all()
        row = rng.choice(rows)
        chosen = [key == row[key.name] for key in table.primary_key]
        taken = {tuple(one[key.name] for key in table.primary_key) for one in rows}
        while True:
            new = flipped(row[column], rng)
            limit = getattr(table.c[column].type, "length", None)
            if isinstance(new, str) and limit is not None:
                new = new[:limit]
            becomes = {**row, column: new}
            unique = tuple(becomes[key.name] for key in table.primary_key) not in taken
            if new != row[column] and (unique or column not in table.primary_key):
                break
        assert connection.execute(update(table).where(*chosen).values({column: new})).rowcount == 1
    return f"{table.name}.{column} of {[row[key.name] for key in table.primary_key]}: {row[column]!r} -> {new!r}"


def saved(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """Every row of a table."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def put_back(engine: Engine, table: Table, rows: list[dict[str, Any]]) -> None:
    """Make ``rows`` all that a table holds."""
    with owner(engine) as connection:
        connection.execute(delete(table))
        if rows:
            connection.execute(insert(table), rows)


def every_flip(engine: Engine, table: Table, flips: int = 3, **options: Any) -> None:
    """Flip bits in each column of a table, one at a time: fsck finds each, but for those of ``UNVOUCHED``."""
    rows = saved(engine, table)
    assert rows, table
    for column in table.c:
        for seed in range(flips):
            done = flip_value(engine, table, column.name, random.Random(f"{column}{seed}"))
            found = list(check(engine, **options))
            assert bool(found) is (str(column) not in UNVOUCHED), done
            put_back(engine, table, rows)
    assert list(check(engine, **options)) == []


async def specimen(directory: Path, name: str = "log.db") -> Specimen:
    """A closed log in a file of its own."""
    engine = make_engine(f"sqlite:///{directory / name}")
    migrations.upgrade(engine)
    signer = CheckpointSigner()
    epochs = EpochKeys(directory / "epochs", os.urandom(32))
    log = Log(engine, LogSettings(checkpoint_interval_seconds=0.001), signer, epochs, "g1", controls=shipped())
    await log.start()
    kept = []
    for first in (1, 5, 9):
        args = {"args": commit(b"v", "s")}
        await log.append(Append([draft(number, fields=args, reasons=("a.b",)) for number in range(first, first + 4)]))
        kept.append((await log._signed())[1])
    await log.close()
    engine.dispose()
    with closing(sqlite3.connect(directory / name)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    key = VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))
    return Specimen(directory / name, key, tuple(kept), epochs)


def found(engine: Engine, one: Specimen) -> list[Finding]:
    """What a client with its checkpoints finds."""
    return list(check(engine, keys=[one.key], kept=one.kept, epochs=one.epochs))


def rows(file: Path) -> dict[str, list[Any]]:
    """What every table of the log reads as, in the columns that something vouches for."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        found = {}
        for table in metadata.sorted_tables:
            columns = ", ".join(f'"{column.name}"' for column in table.c if str(column) not in UNVOUCHED)
            found[table.name] = connection.execute(f"SELECT {columns or 1} FROM {table.name} ORDER BY 1").fetchall()
        return found


def flip_file(one: Specimen, copy: Path, rng: random.Random) -> tuple[str, str]:
    """Flip one bit of a copy of the file; returns where, and what became of it.

    Raises:
        AssertionError: the log reads otherwise than before, and nobody says so.
    """
    raw = bytearray(one.file.read_bytes())
    while True:
        at = rng.randrange(len(raw))
        # Most bytes of a small file are free space: three of four flips go where something is written.
        if raw[at] or rng.randrange(4) == 0:
            break
    bit = rng.randrange(8)
    raw[at] ^= 1 << bit
    copy.write_bytes(raw)
    where = f"byte {at}, bit {bit}"
    engine = create_engine(f"sqlite:///{copy}")
    try:
        findings = found(engine, one)
    except LogUnavailable as exc:
        return where, f"unavailable: {exc.detail}"
    finally:
        engine.dispose()
    if findings:
        return where, f"found: {findings[0]}"
    assert rows(copy) == rows(one.file), f"{where}: the log changed and nothing was found"
    return where, "unused: every row of the log reads as before"


def _run(count: int, seed: int) -> None:
    tally: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        one = asyncio.run(specimen(directory))
        for number in range(count):
            where, outcome = flip_file(one, directory / "copy.db", random.Random(seed + number))
            kind = outcome.split(":")[0]
            tally[kind] = tally.get(kind, 0) + 1
            if number % 100 == 99 or number == count - 1:
                sys.stderr.write(f"\r{number + 1} of {count}: {tally} (last: {where})")
        shutil.rmtree(directory / "epochs", ignore_errors=True)
    sys.stderr.write("\n")


if __name__ == "__main__":
    _run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
