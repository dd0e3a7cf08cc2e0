"""Arguments that a schema admits and a hand cannot take: refused before anything is sent, with where and why."""

import contextlib
from collections.abc import Iterator

from gateway.pointers import pointer
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError


def misfit(why: str, *path: str | int) -> HandError:
    """``schema.args``, not executed.

    Args:
        why: "a value that ..."; nothing of the value is in it.
        path: where in the args; a name that no schema declares is ``*``.
    """
    return _at(pointer(path), why)


@contextlib.contextmanager
def placed(*path: str | int) -> Iterator[None]:
    """Say of what does not fit that it is below ``path``."""
    try:
        yield
    except HandError as error:
        if error.reason is not Reason.SCHEMA_ARGS:
            raise
        raise _at(pointer(path) + str(error.facts.get("pointer", "")), error.detail) from None


def _at(place: str, why: str) -> HandError:
    said = f"{why[:1].upper()}{why[1:]}."
    return HandError(Reason.SCHEMA_ARGS, HandFailure.NOT_EXECUTED, why, pointer=place, why=said)
