"""Opening values while epochs come and go: what is not erased opens, however old the reader's view of the rows is."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from audit.epochs import EpochKeys
from audit.opening import OPENING, Opener
from audit.tables import data_keys, payloads
from gateway.commitments import commit, person_key
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.audit.erasing import eraser_of

ANN, BOB, CY = (person_key(f"{name}@example.com") for name in ("ann", "bob", "cy"))


async def keep(log, value: bytes, *subjects: str) -> str:
    """Log a value; its commitment."""
    committed = commit(value, *subjects)
    await log.append(Append([draft(fields={"args": committed})]))
    return committed.commitment


async def test_whoever_reads_while_an_epoch_ends_reads_every_value_that_was_not_erased(engine, epochs, open_log):
    """A reader whose transaction is older than the epoch keys: its rows are under a key that is gone."""
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        anns, both, cys = await keep(log, b"1", ANN), await keep(log, b"2", ANN, BOB), await keep(log, b"3", CY)
        shared_with_cy = await keep(log, b"4", ANN, CY)
        every = [anns, both, cys, shared_with_cy]
        used = Opener(epochs)
        still = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        with engine.connect().execution_options(**still) as old:
            assert len(old.execute(select(data_keys)).all()) == 3
            assert used.open(old, every).keys() == set(every)
            before = epochs.names()
            await erasures.request("default", CY, by="p-9")
            await erasures.advance()
            assert set(before).isdisjoint(epochs.names())
            assert len(old.execute(select(payloads)).all()) == 4, "it sees what was"
            rows = old.execute(OPENING.where(payloads.c.commitment.in_(every))).all()
            used.forget()
            for opener in (used, Opener(epochs)):
                assert opener.open(old, every).keys() == {anns, both}
                assert opener.ciphers(old, rows).keys() == {anns, both}
        with engine.connect() as fresh:
            assert {name: value for name, (_, value) in used.open(fresh, every).items()} == {anns: b"1", both: b"2"}


async def test_what_an_old_view_did_not_open_is_not_taken_for_erased_later(engine, epochs, open_log):
    """Another process destroyed the epoch; this one has heard of it, and reads in a transaction from before."""
    async with open_log(engine) as log, eraser_of(engine, log, epochs) as erasures:
        anns = await keep(log, b"of Ann", ANN)
        await keep(log, b"of Cy", CY)
        opener = Opener(epochs)
        still = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        with engine.connect().execution_options(**still) as old:
            old.execute(select(data_keys)).all()
            before = epochs.names()
            await erasures.request("default", CY, by="p-9")
            await erasures.advance()
            assert set(before).isdisjoint(epochs.names())
            opener.open(old, [anns])
        with engine.connect() as fresh:
            assert opener.open(fresh, [anns])[anns][1] == b"of Ann"


async def test_values_whose_epoch_keys_are_elsewhere_open_once_they_are_put_back(engine, epochs, open_log, tmp_path):
    async with open_log(engine) as log:
        anns = await keep(log, b"of Ann", ANN)
    opener = Opener(epochs)
    [file] = (tmp_path / "epochs").glob("*.epoch")
    away = file.rename(tmp_path / file.name)
    epochs.forget()
    with engine.connect() as connection:
        assert opener.open(connection, [anns]) == {}
        assert opener.open(connection, [anns]) == {}
        away.rename(file)
        opener.forget()
        assert opener.open(connection, [anns])[anns][1] == b"of Ann"


def test_an_epoch_that_another_process_destroys_while_it_is_read_is_gone_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.urandom(32)
    mine, other = EpochKeys(tmp_path, secret), EpochKeys(tmp_path, secret)
    old, _ = other.current()
    other.rotate()
    looked = EpochKeys._names

    def then_destroyed(self: EpochKeys) -> list[str]:
        found = looked(self)
        if self is mine and old in found:
            other.destroy(old)
        return found

    monkeypatch.setattr(EpochKeys, "_names", then_destroyed)
    assert mine.get(old) is None
