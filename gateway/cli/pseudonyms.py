"""Whom entries name: pseudonyms, never ids."""

import re
from typing import Final

from gateway.cli.exits import Stop

_PSEUDONYM: Final = re.compile(r"[pi]-[0-9a-f]{32}|system")
"""Of a principal, of an issuer; and the gateway itself."""


def pseudonym(given: str | None) -> str | None:
    """What ``--principal`` was given, where an entry could say it.

    An id would match nothing, which reads like the answer that nothing happened, and may be somebody's name.

    Raises:
        Stop: it is no pseudonym.
    """
    if given is not None and _PSEUDONYM.fullmatch(given) is None:
        hint = "Give it as entries have it (p-...); 'handrail privacy access ID' says which one is a person's."
        raise Stop(f"--principal {given}: not a pseudonym", hint)
    return given
