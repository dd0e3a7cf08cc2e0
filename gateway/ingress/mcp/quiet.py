"""The client of a call that nobody waits for: it cannot be asked, and can take its call back."""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.conversations import Unanswered


class Quiet:
    """``Conversation`` with it."""

    def __init__(self) -> None:
        self.answers: frozenset[str] = frozenset()
        self.handshake = True
        self.cancelled = asyncio.Event()

    @property
    def log_level(self) -> str | None:
        """See ``Conversation``."""
        return None

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """See ``Conversation``."""
        raise Unanswered

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """See ``Conversation``."""

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """See ``Conversation``."""

    def visited(self, elicitation_id: str) -> None:
        """See ``Conversation``."""
