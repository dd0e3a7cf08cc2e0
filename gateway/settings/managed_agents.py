"""Agents that run at Anthropic (Claude Managed Agents), and which hands their tools are."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from gateway.model import DEFAULT_TENANT
from gateway.settings.base import Identifier, Section, Tenant
from gateway.settings.secrets import SEALED

RemoteId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
HandAction = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}\.[A-Za-z0-9_.:/-]{1,128}$")]


class EnvironmentSettings(Section):
    """A self-hosted environment whose work this gateway takes: tools of Anthropic's toolset that hands run here."""

    id: RemoteId = Field(description="Id of the environment at Anthropic.")
    key: Identifier = Field(description="Name of the secret (of the connector's tenant) with the environment's key.")
    tools: dict[ToolName, HandAction] = Field(
        min_length=1,
        max_length=64,
        description='Tool of the toolset -> "hand.action" that runs it, such as { bash = "shell.run" }. A tool that is '
        "not named here is not run.",
    )
    sessions_max: int = Field(4, ge=1, le=64, description="Sessions that are served at once; more wait at Anthropic.")


class ManagedAgentsSettings(Section):
    """A workspace at Anthropic whose agents are governed here, in the name of one principal."""

    on_behalf_of: str = Field(
        min_length=1, max_length=128, description="Principal that the agents' tool calls are of. It must exist."
    )
    tenant: Tenant = Field(DEFAULT_TENANT, description="Tenant of that principal.")
    api_key: Identifier = Field(description="Name of the secret (of the tenant) with the workspace's API key.")
    store: Identifier = Field(SEALED, description="Which store keeps the secrets.")
    url: str = Field("https://api.anthropic.com", pattern=r"^https?://[^\s?#]+$", description="Where the API is.")
    private_network: bool = Field(
        False, description="Whether it may be at a private or loopback address, and there without TLS."
    )
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")
    agents: tuple[RemoteId, ...] = Field(
        (), max_length=64, description="Agents whose sessions are followed without being named one by one."
    )
    toolset_hand: Identifier | None = Field(
        None,
        description='Hand of adapter = "client" whose actions are the tools of Anthropic\'s toolset (bash, read, ...). '
        "Without it their calls are denied.",
    )
    mcp_hands: dict[str, Identifier] = Field(
        {}, description='MCP server of the agents -> hand of adapter = "client" whose actions are its tools.'
    )
    custom_tools: dict[ToolName, HandAction] = Field(
        {}, description='Custom tool -> "hand.action". Default: a tool named HAND__ACTION is that action.'
    )
    environment: EnvironmentSettings | None = Field(None, description="A self-hosted environment to serve.")
    discover_seconds: float = Field(
        15.0,
        ge=0.05,
        le=3600,
        description="How often new sessions are looked for; work of an environment every 2 seconds at least.",
    )
    timeout_seconds: float = Field(30.0, gt=0, le=300, description="How long a request may take to be answered.")
    quiet_seconds: float = Field(
        300.0, ge=1, le=3600, description="A stream of events that says nothing for this long is opened anew."
    )
    sessions_max: int = Field(64, ge=1, le=1024, description="Sessions that one gateway follows at once.")

    @model_validator(mode="after")
    def _sound(self) -> "ManagedAgentsSettings":
        if not self.url.startswith("https://") and not self.private_network:
            raise ValueError("url must be https:// (http:// only with private_network)")
        return self
