"""What a declaration of an MCP server may say: a program that is started here, or an address."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.settings.secrets import HandSecretSettings

_PROTOCOL: Final = frozenset({"accept", "last-event-id", "user-agent"})
"""Headers that the transport fills itself, beside those that begin with ``Mcp-``."""


def check(
    *,
    command: tuple[str, ...] | None,
    url: str | None,
    listing: Path | None,
    secrets: Mapping[str, HandSecretSettings],
    jailed: Mapping[str, object],
) -> None:
    """Check what an MCP server is declared with.

    Args:
        jailed: what only a program in a jail can have, by its key.

    Raises:
        ValueError: neither program nor address, or both; what only one of the two can have; a server that is sent
            secrets without a file that says what it offers.
    """
    if bool(command) == (url is not None):
        raise ValueError("adapter = 'mcp' needs command = [...] or url, and takes one of them")
    if url is None:
        if listing is not None:
            raise ValueError("listing goes with url: a program that is started here is asked itself")
        return
    if superfluous := [key for key, value in jailed.items() if value]:
        raise ValueError(f"{superfluous[0]} is for programs that are started here, and url names a server elsewhere")
    if "?" in url or "#" in url:
        raise ValueError(
            "url: give scheme, host, port and path only; what is secret of a query is declared as a secret"
        )
    if secrets and listing is None:
        raise ValueError(
            "secrets need listing: no server is sent one before its offer was pinned, so a file says what that is"
        )
    for name, secret in secrets.items():
        if secret.place == "header" and of_the_protocol(secret.parameter or ""):
            raise ValueError(f"secrets.{name}.parameter: {secret.parameter} is a header of the protocol")


def of_the_protocol(header: str) -> bool:
    """Whether the transport fills a header itself."""
    return header.lower().startswith("mcp-") or header.lower() in _PROTOCOL
