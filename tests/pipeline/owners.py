"""Whose keys seal a value of a house's log."""

from sqlalchemy import select

from audit.buckets import Buckets
from audit.epochs import EpochKeys
from audit.tables import data_keys, payload_keys, payloads
from gateway.keyring import stores as key_stores
from gateway.settings import Settings
from tests.pipeline.house import House


def owners(house: House, commitment: str) -> set[str]:
    """The data subjects whose keys seal a value."""
    home = house.settings.home
    keys = EpochKeys(home / "epochs", key_stores.open_root(Settings(home=home)).derive("epoch"))
    shared = select(payload_keys.c.key_id).where(payload_keys.c.commitment == commitment)
    alone = select(payloads.c.key_id).where(payloads.c.commitment == commitment)
    with house.log._engine.connect() as connection:
        rows = connection.execute(select(data_keys).where(data_keys.c.key_id.in_(shared.union(alone)))).all()
        buckets = Buckets.load(connection, keys).by_name
    return {buckets[row.bucket].unwrap(row.key_id, row.wrapped)[1] for row in rows}
