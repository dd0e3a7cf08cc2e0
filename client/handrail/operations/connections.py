"""Services at which tools act as a person, once the person consented."""

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


def connections_of(principal_id: str) -> Operation[list[Json]]:
    """Services, and whether somebody has connected them; for security admins."""
    return listed((yield get("principals", principal_id, "connections")), "connections")


def end_connection(principal_id: str, connection_id: str) -> Operation[Json]:
    """End what somebody granted; ``revoked`` says whether the service revoked the tokens. For security admins."""
    return (yield delete("principals", principal_id, "connections", connection_id)).document
