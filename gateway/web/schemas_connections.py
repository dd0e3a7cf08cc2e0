"""The JSON shapes of connections. No token is in any; see ``schemas``."""

from typing import Literal

from pydantic import Field

from gateway.web.schemas import Shape


class ConnectionView(Shape):
    """A service, and how it stands for the caller."""

    id: str
    title: str
    state: Literal["none", "connected", "lost", "removed"] = Field(
        description="lost: the service ended what was granted, and the person has to consent again."
    )
    scopes: list[str] = Field(description="What the person is asked for.")
    targets: list[str] = Field(description="The only APIs that tokens go to.")
    hands: list[str] = Field(description="Hands of the tenant that use it.")
    page: str = Field(description="Where the person consents, in a browser.")


class ConnectionList(Shape):
    """Connections of the tenant."""

    connections: list[ConnectionView]


class PersonsConnection(Shape):
    """A service, and how it stands for somebody."""

    id: str
    title: str = Field(description="The id of one that is no longer configured.")
    state: Literal["none", "connected", "lost", "removed"]


class PersonsConnectionList(Shape):
    """Connections, as they stand for somebody."""

    connections: list[PersonsConnection]


class PersonsConnectionEnded(PersonsConnection):
    """A connection that was ended."""

    revoked: bool = Field(description="Whether the service said that it revoked the tokens (RFC 7009).")


class ConnectionRemoved(ConnectionView):
    """A connection that was taken back."""

    revoked: bool = Field(description="Whether the service said that it revoked the tokens (RFC 7009).")
