"""Why a statement is refused before anything is sent: a closed set, and nothing of the statement is in it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Problem(StrEnum):
    """What is wrong with a statement."""

    SIZE = "sql.size"
    CHARACTERS = "sql.characters"
    COMMENT = "sql.comment"
    SYNTAX = "sql.syntax"
    MANY = "sql.many"
    VERB = "sql.verb"
    PART = "sql.part"
    SENT = "sql.sent"
    FUNCTION = "sql.function"
    TYPE = "sql.type"
    SCHEMA = "sql.schema"
    NAME = "sql.name"
    COLUMN = "sql.column"
    PARAMETER = "sql.parameter"


TEXTS: Final[Mapping[Problem, str]] = {
    Problem.SIZE: "The statement is too long or too deep.",
    Problem.CHARACTERS: "The statement holds a control character, or one that is no Unicode.",
    Problem.COMMENT: "The statement holds a comment. Leave it out.",
    Problem.SYNTAX: "The statement cannot be read.",
    Problem.MANY: "Give one statement.",
    Problem.VERB: "This action does not take such a statement.",
    Problem.PART: "The statement has a part that is not taken: only plain queries and changes of rows are.",
    Problem.SENT: "The statement does not mean the same when it is written out again.",
    Problem.FUNCTION: "The statement calls a function that is not known to touch nothing.",
    Problem.TYPE: "The statement names a type that is not one of the usual.",
    Problem.SCHEMA: "The statement names a table outside of the schemas of this hand.",
    Problem.NAME: "A name of the statement could mean two things. Give every query in WITH a name of its own.",
    Problem.COLUMN: "A column has a prefix that is no table of the statement. Use the table's alias.",
    Problem.PARAMETER: "The parameters are not those of the statement: one value for each :name.",
}


class NotTaken(Exception):
    """A statement is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem
