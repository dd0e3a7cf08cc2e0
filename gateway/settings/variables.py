"""Variables of the environment that a hand's process is given, and those that no file should hold."""

import re
from typing import Annotated, Final

from pydantic import Field

from gateway.secret_forms import FORMS, PASSWORDS, PREFIXES

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
_SECRET_WORDS: Final = frozenset(
    {"secret", "secrets", "token", "password", "passwd", "passphrase", "pass", "pat", "credential", "credentials",
     "key", "apikey", "auth", "bearer", "cookie", "dsn"}
)  # fmt: skip
_SECRET_VALUE: Final = re.compile(
    rf"-----BEGIN |eyJ[\w-]{{8,}}\.|\b(?:{PREFIXES})[\w-]{{16,}}|\b(?:sk-|AKIA|ASIA|AIza)[\w-]{{8,}}|{PASSWORDS}|"
    + "|".join(FORMS.values())
)


def holds_a_secret(name: str, value: str) -> bool:
    """Whether a variable looks like one that holds a secret: a word of its name says so, or its value has the form."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return not _SECRET_WORDS.isdisjoint(words) or _SECRET_VALUE.search(value) is not None
