"""When a request of a channel may have left."""

from hand_adapters.dialer import Attempt
from hand_adapters.mcp.channel import Channel


class Counted(Attempt):
    """The attempt of a request, which the channel counts from the moment that the server may see it."""

    __slots__ = ("_channel", "_connected")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._connected = False

    @property
    def connected(self) -> bool:
        """See ``Attempt``."""
        return self._connected

    @connected.setter
    def connected(self, value: bool) -> None:
        self._channel.sent += value and not self._connected
        self._connected = value
