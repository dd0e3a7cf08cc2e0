"""Secrets that the configuration names by their file: one line, read once, told to nobody."""

from pathlib import Path
from typing import Final

from gateway.files import read_bounded
from gateway.settings import SettingsError

MAX_BYTES: Final = 65_536


def read_secret(file: Path, what: str) -> str:
    """The one line of a file.

    Args:
        what: the setting that names the file.

    Raises:
        SettingsError: where it cannot be read or is not one line of ASCII; never with its content.
    """
    try:
        content = read_bounded(file, MAX_BYTES)
    except OSError as exc:
        raise SettingsError(f"{what}: {file}: {exc.strerror}") from None
    if not content.isascii():
        raise SettingsError(f"{what}: {file}: not ASCII")
    text = content.decode("ascii").strip()
    if not text or any(character.isspace() for character in text):
        raise SettingsError(f"{what}: {file}: not one line")
    return text
