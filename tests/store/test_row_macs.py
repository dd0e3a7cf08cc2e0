"""No column of a row that says who may do what can be changed by somebody who holds no key."""

from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Float, Integer, MetaData, String, Table

from gateway.store.row_macs import MAC, UNCOVERED, RowChanged, RowMacs
from gateway.store.tables import metadata

MACS = RowMacs(bytes(32))
OTHER = RowMacs(bytes(31) + b"\1")
SEALED = {name: table for name, table in metadata.tables.items() if MAC in table.c and name != "steps"}
"""Steps have a MAC of their own: ``gateway.store.plans``."""
COLUMNS = [(name, column.name) for name, table in SEALED.items() for column in table.c if column.name != MAC]


def values(table: Table, number: int = 1) -> dict[str, Any]:
    kinds: dict[type, Any] = {str: f"{number}", int: number, float: float(number), bool: bool(number)}
    return {column.name: kinds[column.type.python_type] for column in table.c if column.name != MAC}


def test_the_rows_that_say_who_may_do_what_are_sealed() -> None:
    assert SEALED.keys() >= {"principals", "api_keys", "issuers", "issuer_keys"}
    assert all(left_out <= set(metadata.tables[name].c.keys()) for name, left_out in UNCOVERED.items())


@pytest.mark.parametrize(("name", "column"), COLUMNS)
@pytest.mark.parametrize("other", ["another", "none", "something"])
def test_no_column_can_be_changed_emptied_or_filled(name: str, column: str, other: str) -> None:
    table = SEALED[name]
    before, after = values(table), values(table, 0)[column]
    if other == "none":
        after = None
    if other == "something":
        before[column] = None
    row = MACS.seal(table, before)
    MACS.verify_row(table, row)
    changed = {**row, column: after}
    if column in UNCOVERED.get(name, ()):
        MACS.verify_row(table, changed)
    else:
        with pytest.raises(RowChanged):
            MACS.verify_row(table, changed)


@pytest.mark.parametrize("mac", ["", "0" * 64, None, 7, b"x" * 32, "\u00e9" * 64])
@pytest.mark.parametrize("name", SEALED)
def test_no_invented_mac_holds(name: str, mac: Any) -> None:
    with pytest.raises(RowChanged):
        MACS.verify_row(SEALED[name], {**values(SEALED[name]), MAC: mac})


@pytest.mark.parametrize("name", SEALED)
def test_another_key_makes_another_mac(name: str) -> None:
    with pytest.raises(RowChanged):
        MACS.verify_row(SEALED[name], OTHER.seal(SEALED[name], values(SEALED[name])))


def test_a_row_of_one_table_is_none_of_another() -> None:
    columns = ("tenant", "id")
    one, two = (Table(name, MetaData(), *(Column(c, String) for c in (*columns, MAC))) for name in ("one", "two"))
    row = MACS.seal(one, {"tenant": "a", "id": "b"})
    with pytest.raises(RowChanged):
        MACS.verify_row(two, row)


def test_values_do_not_run_into_each_other() -> None:
    table = Table("t", MetaData(), *(Column(c, String) for c in ("a", "b", MAC)))
    row = MACS.seal(table, {"a": 'x", "b', "b": "y"})
    for a, b in (("x", 'b", "y'), ("x", "y"), ('x", "by', "")):
        with pytest.raises(RowChanged):
            MACS.verify_row(table, {**row, "a": a, "b": b})


def test_what_is_sealed_is_what_the_database_gives_back() -> None:
    table = Table("t", MetaData(), Column("f", Float), Column("i", Integer), Column("b", Boolean), Column(MAC, String))
    row = MACS.seal(table, {"f": 3, "i": 4.0, "b": 1})
    assert [(type(row[name]), row[name]) for name in "fib"] == [(float, 3.0), (int, 4), (bool, True)]
    for changed in ({"f": 3}, {"i": True}, {"b": 1}, {"f": float("nan")}, {"f": float("inf")}, {"i": b"4"}):
        with pytest.raises(RowChanged):
            MACS.verify_row(table, {**row, **changed})


def test_a_column_that_is_added_later_leaves_earlier_rows_alone_and_is_covered_once_it_has_a_value() -> None:
    old = Table("t", MetaData(), Column("a", String), Column(MAC, String))
    new = Table("t", MetaData(), Column("a", String), Column("later", String), Column(MAC, String))
    row = MACS.seal(old, {"a": "x"})
    MACS.verify_row(new, {**row, "later": None})
    with pytest.raises(RowChanged):
        MACS.verify_row(new, {**row, "later": "y"})
