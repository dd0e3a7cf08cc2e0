"""How entries and tables name a principal, an issuer and the gateway itself: never by an id."""

import re
from typing import Final

EXPECTED: Final = (
    "a pseudonym, as entries have it (p-... of a principal, i-... of an issuer, or system), and no id; "
    "'handrail privacy access ID' says which one is a person's"
)
_PSEUDONYM: Final = re.compile(r"[pi]-[0-9a-f]{32}|system")


def pseudonym(text: str) -> str:
    """``text``, where an entry could say it.

    An id would match nothing, which reads like the answer that nothing happened, and may be somebody's name.

    Raises:
        ValueError: it is no pseudonym.
    """
    if _PSEUDONYM.fullmatch(text) is None:
        raise ValueError(text)
    return text
