"""What an MCP server may send to the client that waits for a call, beside the answer."""

from typing import Annotated, Final

from pydantic import Field

from gateway.manifest import HOST
from gateway.settings.base import Section

HOSTS_MAX: Final = 64


class McpClientSettings(Section):
    """What of an MCP server's messages goes on to clients. Its questions are actions, declared like others."""

    progress: bool = Field(False, description="Whether clients that ask for it are told how far a call is.")
    logging: bool = Field(False, description="Whether clients that ask for it are sent the server's log messages.")
    elicitation_hosts: tuple[Annotated[str, Field(pattern=rf"^(?:{HOST.pattern})$")], ...] = Field(
        (),
        max_length=HOSTS_MAX,
        description="Where the server may send a person to (elicitation by URL, https alone), in lower case. None: "
        "nowhere.",
    )
