"""Tables of runs. ``metadata`` is that of all tables, with these among them."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, PrimaryKeyConstraint, String, Table, Text

from gateway.store.tables.base import metadata

__all__ = ["metadata", "run_turns", "runs"]

_MAC: Final = "HMAC-SHA-256 over the row, by a key outside the database."

runs: Final = Table(
    "runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(64), nullable=False, comment="Pseudonym."),
    Column("brain", String(64), nullable=False),
    Column("hands", Text, nullable=True, comment="JSON list; NULL for all that the principal may use."),
    Column("commitment", String(64), nullable=False, comment="Of what was asked."),
    Column("steps_max", Integer, nullable=False),
    Column("tokens_max", BigInteger, nullable=False),
    Column("money_max", BigInteger, nullable=True, comment="In millionths of the currency's unit."),
    Column("currency", String(3), nullable=False, comment="Empty where no brain had prices."),
    Column("created_at", Float, nullable=False),
    Column("deadline_at", Float, nullable=False),
    Column("log_index", BigInteger, nullable=False, comment="Of the entry that says that it began."),
    Column("mac", String(64), nullable=False, comment=_MAC),
    Index(None, "tenant", "log_index"),
    comment="Runs as they were begun.",
)

run_turns: Final = Table(
    "run_turns",
    metadata,
    Column("run_id", String(64), nullable=False),
    Column("number", Integer, nullable=False, comment="0, 1, 2, ..., without a gap."),
    Column("kind", String(16), nullable=False, comment="model, tools, end"),
    Column("brain", String(64), nullable=False, comment="That was asked last."),
    Column("attempt", Integer, nullable=False, comment="Of a model turn: how often this was put to models, from 1."),
    Column("steps", Integer, nullable=False, comment="Of the run, with this turn."),
    Column("tokens", BigInteger, nullable=False, comment="Of the run, as known before this turn."),
    Column("spent", BigInteger, nullable=True, comment="Likewise, in millionths; NULL where nobody knows."),
    Column("plan_id", String(64), nullable=False, comment="Empty for the end."),
    Column("gateway", String(64), nullable=False, comment="That wrote it."),
    Column("at", Float, nullable=False),
    Column("status", String(16), nullable=False, comment="Of the end: done, failed, cancelled"),
    Column("reason", String(64), nullable=False, comment="Of the end: why, where it is not done."),
    Column("note", String(64), nullable=False, comment="Of the end: a closed word more."),
    Column("mac", String(64), nullable=False, comment=_MAC),
    PrimaryKeyConstraint("run_id", "number"),
    Index(None, "plan_id"),
    comment="A turn of a run is one plan, or the end, whoever takes it: the database refuses a second row.",
)
