"""What is said to be held about a person is of their own tenant."""

from pathlib import Path

from sqlalchemy import insert

import migrations
from audit.database import make_engine
from gateway.model import DEFAULT_TENANT
from gateway.store.personal import Personal
from gateway.store.tables import policy_bundles


def test_policies_of_the_operator_are_nothing_of_somebody_of_the_same_id_elsewhere(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    row = {"digest": "0" * 64, "git_commit": "c", "signed": "s", "jwk": "{}", "added_by": "ann", "added_at": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(policy_bundles), {**row, "mac": "0" * 64})
    personal = Personal(engine, bytes(32), bytes(32))
    assert [one["added_by"] for one in personal.rows(DEFAULT_TENANT, "ann")["policy_bundles"]] == ["ann"]
    assert personal.rows("acme", "ann") == {}
    engine.dispose()
