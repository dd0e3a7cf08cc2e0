"""The client of one call, while the call runs: it is asked what the call's server asks, and told how far it is.

What a server asks is decided as an action of its hand before the client sees it (args ``{request}``), and what the
client answers, before the server sees it (args ``{request, response}``); see ``docs/ingress.md``. A client of the
handshake era is sent a request; one of the stateless era is answered with a question, and calls again.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from gateway.conversations import Unanswered
from gateway.ingress.mcp.asking import APPROVAL_KEY
from gateway.mcp_methods import McpQuestion
from gateway.safe import safe

_log = structlog.get_logger(__name__)

KEY_MAX_CHARACTERS: Final = 256
"""Of the name that a server gives to a question."""
NOTES_WAITING_MAX: Final = 64
"""Progress and log messages that wait for a slow client; the oldest go."""
FLUSH_SECONDS: Final = 2.0
"""How long the answer waits for a client to take what was said before it."""
LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, by severity (RFC 5424 section 6.2.1)."""
LEVEL_UNTIL_SET: Final = "info"
"""Of clients of the handshake era that did not say."""

Judge = Callable[[McpQuestion, Mapping[str, Any], str], Awaitable[dict[str, Any]]]
"""Question, args and the member that is wanted -> that member, as policy left it. Raises ``Unanswered``."""


def abilities(capabilities: types.ClientCapabilities | None) -> frozenset[str]:
    """What a client says that it can be asked; see ``Conversation.answers``."""
    if capabilities is None:
        return frozenset()
    sampling, elicitation = capabilities.sampling, capabilities.elicitation
    able = {
        "sampling": sampling is not None,
        "sampling.tools": sampling is not None and sampling.tools is not None,
        "elicitation.form": elicitation is not None and (elicitation.form is not None or elicitation.url is None),
        "elicitation.url": elicitation is not None and elicitation.url is not None,
        "roots": capabilities.roots is not None,
    }
    return frozenset(word for word, said in able.items() if said)


