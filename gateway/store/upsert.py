"""A row written whether it is there or not, on both databases."""

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(table: Table, dialect: str) -> Insert:
    """Insert a row; where its primary key is there, give that row all other values.

    Args:
        dialect: the name of the engine's.
    """
    key = list(table.primary_key)
    names = [column.name for column in table.c if not column.primary_key]
    if dialect == "postgresql":
        ours = postgresql.insert(table)
        return ours.on_conflict_do_update(index_elements=key, set_={name: ours.excluded[name] for name in names})
    theirs = sqlite.insert(table)
    return theirs.on_conflict_do_update(index_elements=key, set_={name: theirs.excluded[name] for name in names})
