"""What is understood is sent as it was understood; everything else is sent nowhere."""

import pytest
import sqlglot

from hand_adapters.sql.problems import TEXTS, NotTaken, Problem
from hand_adapters.sql.reading import STATEMENT_MAX, Grammar
from tests.sql import corpus

GRAMMARS = {
    "postgresql": Grammar("postgresql", ("public",)),
    "mariadb": Grammar("mariadb", ("shop",)),
    "sqlite": Grammar("sqlite", ("main",)),
}


def refused(grammar: Grammar, text: str) -> Problem:
    with pytest.raises(NotTaken) as refusal:
        grammar.read(text)
    return refusal.value.problem


@pytest.mark.parametrize("dialect", GRAMMARS)
@pytest.mark.parametrize(("text", "problem"), corpus.ATTACKS, ids=lambda part: str(part)[:60])
def test_an_attack_is_refused_before_anything_is_sent(dialect: str, text: str, problem: Problem | None) -> None:
    assert refused(GRAMMARS[dialect], text) in {problem, *([] if problem else Problem)}


@pytest.mark.parametrize("dialect", GRAMMARS)
@pytest.mark.parametrize("text", [*corpus.QUERIES, *corpus.CHANGES])
def test_everyday_statements_are_understood_and_written_the_same_twice(dialect: str, text: str) -> None:
    grammar = GRAMMARS[dialect]
    once = grammar.read(text)
    if dialect != "postgresql" or "$" not in once.text:
        again = grammar.read(once.text)
        assert (again.text, again.facts) == (once.text, once.facts)


@pytest.mark.parametrize(
    ("dialect", "text", "sent"),
    [
        ("postgresql", "select ID from Users", 'SELECT "id" FROM "public"."users"'),
        ("postgresql", 'select "ID" from "Users"', 'SELECT "ID" FROM "public"."Users"'),
        ("mariadb", 'SELECT "text", `Col` FROM Users', "SELECT 'text', `Col` FROM `shop`.`Users`"),
        ("mariadb", r"SELECT 'a\'; DROP TABLE x; -- '", "SELECT 'a''; DROP TABLE x; -- '"),
        ("mariadb", "SELECT 1 --1", "SELECT 1 - -1"),
        ("sqlite", "SELECT [a], `b`, c FROM t", 'SELECT "a", "b", c FROM "main"."t"'),
        ("postgresql", "SELECT 'a\\'", "SELECT 'a\\'"),
        ("postgresql", "TABLE users", 'SELECT * FROM "public"."users"'),
    ],
)
def test_what_is_sent_has_every_name_in_quotes_and_every_table_its_schema(dialect: str, text: str, sent: str) -> None:
    assert GRAMMARS[dialect].read(text).text == sent


def test_a_query_of_with_is_no_table_and_a_table_of_its_name_is_refused() -> None:
    found = GRAMMARS["postgresql"].read("WITH t AS (SELECT id FROM users) SELECT id FROM t")
    assert found.facts.reads == ("public.users",)


@pytest.mark.parametrize("dialect", GRAMMARS)
def test_parameters_are_names_and_never_text(dialect: str) -> None:
    found = GRAMMARS[dialect].read("SELECT name FROM users WHERE id = :id AND name = :name OR id = :id")
    assert found.parameters == ("id", "name")
    assert found.text.count("$1" if dialect == "postgresql" else ":id") == 2
    inside = GRAMMARS[dialect].read("SELECT name FROM users WHERE name = ':id'")
    assert inside.parameters == ()


def test_a_function_is_taken_on_the_operators_word_alone() -> None:
    assert refused(GRAMMARS["postgresql"], "SELECT area(1)") is Problem.FUNCTION
    trusting = Grammar("postgresql", ("public",), frozenset({"area", "geo.area"}))
    assert trusting.read("SELECT area(1), geo.area(2)").facts.functions == ("area", "geo.area")
    assert refused(trusting, "SELECT other.area(1)") is Problem.FUNCTION


def test_the_longest_statement_is_read_and_a_longer_one_is_not() -> None:
    room = STATEMENT_MAX - len("SELECT ''")
    assert GRAMMARS["sqlite"].read(f"SELECT '{'x' * room}'")
    assert refused(GRAMMARS["sqlite"], f"SELECT '{'x' * (room + 1)}'") is Problem.SIZE


def test_every_problem_has_its_sentence() -> None:
    assert all(TEXTS[problem].endswith(".") for problem in Problem)


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "sqlite"])
def test_sqlglot_writes_a_hexadecimal_literal_as_it_was_given(dialect: str) -> None:
    """Values for MariaDB go as such literals: leading zeros and length are part of the value."""
    assert "00e4" in sqlglot.parse_one("SELECT x'00e4'", dialect=dialect).sql(dialect=dialect)
