"""What passes between a call's tool and its client while the call runs: questions, progress, log messages.

It lives in this process alone. A call that runs without its client (approved after it left, taken up after a restart,
sent through the plan API) has none, and its tool is told of nobody who could be asked.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable


class Unanswered(Exception):
    """A question got no answer: nobody is there, it may not be put, or the answer may not go out. Whoever asked is not
    told which."""


class Conversation(Protocol):
    """The client's side of one call.

    Attributes:
        answers: what the client says that it can be asked, in the protocol's words: ``sampling``, ``sampling.tools``,
            ``elicitation.form``, ``elicitation.url``, ``roots``.
        handshake: whether the client speaks a revision with a handshake, in which a server asks by requests of its own.
        log_level: from which level on it wants log messages; ``None`` where it wants none.
        cancelled: set once the client said that it does not want the result any more.
    """

    answers: frozenset[str]
    handshake: bool
    cancelled: asyncio.Event

    @property
    def log_level(self) -> str | None:
        """See above."""

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put one question, once policy let it through; the answer, once policy let that through.

        Args:
            key: by which the answer is told from those to other questions of the call.

        Raises:
            Unanswered: there is none.
        """

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Tell how far the call is. Never waits: what a slow client does not take is left out."""

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """Pass on a log message. Never waits, as above."""

    def visited(self, elicitation_id: str) -> None:
        """Pass on that a person did what they were sent to a page for, by the id of the question that sent them there.
        Never waits, as above."""


@runtime_checkable
class Watcher(Protocol):
    """A client that wants to know when a resource changes, after the call that said so is over.

    Attributes:
        cancelled: set once it does not any more.
    """

    cancelled: asyncio.Event

    def updated(self, uri: str) -> None:
        """The resource may be another one now. Never waits."""

    def lost(self) -> None:
        """Nobody will say so any more."""


class Conversations:
    """The conversations of this process by plan. Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: dict[str, Conversation] = {}
        self._carried: set[str] = set()

    def of(self, plan_id: str) -> Conversation | None:
        """The conversation of a plan's call, where its client is here."""
        return self._open.get(plan_id)

    def carries(self, plan_id: str) -> bool:
        """Whether the plan is a question, or an answer, of a call that runs here."""
        return plan_id in self._carried

    @contextmanager
    def opened(self, plan_id: str, conversation: Conversation) -> Iterator[None]:
        """The plan's call has this client, until the context is left."""
        self._open[plan_id] = conversation
        try:
            yield
        finally:
            del self._open[plan_id]

    @contextmanager
    def carried(self, plan_id: str) -> Iterator[None]:
        """The plan is such a question or answer, until the context is left."""
        self._carried.add(plan_id)
        try:
            yield
        finally:
            self._carried.discard(plan_id)
