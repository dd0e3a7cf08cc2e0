"""Whom entries name: pseudonyms, never ids."""

from gateway.cli.exits import Stop
from gateway.pseudonyms import pseudonym as checked


def pseudonym(given: str | None) -> str | None:
    """What ``--principal`` was given, where an entry could say it.

    Raises:
        Stop: it is no pseudonym.
    """
    try:
        return None if given is None else checked(given)
    except ValueError:
        hint = "Give it as entries have it (p-...); 'handrail privacy access ID' says which one is a person's."
        raise Stop(f"--principal {given}: not a pseudonym", hint) from None
