"""Variables of the environment that a hand's process is given, and those that no file should hold."""

import re
from typing import Annotated, Final

from pydantic import Field

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
_SECRET_WORDS: Final = frozenset(
    {"secret", "secrets", "token", "password", "passwd", "passphrase", "pass", "pat", "credential", "credentials",
     "key", "apikey", "auth", "bearer", "cookie", "dsn"}
)  # fmt: skip
_SECRET_VALUE: Final = re.compile(
    r"-----BEGIN |eyJ[\w-]{8,}\.|(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|npm_|AKIA)[\w-]{8,}|://[^/\s:@]+:[^/\s@]+@"
)


def holds_a_secret(name: str, value: str) -> bool:
    """Whether a variable looks like one that holds a secret: a word of its name says so, or its value has the form."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return not _SECRET_WORDS.isdisjoint(words) or _SECRET_VALUE.search(value) is not None
