"""Values of secrets that a command is given: in files and by the standard input, never in words of the command line."""

from pathlib import Path
from typing import Final

from gateway.cli.exits import Code, Stop, unreadable
from gateway.files import read_bounded
from gateway.secrets.values import EXPECTED, MAX_CHARACTERS, is_fit

READ_MAX: Final = MAX_CHARACTERS + 2
"""Bytes that are read of a value: its characters and a line break."""


def from_file(file: Path) -> str:
    """The value in a file, which may be a pipe of the shell's. Raises ``Stop``, never with any of it."""
    try:
        return fit(read_bounded(file, READ_MAX, regular=False), str(file), Code.FILE)
    except OSError as exc:
        raise unreadable(file, exc) from None


def fit(raw: bytes, whence: str, code: Code = Code.USAGE) -> str:
    """A value, less one line break at its end. Raises ``Stop``, never with any of it."""
    value = raw.decode("latin-1").removesuffix("\n").removesuffix("\r")
    if not is_fit(value):
        raise Stop(f"{whence}: not a value that can be sent", f"It has to be {EXPECTED}.", code=code)
    return value


def named(option: str, text: str) -> tuple[str, Path]:
    """Name and file of an option that takes NAME=FILE. Raises ``Stop``; what stands in the file's place may be a value,
    and is not repeated."""
    name, equals, file = text.partition("=")
    if not equals or not name or not file:
        raise Stop(f"{option} {name}: not NAME=FILE", "Put the value into a file, and name that.")
    return name, Path(file)
