"""A few ends of each kind, with seeds that stay; ``make crash`` does a thousand. See docs/durability.md."""

import os
import subprocess
import sys
from random import Random

import pytest

from audit.epochs import EpochKeys
from tests import postgres, services
from tests.audit.crash.disk import Disk, compile_interposer
from tests.audit.crash.process import ROOT, crash

pytestmark = pytest.mark.durable

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


def require(database):
    if database == "postgresql" and postgres.find_binaries() is None:
        services.missing("PostgreSQL", "Install initdb, pg_ctl and postgres (Debian: postgresql).")


@pytest.fixture
def disk(tmp_path, compiler):
    disk = Disk(tmp_path, compile_interposer(tmp_path))
    disk.settle()
    return disk


def on(disk, program):
    environment = {**os.environ, **disk.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    subprocess.run([sys.executable, "-c", program], cwd=disk.live, env=environment, check=True, timeout=60)


@pytest.mark.parametrize("database", DATABASES)
def test_a_killed_process_loses_nothing_that_it_acknowledged(database):
    require(database)
    status, found = crash("--ends", "12", "--seed", "4", "--database", database)
    assert (status, found["lost"], found["ends"]) == (0, None, 12)
    assert found["acknowledged"] > 0
    assert found["whole_checks"] == 1


@pytest.mark.parametrize("database", DATABASES)
def test_a_power_cut_loses_nothing_that_was_acknowledged(compiler, database):
    require(database)
    status, found = crash("--ends", "6", "--seed", "5", "--database", database, "--rig", "power")
    assert (status, found["lost"], found["ends"]) == (0, None, 6)
    assert found["acknowledged"] > 0


@pytest.mark.parametrize("database", DATABASES)
def test_the_harness_sees_a_database_that_does_not_synchronise(compiler, database):
    """The positive control: without fsync the same run must lose what was acknowledged."""
    require(database)
    status, found = crash("--ends", "20", "--seed", "5", "--database", database, "--rig", "power", UNSAFE)
    assert status == 1
    assert found["lost"]


UNSAFE = "--testing-only-unsafe"


def test_what_was_never_synchronised_is_gone(disk):
    on(disk, "open('a', 'w').write('lost')")
    assert disk.cut(Random(0)) == 4
    assert list(disk.live.iterdir()) == []


def test_a_file_has_what_it_had_at_its_last_synchronisation(disk):
    on(disk, "import os; f = open('a', 'w+b', 0); f.write(b'kept'); os.fsync(f); os.pwrite(f.fileno(), b'LOST!', 0)")
    on(disk, "import os; os.fsync(os.open('.', os.O_RDONLY))")
    disk.cut(Random(0))
    assert (disk.live / "a").read_bytes() == b"kept"


def test_a_name_is_kept_once_its_directory_was_synchronised(disk):
    on(disk, "import os; f = open('a', 'wb', 0); f.write(b'nameless'); os.fsync(f)")
    assert disk.cut(Random(0)) == 8
    on(disk, "import os; open('a', 'wb').write(b'empty'); os.fsync(os.open('.', os.O_RDONLY))")
    disk.cut(Random(0))
    assert (disk.live / "a").read_bytes() == b""


def test_an_unlinked_file_comes_back_until_its_directory_was_synchronised(disk):
    on(disk, "import os; f = open('a', 'wb', 0); f.write(b'there')")
    disk.settle()
    on(disk, "import os; os.unlink('a')")
    disk.cut(Random(0))
    assert (disk.live / "a").read_bytes() == b"there"
    on(disk, "import os; os.unlink('a'); os.fsync(os.open('.', os.O_RDONLY))")
    disk.cut(Random(0))
    assert list(disk.live.iterdir()) == []


def test_a_rename_is_undone_until_its_directory_was_synchronised(disk):
    on(disk, "open('old', 'w').write('1'); open('new', 'w').write('2')")
    disk.settle()
    on(disk, "import os; os.rename('new', 'old')")
    disk.cut(Random(0))
    assert {path.name: path.read_text() for path in disk.live.iterdir()} == {"old": "1", "new": "2"}


def test_a_truncation_is_undone_until_the_file_was_synchronised(disk):
    on(disk, "open('a', 'w').write('x' * 9000)")
    disk.settle()
    on(disk, "import os; os.truncate('a', 10)")
    disk.cut(Random(0))
    assert (disk.live / "a").stat().st_size == 9000
    on(disk, "import os; f = open('a', 'r+b'); f.truncate(10); os.fdatasync(f)")
    disk.cut(Random(0))
    assert (disk.live / "a").stat().st_size == 10


def test_writes_through_a_mapping_are_seen(disk):
    on(disk, "open('a', 'w').write('x' * 4096)")
    disk.settle()
    program = "import mmap, os; f = open('a', 'r+b'); m = mmap.mmap(f.fileno(), 4096); m[0:2] = b'yy'"
    on(disk, program)
    assert disk.cut(Random(0)) == 512
    assert (disk.live / "a").read_bytes()[:3] == b"xxx"
    on(disk, f"{program}; os.fsync(f)")
    disk.cut(Random(0))
    assert (disk.live / "a").read_bytes()[:3] == b"yyx"


def test_sectors_survive_each_by_itself(disk):
    on(disk, "open('a', 'w').write('x' * 51_200)")
    disk.settle()
    on(disk, "open('a', 'r+').write('y' * 51_200)")
    disk.cut(Random(0), survives=0.5)
    content = (disk.live / "a").read_bytes()
    sectors = {content[at : at + 512] for at in range(0, len(content), 512)}
    assert sectors == {b"x" * 512, b"y" * 512}


def test_a_file_that_the_gateway_wrote_is_there_with_its_directories(disk):
    program = (
        "from pathlib import Path; from gateway.files import make_directory, write; "
        "make_directory(Path('a/b').absolute()); write(Path('a/b/key').absolute(), b'secret', replace=True)"
    )
    on(disk, program)
    disk.cut(Random(0))
    assert (disk.live / "a" / "b" / "key").read_bytes() == b"secret"


def test_the_epoch_key_is_there_before_anything_is_sealed_with_it(disk):
    on(disk, "from pathlib import Path; from audit.epochs import EpochKeys; "
             "EpochKeys(Path('epochs').absolute(), bytes(32)).current()")  # fmt: skip
    disk.cut(Random(0))
    (kept,) = (disk.live / "epochs").glob("*.epoch")
    name, key = EpochKeys(disk.live / "epochs", bytes(32)).current()
    assert kept.name.startswith(name)
    assert len(key) == 32
