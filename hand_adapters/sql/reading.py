"""From a text to a statement that is understood: read by sqlglot, held against closed lists, written out anew.

What is sent to a database is never the text that came, but what its tree is written out as: every table with its
schema, names in quotes, without comments. So what was analysed is what runs; where the two ways of sqlglot, reading
and writing, do not agree about a statement, it is refused.
"""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.tokenizer_core import Token, TokenType

from hand_adapters.sql import facts, names
from hand_adapters.sql.facts import Facts
from hand_adapters.sql.problems import NotTaken, Problem
from hand_adapters.sql.words import (
    ARGUMENTS,
    FUNCTIONS,
    PARTS,
    READERS,
    SET_OPERATIONS,
    STRUCTURE,
    TYPES,
)

STATEMENT_MAX: Final = 16_384
"""Characters of a statement."""
TOKENS_MAX: Final = 2_000
DEPTH_MAX: Final = 32
"""Brackets within each other."""
SQUARE_MAX: Final = 3
"""Square ones: sqlglot's time doubles with each."""
_OPENS: Final = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSES: Final = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}
_QUERIES: Final = (exp.Select, exp.Values, *SET_OPERATIONS)
_ROOTS: Final = (exp.Select, exp.Insert, exp.Update, exp.Delete, *SET_OPERATIONS)

