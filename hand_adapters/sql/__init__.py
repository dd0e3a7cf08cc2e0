"""The sql adapter: statements to one database, understood before they are sent."""

from hand_adapters.sql.adapter import SqlAdapter

__all__ = ["SqlAdapter"]
