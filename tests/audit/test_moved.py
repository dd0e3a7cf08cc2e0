"""Which files a connection has open, as far as names can tell: each of the three, by device and inode."""

import os
import sqlite3
import stat

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from audit.database import changing_schema, make_engine
from audit.moved import OpenFiles, database_file


@pytest.fixture
def database(tmp_path):
    """A database with its write-ahead log and the index of that."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"log.db{suffix}").write_bytes(b"x")
    return tmp_path / "log.db"


def test_what_was_there_before_the_connection_and_in_its_first_transaction_is_in_place(database):
    files = OpenFiles(database)
    assert not files.missing
    assert files.in_place()
    assert files.in_place()


def test_a_database_that_was_replaced_before_the_first_transaction_was_not_what_was_opened(database, tmp_path):
    files = OpenFiles(database)
    (tmp_path / "another").write_bytes(b"y")
    (tmp_path / "another").rename(database)
    assert not files.in_place()
    assert not files.in_place(), "and does not become it by being asked twice"


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_each_of_the_three_is_missed(database, tmp_path, suffix, replaced):
    files = OpenFiles(database)
    assert files.in_place()
    named = database.with_name(database.name + suffix)
    if replaced:
        (tmp_path / "another").write_bytes(b"y")
        (tmp_path / "another").rename(named)
    else:
        named.unlink()
    assert not files.in_place()


def test_a_database_that_is_not_there_is_missing(tmp_path):
    assert OpenFiles(tmp_path / "log.db").missing


def test_the_same_number_on_another_device_is_another_file(database, monkeypatch):
    """Inodes are numbered on each device by itself: a mount over the directory may bring the same numbers."""
    files = OpenFiles(database)
    assert files.in_place()
    stat = os.stat

    def elsewhere(*args, **options):
        found = list(stat(*args, **options))
        found[2] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", elsewhere)
    assert not files.in_place()


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:log.db?uri=true", None),
        ("postgresql+psycopg://u@h/log.db", None),
        ("sqlite:////srv/log.db", "/srv/log.db"),
    ],
)
def test_which_databases_have_a_file(url, file):
    found = database_file(create_engine(url))
    assert (None if found is None else str(found)) == file


def test_a_relative_name_means_the_directory_that_it_was_given_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sqlite3.connect("log.db").close()
    found = database_file(create_engine("sqlite:///log.db"))
    monkeypatch.chdir("/")
    assert found == tmp_path / "log.db"
    assert not OpenFiles(found).missing


@pytest.mark.parametrize("mask", [0o022, 0o000])
def test_a_database_is_made_for_its_owner_alone_whatever_the_mask(tmp_path, mask):
    former = os.umask(mask)
    try:
        engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
        with engine.begin() as connection, changing_schema(connection):
            connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        engine.dispose()
    finally:
        os.umask(former)
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


def test_a_database_that_cannot_be_made_is_sqlite_s_to_report(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'nowhere' / 'log.db'}")
    with pytest.raises(OperationalError, match="unable to open database file"):
        engine.connect()
