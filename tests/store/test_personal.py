"""What is said to be held about a person is of their own tenant."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Table, insert

import migrations
from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.names import Names
from gateway.model import DEFAULT_TENANT
from gateway.store.personal import Person, Personal
from gateway.store.tables import metadata, policy_bundles


def test_policies_of_the_operator_are_nothing_of_somebody_of_the_same_id_elsewhere(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    row = {"digest": "0" * 64, "git_commit": "c", "signed": "s", "jwk": "{}", "added_by": "p-ann", "added_at": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(policy_bundles), {**row, "mac": "0" * 64})
    personal = Personal(engine, Names(engine, EpochKeys(tmp_path / "epochs", bytes(32))))
    ann = Person(DEFAULT_TENANT, "ann", "p-ann", (), ())
    assert [one["added_by"] for one in personal.rows(ann)["policy_bundles"]] == ["p-ann"]
    assert personal.rows(replace(ann, tenant="acme")) == {}
    engine.dispose()


SECRET = "nobody is shown this"


def names_a_principal(column: Column[Any]) -> bool:
    return column.name == "pseudonym" or "pseudonym" in (column.comment or "").lower()


def row_about(table: Table, pseudonym: str) -> dict[str, Any]:
    """A row that names ``pseudonym`` wherever it may name somebody."""
    row: dict[str, Any] = {column.name: column.type.python_type(1) for column in table.columns}
    row |= dict.fromkeys(row.keys() & {"sealed", "credential_sha256", "secret_sha256", "name_mac"}, SECRET)
    row |= {column.name: pseudonym for column in table.columns if names_a_principal(column)}
    row |= {"speaks_for": f'["{pseudonym}"]'} if "speaks_for" in row else {}
    return {**row, "tenant": DEFAULT_TENANT} if "tenant" in row else row


def test_whoever_asks_is_shown_every_row_that_names_them_and_no_secret(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    naming = [table for table in metadata.tables.values() if any(map(names_a_principal, table.columns))]
    with engine.begin() as connection:
        for table in naming:
            connection.execute(insert(table), row_about(table, "p-ann"))
    personal = Personal(engine, Names(engine, EpochKeys(tmp_path / "epochs", bytes(32))))
    ann = Person(DEFAULT_TENANT, "ann", "p-ann", (), ())
    found = personal.rows(ann)
    aliases = {
        "principals": "principal", "approval_answers": "answers", "proposal_signatures": "signatures",
        "connection_grants": "connections",
    }  # fmt: skip
    assert found.keys() == {aliases.get(table.name, table.name) for table in naming}
    assert SECRET not in str(found)
    assert personal.rows(replace(ann, pseudonym="p-bob")) == {}
    engine.dispose()
