"""What a model may be asked to do beside answering: things that its provider does itself, before anybody here sees."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.settings.base import Section

ServerTool = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ServerUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s?#]+$", max_length=2048)]


class ModelSettings(Section):
    """A hand of the adapter `anthropic`: what its provider may do itself. Nothing, where nothing is said."""

    server_tools: tuple[ServerTool, ...] = Field(
        (),
        max_length=64,
        description="Types of tools that the provider runs and requests may ask for, such as web_search_20260318.",
    )
    mcp_servers: tuple[ServerUrl, ...] = Field(
        (), max_length=64, description="URLs of MCP servers that requests may have the provider call."
    )
    url_sources: bool = Field(
        False, description="Whether requests may name images and documents that the provider then fetches by their URL."
    )
    kept: tuple[Literal["files", "containers", "skills", "threads"], ...] = Field(
        (),
        description=(
            "What is kept at the provider and requests may name by its id. All callers share what its key can reach: "
            "list it where they may see each other's."
        ),
    )
