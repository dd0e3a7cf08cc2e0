"""The JSON shapes of secrets. A value is sent in and in no answer; see ``schemas``."""

from pydantic import Field, SecretStr

from gateway.web.schemas import Shape
from gateway.web.times import Time

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"


class SecretView(Shape):
    """A secret without its value."""

    name: str
    store: str = Field(description="sealed, or a store of the settings.")
    version: str | None = Field(description="Of a sealed one.")
    set_by: str | None = Field(description="Pseudonym of who set a sealed one last.")
    set_at: Time | None = Field(description="When that was.")
    hands: list[str] = Field(description="Hands of the tenant that name it.")
    connections: list[str] = Field(description="Connections whose client authenticates with it.")


class SecretList(Shape):
    """Secrets of the tenant."""

    secrets: list[SecretView]


class SecretRequest(Shape):
    """A secret to keep."""

    name: str = Field(pattern=_NAME)
    value: SecretStr = Field(max_length=16_384)


class SecretValueRequest(Shape):
    """A secret's new value."""

    value: SecretStr = Field(max_length=16_384)


class SecretCheck(Shape):
    """Whether a secret that hands or connections name could be used now."""

    store: str
    name: str
    hands: list[str]
    connections: list[str]
    usable: bool
    version: str | None = None
    reason: str | None = Field(None, description="The closed reason code, where it is not usable.")
    problem: str | None = None


class SecretChecks(Shape):
    """Every secret that a hand or connection of the tenant names."""

    checks: list[SecretCheck]
