"""What can be a secret's value."""

import re
from typing import Final

from gateway.errors import Refused, Unavailable
from gateway.ports import SecretValue
from gateway.reasons import Reason

MIN_CHARACTERS: Final = 8
"""A shorter one could be guessed, and could not be told from ordinary text in an answer."""
MAX_CHARACTERS: Final = 8192
EXPECTED: Final = (
    f"{MIN_CHARACTERS} to {MAX_CHARACTERS} printable ASCII characters on one line, none of them a space at either end"
)
_FIT: Final = re.compile(rf"(?=.{{{MIN_CHARACTERS},{MAX_CHARACTERS}}}\Z)[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]")


def is_fit(value: str) -> bool:
    """Whether a header can carry ``value`` and an answer be searched for it; see :data:`EXPECTED`."""
    return _FIT.fullmatch(value) is not None


def taken(value: str, version: str, place: str) -> SecretValue:
    """What a store gave, less one line break at its end.

    Raises:
        Refused: ``secret.missing`` where it is not fit to be sent.
    """
    text = value.removesuffix("\n").removesuffix("\r")
    if not is_fit(text):
        raise missing(f"{place}: not {EXPECTED}")
    return SecretValue(text, version)


def missing(detail: str) -> Refused:
    """The store says that it has no such secret; ``detail`` says which place, never a value."""
    return Refused(Reason.SECRET_MISSING, detail)


def unavailable(detail: str) -> Unavailable:
    """The store does not say."""
    return Unavailable(Reason.SECRET_UNAVAILABLE, detail)


def key_of(tenant: str, name: str, default_tenant: str) -> str:
    """``NAME`` of the default tenant's secret, ``TENANT.NAME`` of another's; a name has no dot, so no two are alike."""
    return name if tenant == default_tenant else f"{tenant}.{name}"
