"""Exit codes, and how a command stops."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell learns."""

    GOOD = 0
    NEGATIVE = 1
    """The verdict is no: denied, refused, failed, not verified."""
    USAGE = 2
    """The command, its files or its configuration are wrong."""
    UNREACHABLE = 3
    WAITING = 4
    """Not decided yet: a step runs or waits for a person."""


class Stop(Exception):
    """Ends a command with a sentence on what is wrong and one on what to do next."""

    def __init__(self, text: str, hint: str = "", code: Exit = Exit.USAGE) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.code = code
