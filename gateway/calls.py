"""One call of a hand: what was decided, recorded and bound before, what goes with its requests, and what came of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.conversations import Conversation
from gateway.errors import Refused, Unavailable
from gateway.messages_api.events import StreamEvent
from gateway.model import EMPTY
from gateway.reasons import Reason


@dataclass(frozen=True, slots=True)
class Injections:
    """What the gateway adds to one request to one target, secrets among it. Nobody keeps it."""

    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    query: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    password: str | None = field(default=None, repr=False)
    """Of the user of a database or a mail server."""
    signing_secret: str | None = field(default=None, repr=False)
    """By which a message is signed; it is not sent."""


async def no_injections(scheme: str, host: str, port: int, method: str = "", path: str = "", /) -> Injections:  # noqa: ARG001
    """Of a call whose hand names no secret."""
    return Injections()


class Inject(Protocol):
    """Asked for each request just before it is sent: what the gateway adds to it."""

    def __call__(self, scheme: str, host: str, port: int, method: str = "", path: str = "", /) -> Awaitable[Injections]:
        """Without a method and a path, only what is bound to neither."""


async def unsearched(text: str) -> str:
    """Of a call whose hand names no secret: there is nothing to take out."""
    return text


async def unrecorded(code: str, facts: Mapping[str, str | int], personal: bytes) -> None:  # noqa: ARG001
    """Of a call that nobody records connections of: none can be made."""
    raise Unavailable(Reason.LOG_UNAVAILABLE, "nobody records what this call sends")


@dataclass(slots=True)
class Progress:
    """What has become of a call so far, for whoever ends it from outside."""

    attempts: int = 1
    """How often it was sent; 1 where nobody counts."""
    unsent: bool = False
    """Whether the hand surely has not acted, and nothing is under way: it waits."""


class Relay(Protocol):
    """Whoever passes an answer on to the caller while it comes. What it is given was not held against any schema, so it
    decides itself what goes out; the call's result is still what the adapter returns, at the end."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the caller's request, those that go with the call's."""

    @property
    def body(self) -> bytes:
        """The caller's own spelling of ``HandCall.args``. Only an adapter that finds the two equal may send it."""

    @property
    def says(self) -> bytes:
        """The canonical form of what :attr:`body` was read as, to be held against ``HandCall.args_bytes``."""

    @property
    def gone(self) -> asyncio.Event:
        """Set when nobody waits for the answer any more: the call is ended, and what it used is its result."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The hand began to answer. Once: whoever would begin a second time fails instead."""

    async def event(self, event: StreamEvent) -> None:
        """One event of a stream; returns when there is room for the next."""

    async def chunk(self, chunk: bytes) -> None:
        """A part of an answer that is no stream of events."""


Prove = Callable[[str, str], str]
"""Method and URL of a request -> its ``DPoP`` header (RFC 9449)."""


async def unrenewed(attempt: int, cause: Reason | None) -> tuple[str, Prove]:  # noqa: ARG001
    """Of a call that nobody mints credentials for: it is sent once."""
    raise Refused(Reason.CREDENTIAL_REFUSED, "nobody renews this call's credential")


@dataclass(frozen=True, slots=True)
class HandCall:
    """One exact call for a hand adapter. Everything in it was decided, recorded and bound before."""

    tenant: str
    principal_id: str
    context_id: str
    plan_id: str
    step_id: str
    hand: str
    action: str
    args: Mapping[str, Any] = field(repr=False)
    args_bytes: bytes = field(repr=False)
    """Canonical JSON of ``args``; the bytes that were decided and bound."""
    credential: str = field(repr=False)
    """The step credential (JWT). It goes to a hand's supervisor, never into a jail."""
    manifest_digest: str
    deadline_seconds: float
    result_max_bytes: int
    truncates: bool = field(default=False, kw_only=True)
    """Whether text over ``result_max_bytes`` is to be cut, instead of failing the call."""
    jail_profile: str | None = None
    idempotency_key: str | None = None
    subject: str = field(default="", kw_only=True)
    """Pseudonym of whom the plan acts for; without one, nobody's tokens are sent."""
    prove: Prove = field(repr=False, compare=False, kw_only=True)
    """For ``credential`` alone."""
    renew: Callable[[int, Reason | None], Awaitable[tuple[str, Prove]]] = field(
        default=unrenewed, repr=False, compare=False, kw_only=True
    )
    """Number of the attempt that is due, and why the one before it failed (``None``: there was none, the call waited)
    -> a credential that no hand has seen, on record before this returns. Raises HandrailError: then nothing is sent."""
    secrets_named: Sequence[Mapping[str, str]] = field(default=(), compare=False, kw_only=True)
    """Facts of the uses of secrets that are on record with the call's intent (``Secrets.named``)."""
    progress: Progress = field(default_factory=Progress, repr=False, compare=False, kw_only=True)
    inject: Inject = field(default=no_injections, repr=False, compare=False, kw_only=True)
    """Scheme, host, port, method and path of a request -> what the gateway adds to it."""
    search: Callable[[str], Awaitable[str]] = field(default=unsearched, repr=False, compare=False, kw_only=True)
    """What came back from outside, without the secrets that the call was given; that it held one is on record before
    this returns."""
    conversation: Conversation | None = field(default=None, repr=False, compare=False, kw_only=True)
    """With the client that waits for the call, where one is here."""
    carried: bool = field(default=False, compare=False, kw_only=True)
    """Whether it is a question, or an answer, of another call that runs here, and reaches no tool itself."""
    relay: Relay | None = field(default=None, repr=False, compare=False, kw_only=True)
    """Whoever the answer is passed on to while it comes; ``None`` where it is given as a whole."""
    egress_hosts: tuple[str, ...] | None = None
    """The hosts that the decision lets the call reach, of those that the manifest names; ``None`` is all of these."""
    record: Callable[[str, Mapping[str, str | int], bytes], Awaitable[None]] = field(
        default=unrecorded, repr=False, compare=False, kw_only=True
    )
    """Code of an entry type, facts, and what the entry commits to (may be empty): on record before this returns. Raises
    ``log.unavailable``."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """That the end of a result's text is missing.

    Attributes:
        left_out_bytes: of UTF-8; ``None`` where what is missing was not read to its end, so that nobody knows.
    """

    left_out_bytes: int | None

    def document(self) -> dict[str, int | None]:
        """``{left_out_bytes}``."""
        return {"left_out_bytes": self.left_out_bytes}


@dataclass(frozen=True, slots=True)
class HandResult:
    """What a hand answered: MCP-style content blocks, and structured data where the action has it."""

    content: tuple[Mapping[str, Any], ...]
    structured: Any = None
    is_error: bool = False
    cached_from: str | None = field(default=None, kw_only=True)
    """Receipt id of the step whose answer this is, where the hand was not asked again."""
    retry_after_seconds: float | None = field(default=None, compare=False, kw_only=True)
    """Of an error by which a hand says that it cannot serve now: until it may be asked again; 0 where it is silent."""
    attempts: int = field(default=1, compare=False, kw_only=True)
    """How often the call was sent."""
    truncated: Truncation | None = field(default=None, compare=False, kw_only=True)
    """Of an adapter's answer: the one text block goes on, and that is where reading stopped, at least
    ``truncation.LOOK_AHEAD_BYTES`` behind the limit. Only where ``HandCall.truncates``."""

    def document(self) -> dict[str, Any]:
        """``{content, structured}``, which references point into."""
        return {"content": list(self.content), "structured": self.structured}
