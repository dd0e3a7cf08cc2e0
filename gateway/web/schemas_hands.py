"""The JSON shapes of hands and their pins; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.reach import SecretPlace
from gateway.web.schemas import Shape


class ActionView(Shape):
    """One action of a hand."""

    name: str
    description: str
    side_effects: str
    idempotent: bool
    args_schema: dict[str, Any]
    annotations: dict[str, Any] | None = Field(
        None, description="Of prompts/get and resources/read: the prompts or the templates that are pinned with it."
    )


class Difference(Shape):
    """One place where what a hand offers is not what was pinned."""

    path: str
    pinned: Any = None
    offered: Any = None


class SecretUseView(Shape):
    """A secret that a hand names."""

    name: str
    store: str
    place: SecretPlace
    parameter: str | None = Field(description="Of the places header and query.")
    username: str | None = Field(description="Of the place basic.")
    targets: list[str] = Field(description="scheme://host:port; it goes nowhere else.")
    connection: str | None = Field(None, description="Instead of a store: the connection whose token it is.")
    methods: list[str] = Field([], description="Of requests that carry it; all where it is left out.")
    paths: list[str] = Field([], description="Of requests that carry it; all where it is left out.")


class EgressRuleView(Shape):
    """Where a hand's jail may send requests, and which."""

    scheme: Literal["https", "http"]
    host: str
    port: int
    methods: list[str]
    paths: list[str] = Field(description="`*` is one segment, `**` at the end whatever follows.")
    blind: bool = Field(description="The hand speaks TLS with the host itself; its requests are not seen.")
    credential: bool = Field(description="The host is sent the step credential.")
    private_network: bool = Field(description="It may be at a private or loopback address.")


class LoadView(Shape):
    """What stands before a hand on this gateway, of the caller's tenant; others know their own."""

    circuit: Literal["closed", "open", "half_open"] = Field(
        description="open: it failed in a row, and nothing is sent. half_open: a probe is."
    )
    running: int = Field(description="Calls that hold one of its slots.")
    waiting: int = Field(description="Calls that wait for one.")


class HandView(Shape):
    """A configured hand."""

    id: str
    adapter: str
    state: Literal["pinned", "unpinned", "drifted", "asking", "unavailable", "disabled"]
    problem: str | None = None
    pinned_digest: str | None = None
    offered_digest: str | None = None
    region: str | None
    trust: str
    endpoint: str | None = Field(None, description="Where an MCP server is that is reached over HTTP.")
    secrets: list[SecretUseView] = Field(description="What the gateway puts into its requests.")
    egress: list[EgressRuleView] = Field(description="What its jail may reach; it reaches nothing else.")
    load: LoadView
    actions: list[ActionView]


class HandDetail(HandView):
    """A hand with what it offers, and what of that changed since it was pinned."""

    diff: list[Difference]
    manifest: dict[str, Any] | None = Field(
        None,
        description="To who may pin it: all that it offers, as the document whose canonical JSON has the SHA-256 "
        "offered_digest. Left out where it offers nothing.",
    )


class HandList(Shape):
    """The hands that the caller may see."""

    hands: list[HandView]


class PinRequest(Shape):
    """The digest that the operator looked at; it must be the one offered now."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
