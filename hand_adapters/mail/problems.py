"""Why a message is refused before anything is sent: a closed set, and nothing of the message is in it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Problem(StrEnum):
    """What is wrong with a message."""

    ADDRESS = "mail.address"
    RECIPIENTS = "mail.recipients"
    CHARACTERS = "mail.characters"
    SUBJECT = "mail.subject"
    ATTACHMENT = "mail.attachment"
    SIZE = "mail.size"
    FORM = "mail.form"


TEXTS: Final[Mapping[Problem, str]] = {
    Problem.ADDRESS: "This is no address that the hand may use here. Give local@domain alone, without a name.",
    Problem.RECIPIENTS: "The message has too many recipients.",
    Problem.CHARACTERS: "The text holds a control character.",
    Problem.SUBJECT: "The subject holds a character that cannot be seen, or text that mail programs read as another.",
    Problem.ATTACHMENT: "An attachment is not canonical base64, or its name has no extension that is listed.",
    Problem.SIZE: "Text and attachments are too large together.",
    Problem.FORM: "The message cannot be written in the form that mail servers take.",
}


class NotTaken(Exception):
    """A message is refused.

    Attributes:
        pointer: JSON pointer into the args.
    """

    def __init__(self, problem: Problem, pointer: str) -> None:
        super().__init__(str(problem))
        self.problem, self.pointer = problem, pointer
