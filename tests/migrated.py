"""Databases as ``migrations.upgrade`` leaves them, made once for a process of the run and copied from then on: it takes
a tenth of a second on SQLite and half of one on PostgreSQL, and nearly every test needs one.

A database file that is not there yet is such a copy after ``upgrade``; everything else, a file that is there above all,
is migrated for real, and so is everything under a test with the marker ``migrates``, or ``durable``: a copy is not
synchronised. Databases of PostgreSQL that ``postgres_url`` names come migrated.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

import migrations
from audit.database import configure, make_engine


def _template(directory: Path) -> Path:
    file = directory / "template.db"
    engine = make_engine(f"sqlite:///{file}")
    migrations.upgrade(engine)
    engine.dispose()
    return file


def _copying(upgrade: Callable[[Engine], None], template: Path) -> Callable[[Engine], None]:
    def copied(engine: Engine) -> None:
        configure(engine)
        if engine.dialect.name != "sqlite" or not _copy(template, Path(engine.url.database or "")):
            upgrade(engine)

    return copied


def _copy(template: Path, file: Path) -> bool:
    """Whether ``file`` was not there and is the copy now; whoever comes second finds it whole."""
    if file.exists() or not file.parent.is_dir():
        return False
    beside = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    shutil.copyfile(template, beside)
    try:
        os.link(beside, file)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


@pytest.fixture(scope="session", autouse=True)
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    patch, template = pytest.MonkeyPatch(), _template(tmp_path_factory.mktemp("migrated"))
    patch.setattr(migrations, "upgrade", _copying(migrations.upgrade, template))
    yield patch
    patch.undo()


@pytest.fixture(autouse=True)
def _migrates(request: pytest.FixtureRequest, _migrated: pytest.MonkeyPatch) -> Iterator[None]:
    """The migrations themselves for a test with the marker."""
    if not any(request.node.get_closest_marker(name) for name in ("migrates", "durable")):
        yield
        return
    copying = migrations.upgrade
    _migrated.undo()
    yield
    _migrated.setattr(migrations, "upgrade", copying)
