"""The JSON shapes of hands and their pins; see ``schemas``."""

from typing import Any, Literal

from pydantic import Field

from gateway.manifest import SecretPlace
from gateway.web.schemas import Shape


class ActionView(Shape):
    """One action of a hand."""

    name: str
    description: str
    side_effects: str
    idempotent: bool
    args_schema: dict[str, Any]


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
    secrets: list[SecretUseView] = Field(description="What the gateway puts into its requests.")
    actions: list[ActionView]


class HandDetail(HandView):
    """A hand with what changed since it was pinned."""

    diff: list[Difference]


class HandList(Shape):
    """The hands that the caller may see."""

    hands: list[HandView]


class PinRequest(Shape):
    """The digest that the operator looked at; it must be the one offered now."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
