"""Exit codes, the command line's own error codes, and how a command stops."""

from enum import IntEnum, StrEnum
from typing import Final

from gateway.reasons import Reason


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


class Code(StrEnum):
    """What went wrong on this side. A refusal by the gateway carries the gateway's code instead."""

    USAGE = "cli.usage"
    FILE = "cli.file"
    EXISTS = "cli.exists"
    SETTINGS = "cli.settings"
    REFUSED = "cli.refused"
    MISMATCH = "cli.mismatch"
    UNVERIFIED = "cli.unverified"
    UNREACHABLE = "cli.unreachable"
    UNEXPECTED_REPLY = "cli.unexpected_reply"
    INTERRUPTED = "cli.interrupted"


_CODES: Final = {
    Exit.NEGATIVE: Code.REFUSED,
    Exit.USAGE: Code.USAGE,
    Exit.UNREACHABLE: Code.UNREACHABLE,
}


class Stop(Exception):
    """Ends a command with a sentence on what is wrong and one on what to do next; ``code`` is the gateway's own
    where it would refuse the same."""

    def __init__(self, text: str, hint: str, exit_: Exit = Exit.USAGE, *, code: Code | Reason | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.exit = exit_
        self.code = code or _CODES[exit_]


def unreadable(file: object, error: OSError) -> Stop:
    """A file that was to be read and cannot be."""
    return Stop(f"{file}: {error.strerror}", "Check its name, and who may read it.", code=Code.FILE)
