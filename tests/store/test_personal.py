"""What is said to be held about a person is of their own tenant."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.names import Names
from gateway.model import DEFAULT_TENANT
from gateway.store.personal import Person, Personal
from gateway.store.tables import policy_bundles


def test_policies_of_the_operator_are_nothing_of_somebody_of_the_same_id_elsewhere(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    row = {"digest": "0" * 64, "git_commit": "c", "signed": "s", "jwk": "{}", "added_by": "p-ann", "added_at": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(policy_bundles), {**row, "mac": "0" * 64})
    personal = Personal(engine, Names(engine, EpochKeys(tmp_path / "epochs", bytes(32))), bytes(32))
    ann = Person(DEFAULT_TENANT, "ann", "p-ann", (), ())
    assert [one["added_by"] for one in personal.rows(ann)["policy_bundles"]] == ["p-ann"]
    assert personal.rows(replace(ann, tenant="acme")) == {}
    engine.dispose()
