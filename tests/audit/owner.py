"""Somebody who owns the database, and takes the defences off it first."""

import re

from sqlalchemy import text

from audit.database import changing_schema, writing
from migrations import defences


def attack(engine, *statements):
    """Run as the owner of the database, defences gone."""
    with writing(engine.connect()) as connection, changing_schema(connection), connection.begin():
        for statement in defences.sqlite() if engine.dialect.name == "sqlite" else defences.postgresql():
            found = re.match(r"CREATE TRIGGER (\w+) .*? ON (\w+)", statement)
            if found:
                on = "" if engine.dialect.name == "sqlite" else f" ON {found[2]}"
                connection.execute(text(f"DROP TRIGGER IF EXISTS {found[1]}{on}"))
        for statement in statements:
            connection.execute(statement)