@dataclass(slots=True)
class _Open:
    """A question that waits for its answer."""

    request: types.InputRequest
    answer: "asyncio.Future[dict[str, Any]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ClientTalk:
    """``Conversation`` with the client of one request, and of those by which it goes on."""

    def __init__(
        self,
        ctx: ServerRequestContext[Any],
        judge: Judge,
        log_level: str | None,
        responses: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """
        Args:
            log_level: see ``Conversation``.
            responses: answers that came with the call, before anything was asked.
        """
        self.answers = abilities(ctx.session.client_capabilities)
        self.cancelled = asyncio.Event()
        self.changed = asyncio.Event()
        self._ctx: ServerRequestContext[Any] | None = ctx
        self.handshake = ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        self._judge = judge
        self._log_level = log_level
        self._responses = dict(responses)
        self._questions: dict[str, _Open] = {}
        self._pages: set[str] = set()
        self._judging = self._asking = 0
        self._over = asyncio.Event()
        self._reached: float | None = None
        self._notes: deque[Callable[[ServerRequestContext[Any]], Awaitable[None]]] = deque(maxlen=NOTES_WAITING_MAX)
        self._pump: asyncio.Task[None] | None = None

    @property
    def log_level(self) -> str | None:
        """See ``Conversation``."""
        return self._log_level

    # --- for the request that waits ----------------------------------------------------------------------------------

    @property
    def asks(self) -> bool:
        """Whether a question is under way, so that the call takes as long as the client does."""
        return bool(self._asking)

    def questions(self) -> dict[str, types.InputRequest]:
        """What a client of the stateless era is to be asked now; empty while more may come."""
        return {} if self._judging else {key: one.request for key, one in self._questions.items()}

    def resume(self, ctx: ServerRequestContext[Any], responses: Mapping[str, Mapping[str, Any]]) -> None:
        """The client called again. What it does not answer stays open; what nobody asked is read over."""
        self._ctx = ctx
        for key, response in responses.items():
            if (one := self._questions.pop(key, None)) is not None and not one.answer.done():
                one.answer.set_result(dict(response))

    async def leave(self) -> None:
        """The request is about to be answered: say what was not said yet, and nothing more after it."""
        pump, self._pump = self._pump, None
        try:
            if pump is not None:
                await asyncio.wait({pump}, timeout=FLUSH_SECONDS)
        finally:
            if pump is not None:
                pump.cancel()
            self._notes.clear()
            self._ctx = None

    def give_up(self) -> None:
        """Nobody answers any more, neither what is asked nor what will be."""
        self._over.set()
        for one in self._questions.values():
            if not one.answer.done():
                one.answer.set_exception(Unanswered())
        self._questions.clear()

    # --- Conversation ------------------------------------------------------------------------------------------------

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``Conversation``."""
        question = McpQuestion(method)
        if self._over.is_set():
            raise Unanswered
        self._asking += 1
        try:
            self._judging += 1
            try:
                asked = await self._judge(question, {"request": dict(params)}, "request")
                waiting = self._put(key, question, asked)
            finally:
                self._judging -= 1
                self.changed.set()
            try:
                given = await waiting
            finally:
                self._withdraw(key, waiting)
            return await self._judge(question, {"request": asked, "response": dict(given)}, "response")
        finally:
            self._asking -= 1

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """See ``Conversation``. Progress that does not grow is left out (MCP, progress)."""
        if self._reached is not None and progress <= self._reached:
            return
        self._reached = progress
        self._note(lambda ctx: ctx.session.report_progress(progress, total, message))

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """See ``Conversation``."""
        if self._log_level is None or level not in LEVELS or LEVELS.index(level) < LEVELS.index(self._log_level):
            return
        params = types.LoggingMessageNotificationParams.model_validate({"level": level, "logger": logger, "data": data})
        said = types.LoggingMessageNotification(params=params)
        self._note(lambda ctx: ctx.session.send_notification(said, related_request_id=ctx.request_id))

    def visited(self, elicitation_id: str) -> None:
        """See ``Conversation``. Of a question that the client was not asked nothing is said, and a stateless client is
        told in no other way than by the result (2026-07-28 has no such message)."""
        if self.handshake and elicitation_id in self._pages:
            self._note(lambda ctx: ctx.session.send_elicit_complete(elicitation_id, related_request_id=ctx.request_id))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _put(self, key: str, question: McpQuestion, asked: Mapping[str, Any]) -> Awaitable[Mapping[str, Any]]:
        """Ask the client, unless its answer is here already.

        Raises:
            Unanswered: policy left no question of it.
        """
        try:
            request = _REQUESTS[question](asked)
        except ValidationError:
            raise Unanswered from None
        if (early := self._responses.pop(key, None)) is not None:
            return _given(early)
        if self.handshake:
            request = _identified(request)
            if (page := _page_of(request)) is not None:
                self._pages.add(page)
            return self._sent(question, request)
        if self._over.is_set() or key in self._questions or not _is_a_servers(key):
            raise Unanswered
        one = self._questions[key] = _Open(request)
        return one.answer

    async def _sent(self, question: McpQuestion, request: Any) -> dict[str, Any]:
        ctx = self._ctx
        if ctx is None:
            raise Unanswered
        metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
        asking = asyncio.ensure_future(ctx.session.send_request(request, _RESULTS[question], metadata=metadata))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Unanswered
            return plain(asking.result())
        except (MCPError, ValidationError):
            raise Unanswered from None
        finally:
            over.cancel()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _withdraw(self, key: str, waiting: Awaitable[Mapping[str, Any]]) -> None:
        """Whoever asked does not wait any more, for the answer or at all."""
        one = self._questions.get(key)
        if one is not None and one.answer is waiting:
            del self._questions[key]

    def _note(self, note: Callable[[ServerRequestContext[Any]], Awaitable[None]]) -> None:
        if self._ctx is None:
            return
        self._notes.append(note)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._say(self._ctx))
            self._pump.add_done_callback(_untold)

    async def _say(self, ctx: ServerRequestContext[Any]) -> None:
        while self._notes:
            await self._notes.popleft()(ctx)


def _untold(pump: "asyncio.Task[None]") -> None:
    if not pump.cancelled() and (error := pump.exception()) is not None:
        _log.warning("a client could not be told how far its call is", error=type(error).__name__)


def _is_a_servers(key: str) -> bool:
    """Whether a server may give a question this name, by which its client knows it: not one of the gateway's own."""
    ours = key.startswith(APPROVAL_KEY.partition("/")[0])
    return not ours and len(key) <= KEY_MAX_CHARACTERS and safe(key) == key


async def _given(response: Mapping[str, Any]) -> Mapping[str, Any]:
    return response


def plain(answer: BaseModel) -> dict[str, Any]:
    """An answer as JSON, without what is of the connection."""
    return answer.model_dump(by_alias=True, mode="json", exclude_none=True, exclude={"meta"})


def _identified(request: types.InputRequest) -> types.InputRequest:
    """Up to 2025-11-25 a person is sent somewhere under an id, which a server of the later era does not give."""
    if not isinstance(request, types.ElicitRequest) or not isinstance(request.params, types.ElicitRequestURLParams):
        return request
    if request.params.elicitation_id is not None:
        return request
    params = request.params.model_copy(update={"elicitation_id": secrets.token_hex(16)})
    return request.model_copy(update={"params": params})


def _page_of(request: types.InputRequest) -> str | None:
    """The id of a question that sends a person somewhere."""
    params = request.params
    return params.elicitation_id if isinstance(params, types.ElicitRequestURLParams) else None


def _sampling(params: Mapping[str, Any]) -> types.InputRequest:
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams.model_validate(params, by_name=False))


def _elicitation(params: Mapping[str, Any]) -> types.InputRequest:
    return types.ElicitRequest.model_validate({"method": "elicitation/create", "params": params}, by_name=False)


def _roots(params: Mapping[str, Any]) -> types.InputRequest:  # noqa: ARG001 - it has none
    return types.ListRootsRequest()


_REQUESTS: Final[Mapping[McpQuestion, Callable[[Mapping[str, Any]], types.InputRequest]]] = {
    McpQuestion.SAMPLING: _sampling,
    McpQuestion.ELICITATION: _elicitation,
    McpQuestion.ROOTS: _roots,
}
_RESULTS: Final[Mapping[McpQuestion, type[BaseModel]]] = {
    McpQuestion.SAMPLING: types.CreateMessageResultWithTools,
    McpQuestion.ELICITATION: types.ElicitResult,
    McpQuestion.ROOTS: types.ListRootsResult,
}