# A statement that sqlglot does not know becomes a Command, which is refused here; it would also warn about each.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that is understood.

    Attributes:
        text: what is sent. PostgreSQL's has ``$1`` for the first of ``parameters``; the others' have ``:name``.
        parameters: names in the order of their first use.
        tree: what ``text`` was written from; not to be changed.
    """

    text: str
    parameters: tuple[str, ...]
    facts: Facts
    tree: exp.Expr = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Grammar:
    """What one database's statements may be.

    Attributes:
        dialect: ``postgresql``, ``mariadb`` or ``sqlite``.
        schemas: that tables may be of; the first one is that of names without any.
        functions: that the operator vouches for, besides the known ones.
    """

    dialect: str
    schemas: tuple[str, ...]
    functions: frozenset[str] = frozenset()
    catalogue: bool = False
    """Whether tables that a database keeps about itself may be read: for statements of our own."""

    def read(self, text: str) -> Statement:
        """The one statement in ``text``. Pure; at most some tens of milliseconds for the longest.

        Raises:
            NotTaken: it is not understood, or holds what may not be in it.
        """
        try:
            return _read(self, text)
        except (SqlglotError, ValueError, TypeError, AttributeError, KeyError, IndexError) as exc:
            # sqlglot meets what it did not expect with many kinds of errors; each means that it did not understand.
            raise NotTaken(Problem.SYNTAX) from exc
        except RecursionError:
            raise NotTaken(Problem.SIZE) from None

    def understand(self, text: str) -> Statement:
        """:meth:`read`, with the errors of sqlglot as they come."""
        self._check_text(text)
        parsed = sqlglot.parse(text, dialect=self._reader, error_level=ErrorLevel.RAISE)
        trees = [tree for tree in parsed if tree is not None]
        if len(trees) != 1 or len(parsed) != 1:
            raise NotTaken(Problem.MANY if len(parsed) > 1 else Problem.SYNTAX)
        tree = trees[0]
        if not isinstance(tree, _ROOTS):
            raise NotTaken(Problem.VERB)
        check_parts(tree)
        if self.dialect == "mariadb" and not all(one.name.isascii() for one in tree.find_all(exp.Identifier)):
            raise NotTaken(Problem.NAME)  # which of them the server takes for the same, only it knows
        if self.dialect == "postgresql":
            tree = normalize_identifiers(tree, dialect=self._reader)
        bases = names.qualify(tree, self.schemas, catalogue=self.catalogue)
        parameters = self._number(tree)
        sent = self.write(tree)
        called = self._called(sent)
        self._check_sent(tree, sent)
        found = facts.folded(facts.gather(tree, bases, called, self.dialect), self.dialect)
        return Statement(sent, parameters, found, tree)

    @property
    def _reader(self) -> str:
        return READERS[self.dialect]

    def write(self, tree: exp.Expr) -> str:
        """The text of a tree, with its names in quotes.

        SQLite takes a column in quotes that is not there for a text, so there columns keep the quotes that they had.
        """
        for one in tree.find_all(exp.Identifier):
            column = isinstance(one.parent, exp.Column) and one.arg_key == "this"
            if self.dialect != "sqlite" or not column:
                one.set("quoted", True)
            elif not one.args.get("quoted") and not one.name.isidentifier():
                raise NotTaken(Problem.SYNTAX)  # a parameter, to SQLite
        return str(
            tree.sql(
                dialect=self._reader,
                comments=False,
                normalize_functions=False,
                unsupported_level=ErrorLevel.RAISE,
            )
        )

    def _check_text(self, text: str) -> None:
        if len(text) > STATEMENT_MAX:
            raise NotTaken(Problem.SIZE)
        if any(not one.isprintable() and one not in "\n\t\r" for one in text if not one >= "\u00a0") or any(
            "\ud800" <= one <= "\udfff" for one in text
        ):
            raise NotTaken(Problem.CHARACTERS)
        tokens = self._tokens(text)
        if len(tokens) > TOKENS_MAX:
            raise NotTaken(Problem.SIZE)
        if any(token.comments for token in tokens) or (not tokens and text.strip()):
            raise NotTaken(Problem.COMMENT)
        depth = square = 0
        for token in tokens:
            step = (token.token_type in _OPENS) - (token.token_type in _CLOSES)
            depth += step
            if token.token_type in {TokenType.L_BRACKET, TokenType.R_BRACKET}:
                square += step
            if depth > DEPTH_MAX or square > SQUARE_MAX:
                raise NotTaken(Problem.SIZE)

    def _tokens(self, text: str) -> Sequence[Token]:
        return sqlglot.tokenize(text, read=self._reader)

    def _number(self, tree: exp.Expr) -> tuple[str, ...]:
        """The names of parameters; for PostgreSQL they become its own ``$1``, ``$2``."""
        order: list[str] = []
        for one in list(tree.find_all(exp.Placeholder)):
            name = one.this
            if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
                raise NotTaken(Problem.PARAMETER)
            if name not in order:
                order.append(name)
            if self.dialect == "postgresql":
                one.replace(exp.Parameter(this=exp.Literal.number(order.index(name) + 1)))
        return tuple(order)

    def _called(self, sent: str) -> tuple[str, ...]:
        """The functions that are called by what is sent, in its own words: each word before a bracket.

        Names of tables and columns are in quotes there, so a word is a function, a type or a part of the language.
        """
        tokens = self._tokens(sent)
        known = FUNCTIONS[self.dialect] | self.functions
        called: set[str] = set()
        for index, token in enumerate(tokens):
            follows = index + 1 < len(tokens) and tokens[index + 1].token_type is TokenType.L_PAREN
            if not follows or not token.text[:1].isidentifier() or token.token_type is TokenType.STRING:
                continue
            if token.token_type is TokenType.IDENTIFIER:
                # Before a bracket only the name of a table or of a query in WITH has quotes: they list columns.
                continue
            word = _dotted(tokens, index)
            if word in STRUCTURE or word in TYPES:
                continue
            if word not in known:
                raise NotTaken(Problem.FUNCTION)
            called.add(word)
        return tuple(sorted(called))

    def _check_sent(self, tree: exp.Expr, sent: str) -> None:
        """What is sent is read as what was written."""
        again = sqlglot.parse(sent, dialect=self._reader, error_level=ErrorLevel.RAISE)
        if len(again) != 1 or again[0] != tree or any(token.comments for token in self._tokens(sent)):
            raise NotTaken(Problem.SENT)


@functools.lru_cache(maxsize=256)
def _read(grammar: Grammar, text: str) -> Statement:
    """A statement is read when it is judged and again when it runs."""
    return grammar.understand(text)


def _dotted(tokens: Sequence[Token], index: int) -> str:
    """The word at ``index`` with what stands before it and a dot, in small letters."""
    word = tokens[index].text.lower().split()[-1]  # ORDER BY is one token
    while index >= 2 and tokens[index - 1].token_type is TokenType.DOT:
        index -= 2
        word = f"{tokens[index].text.lower()}.{word}"
    return word


def check_parts(tree: exp.Expr) -> None:
    """Every part of a statement is one that is known.

    Raises:
        NotTaken: one is not, or is where it may not be.
    """
    for part in tree.walk():
        kind = type(part)
        if kind not in PARTS and not isinstance(part, exp.Func):
            raise NotTaken(Problem.PART)
        allowed = ARGUMENTS.get(exp.Union if kind in SET_OPERATIONS else kind)
        if allowed is not None and any(_is_set(value) for name, value in part.args.items() if name not in allowed):
            raise NotTaken(Problem.PART)
        _check_place(part)


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value != []


def _check_place(part: exp.Expr) -> None:
    if isinstance(part, exp.Anonymous) and not isinstance(part.this, str):
        raise NotTaken(Problem.FUNCTION)  # a name in quotes
    if isinstance(part, exp.Cast) and type(part) is not exp.Cast:
        raise NotTaken(Problem.PART)
    if isinstance(part, exp.DataType) and not _usual(part):
        raise NotTaken(Problem.TYPE)
    if isinstance(part, exp.Insert | exp.Update | exp.Delete):
        target = part.this.this if isinstance(part.this, exp.Schema) else part.this
        if not isinstance(target, exp.Table) or not isinstance(target.this, exp.Identifier) or target.args.get("joins"):
            raise NotTaken(Problem.PART)
        if part.parent is not None:
            raise NotTaken(Problem.PART)  # a change within a query: nobody could count its rows
    if isinstance(part, exp.TableAlias):
        _check_alias(part)
    if isinstance(part, exp.Update) and not all(_sets(one) for one in part.expressions):
        raise NotTaken(Problem.PART)
    if isinstance(part, exp.OnConflict) and not all(_sets(one) for one in part.expressions):
        raise NotTaken(Problem.PART)


def _check_alias(alias: exp.TableAlias) -> None:
    """A table's alias names that table alone, and renames none of its columns."""
    owner = alias.parent
    if isinstance(owner, exp.Table) and isinstance(owner.this, exp.Identifier) and alias.args.get("columns"):
        raise NotTaken(Problem.NAME)
    if isinstance(owner, exp.Subquery) and not isinstance(owner.this, _QUERIES):
        raise NotTaken(Problem.NAME)


def _usual(kind: exp.DataType) -> bool:
    nested = (one for one in kind.expressions if isinstance(one, exp.DataType))
    name = str(kind.this.value if isinstance(kind.this, exp.DType) else kind.this).lower()
    known = TYPES | {"ubigint", "uint", "array", "timestampntz", "mediumtext", "longtext"}
    return name in known and all(map(_usual, nested))


def _sets(part: exp.Expr) -> bool:
    """Whether a part of SET gives one or some columns a value."""
    if not isinstance(part, exp.EQ):
        return False
    columns = part.this.expressions if isinstance(part.this, exp.Tuple) else [part.this]
    return all(isinstance(column, exp.Column) for column in columns)
