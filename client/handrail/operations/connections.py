"""Services at which tools act as the caller, once the caller consented."""

from handrail.exchange import Operation, delete, get, listed
from handrail.views import Json


def connections() -> Operation[list[Json]]:
    """Services at which tools may act as the caller, and whether the caller has connected them."""
    return listed((yield get("connections")), "connections")


def connection(connection_id: str) -> Operation[Json]:
    """One of them; ``page`` is where the caller consents, in a browser."""
    return (yield get("connections", connection_id)).document


def remove_connection(connection_id: str) -> Operation[Json]:
    """Take a consent back; ``revoked`` says whether the service revoked the tokens."""
    return (yield delete("connections", connection_id)).document
