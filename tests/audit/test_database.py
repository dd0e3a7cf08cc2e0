"""Connections of an engine: what comes back when nobody has the engine any more."""

import gc
import warnings
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.database import make_engine


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_connection_that_comes_back_late_is_closed(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    engine = make_engine(url)
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    raw = connection.connection.dbapi_connection
    engine.dispose()
    connection.close()
    assert raw is not None
    with pytest.raises(Exception, match="closed"):
        raw.cursor().execute("SELECT 1")
    del raw, connection
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    engine.dispose()


def test_a_connection_of_an_engine_in_use_is_kept(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    with engine.connect() as connection:
        first = connection.connection.dbapi_connection
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is first
    engine.dispose()
