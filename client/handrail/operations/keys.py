"""The gateway's own keys."""

from handrail.exchange import Operation, document_if_any, get, listed, post, text_of
from handrail.times import Moment, asked_time
from handrail.views import Json


def keys() -> Operation[list[Json]]:
    """The gateway's own keys and their states."""
    return listed((yield get("keys")), "keys")


def key_list() -> Operation[Json]:
    """The same with the epochs, and the gateway's time: ``{keys, epochs, now}``."""
    return (yield get("keys")).document


def create_key(purpose: str) -> Operation[Json]:
    """Make a further next key of ``purpose``."""
    return (yield post({"purpose": purpose}, "keys")).document


def key_history() -> Operation[str]:
    """The signed history of the gateway's keys; read it with :func:`handrail.history.read_history`."""
    return text_of((yield get("keys", "history")).document, "history")


def rotate_key(purpose: str) -> Operation[Json]:
    """Make the next key of ``purpose`` the active one; ``epoch`` is the key above all data keys."""
    return document_if_any((yield post(None, "keys", purpose, "rotate")))


def revoke_key(kid: str, compromised_at: Moment | None = None) -> Operation[Json]:
    """Revoke one of the gateway's keys: nothing signed by it is believed from then on.

    Args:
        compromised_at: since when it may be in wrong hands: what it signed about entries of the log that a checkpoint
            covered before goes on being believed.
    """
    body = None if compromised_at is None else {"compromised_at": asked_time(compromised_at)}
    return document_if_any((yield post(body, "keys", kid, "revoke")))
