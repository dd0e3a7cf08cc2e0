"""What a server says to the client of a call beside its answer: questions, progress and log messages, each only where
the operator declared it, counted, and cleaned of what no reader sees.

It is of the call that runs, or of the one that became the task which it names (:class:`Talk`), and goes to that call's
client alone.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    CreateMessageRequestParams,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitCompleteNotification,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    ErrorData,
    ListRootsResult,
    LoggingMessageNotificationParams,
    SamplingCapability,
    SamplingToolsCapability,
)
from pydantic import BaseModel, ValidationError

from gateway.calls import HandCall
from gateway.conversations import Unanswered
from gateway.mcp_methods import McpQuestion
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.safe import safe
from gateway.settings import HandSettings
from hand_adapters.contract import HandError
from hand_adapters.mcp.takeback import TakenBack, unless_cancelled

QUESTIONS_MAX: Final = 16
"""Questions of one call."""
NOTES_MAX: Final = 256
"""Progress and log messages of one call that are passed on; what is more is dropped."""
TEXT_MAX_CHARACTERS: Final = 4096
"""Of the text of a progress or log message; the rest is cut off."""
VALUES_MAX: Final = 1024
"""Values in one question, or in one log message."""
DEPTH_MAX: Final = 24

HANDSHAKE: Final = "handshake"
"""Among the answers: their clients are of that era, so a server of both is spoken to in it. Some of its tools ask in no
other."""

RELATED: Final = "io.modelcontextprotocol/related-task"
"""In ``_meta``: of which task something is."""

ModelT = TypeVar("ModelT", bound=BaseModel)

_NEEDS: Final = {
    McpQuestion.SAMPLING: "sampling",
    McpQuestion.ELICITATION: "elicitation.form",
    McpQuestion.ROOTS: "roots",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the operator lets a server say.

    Attributes:
        hosts: where it may send a person to.
    """

    questions: frozenset[McpQuestion] = frozenset()
    progress: bool = False
    logging: bool = False
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: HandSettings) -> "Declared":
        """As a hand's settings say."""
        said = settings.mcp
        return cls(
            frozenset(one for one in McpQuestion if one in settings.actions),
            said.progress,
            said.logging,
            frozenset(said.elicitation_hosts),
        )

    def answers(self, call: HandCall) -> frozenset[str]:
        """What a server may be told that the client of ``call`` can be asked, and whether it is better asked in a
        revision with a handshake."""
        if call.conversation is None:
            return frozenset()
        asked = {word for question in self.questions for word in _words(question, url=bool(self.hosts))}
        answers = call.conversation.answers & asked
        return answers | {HANDSHAKE} if answers and call.conversation.handshake else answers


def joined(purpose: str, answers: frozenset[str]) -> str:
    """What a session is for, with what its server is told that it can ask, which it is told when it opens."""
    return "\x1f".join((purpose, *sorted(answers)))


def parted(purpose: str) -> tuple[str, frozenset[str]]:
    """What :func:`joined` joined."""
    own, *answers = purpose.split("\x1f")
    return own, frozenset(answers)


def _words(question: McpQuestion, *, url: bool) -> frozenset[str]:
    if question is McpQuestion.SAMPLING:
        return frozenset({"sampling", "sampling.tools"})
    if question is McpQuestion.ELICITATION:
        return frozenset({"elicitation.form", *(("elicitation.url",) if url else ())})
    return frozenset({"roots"})


@dataclass(eq=False, slots=True)
class _Spoken:
    """A call, and how much its server has said in it."""

    call: HandCall
    questions: int = 0
    notes: int = 0

    def noted(self) -> bool:
        """Whether one more note may be passed on."""
        self.notes += 1
        return self.notes <= NOTES_MAX

    def is_of(self, call: HandCall) -> bool:
        """Whether it is that step's."""
        return (self.call.plan_id, self.call.step_id) == (call.plan_id, call.step_id)


class Talk:
    """What one session's server may say, and to the client of which call. The session tells it which one runs, and
    which became tasks.

    What names a task (``io.modelcontextprotocol/related-task``, 2025-11-25, tasks) is of the call that began it, and
    nobody else's; over HTTP anything else is of the call in whose answer it came; and otherwise of the one that runs.
    """

    def __init__(self, declared: Declared = Declared(), answers: frozenset[str] = frozenset()) -> None:
        """
        Args:
            answers: what the clients of all calls of this session can be asked; see :meth:`Declared.answers`.
        """
        self.declared = declared
        self._answers = answers
        self.asker: Callable[[Any], HandCall | None] = lambda _: None
        """Id of a question -> the call in whose answer it came, where the channel knows."""
        self._running: _Spoken | None = None
        self._tasks: dict[str, _Spoken] = {}

    def options(self) -> dict[str, Any]:
        """How the SDK's client is made, which from that tells the server what it can be asked."""
        options: dict[str, Any] = {}
        if "sampling" in self._answers:
            options["sampling_callback"] = self._sample
            if "sampling.tools" in self._answers:
                options["sampling_capabilities"] = SamplingCapability(tools=SamplingToolsCapability())
        if self._answers & {"elicitation.form", "elicitation.url"}:
            options["elicitation_callback"] = self._elicit
        if "roots" in self._answers:
            options["list_roots_callback"] = self._roots
        if self.declared.logging:
            options["logging_callback"] = self._logged
        return options

    @property
    def modes(self) -> tuple[str, ...]:
        """How the SDK's client agrees on a revision, and how it does where the server takes none of those."""
        return ("legacy", "auto") if HANDSHAKE in self._answers else ("auto",)

    def begin(self, call: HandCall) -> None:
        """A call runs from now on."""
        self._running = _Spoken(call)

    def end(self) -> None:
        """No call runs."""
        self._running = None

    @property
    def follows(self) -> bool:
        """Whether a call goes on as a task."""
        return bool(self._tasks)

    def keep(self, task_id: str, call: HandCall) -> None:
        """A call became a task."""
        self._tasks[task_id] = _Spoken(call)

    def follow(self, task_id: str, call: HandCall) -> None:
        """A task is asked about, maybe in a session that did not begin it."""
        self._tasks.setdefault(task_id, _Spoken(call))

    def forget(self, task_id: str) -> None:
        """A task is over, or nobody follows it."""
        self._tasks.pop(task_id, None)

    def _speaks(self, meta: Any, question_id: Any = None) -> _Spoken | None:
        """Of which call something is that a server says."""
        if isinstance(meta, Mapping) and RELATED in meta:
            related = meta[RELATED]
            named = related.get("taskId") if isinstance(related, Mapping) else None
            return self._tasks.get(named) if isinstance(named, str) else None
        asker = None if question_id is None else self.asker(question_id)
        if asker is not None:
            return next(
                (one for one in (self._running, *self._tasks.values()) if one is not None and one.is_of(asker)), None
            )
        only = next(iter(self._tasks.values())) if len(self._tasks) == 1 else None
        return self._running or only

    def log_level(self, call: HandCall) -> str | None:
        """From which level on the server is asked for log messages."""
        return call.conversation.log_level if self.declared.logging and call.conversation is not None else None

    async def progressed(self, progress: float, total: float | None, message: str | None) -> None:
        """The server says how far it is."""
        spoken = self._running
        if self.declared.progress and spoken is not None and spoken.noted() and spoken.call.conversation is not None:
            spoken.call.conversation.progress(progress, total, None if message is None else _text(message))

    async def _logged(self, params: LoggingMessageNotificationParams) -> None:
        spoken = self._speaks(params.meta)
        if spoken is not None and spoken.noted() and spoken.call.conversation is not None:
            try:
                data = clean(params.data)
            except ValueError:
                return
            logger = None if params.logger is None else _text(params.logger)[:256]
            spoken.call.conversation.log(params.level, logger, data)

    async def heard(self, message: IncomingMessage) -> None:
        """The SDK's message handler: a person did what the server sent them to a page for."""
        if (
            not isinstance(message, ElicitCompleteNotification)
            or McpQuestion.ELICITATION not in self.declared.questions
        ):
            return
        for spoken in (self._running, *self._tasks.values()):  # each knows which pages it sent somebody to
            if spoken is not None and spoken.noted() and spoken.call.conversation is not None:
                spoken.call.conversation.visited(message.params.elicitation_id)

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _sample(
        self, context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | CreateMessageResultWithTools | ErrorData:
        answer = await self._asked(context, McpQuestion.SAMPLING, params)
        if isinstance(answer, ErrorData):
            return answer
        if isinstance(answer.get("content"), list):
            return _checked(CreateMessageResultWithTools, answer)
        return _checked(CreateMessageResult, answer)

    async def _elicit(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        answer = await self._asked(context, McpQuestion.ELICITATION, params)
        if isinstance(answer, ErrorData):
            return answer if answer.code != INVALID_REQUEST else ElicitResult(action="decline")
        return _checked(ElicitResult, answer)

    async def _roots(self, context: ClientRequestContext) -> ListRootsResult | ErrorData:
        answer = await self._asked(context, McpQuestion.ROOTS, None)
        return answer if isinstance(answer, ErrorData) else _checked(ListRootsResult, answer)

    async def _asked(
        self, context: ClientRequestContext, question: McpQuestion, params: BaseModel | None
    ) -> Mapping[str, Any] | ErrorData:
        """The answer to a question that came while a call runs, or the error that says that there is none."""
        spoken = self._speaks(context.meta, context.request_id)
        if spoken is None or spoken.questions >= QUESTIONS_MAX:
            return ErrorData(code=INVALID_REQUEST, message="Refused")
        spoken.questions += 1
        said = {} if params is None else params.model_dump(by_alias=True, mode="json", exclude_none=True)
        return await ask(self.declared, spoken.call, f"question-{spoken.questions}", question, said)


def offered(declared: Declared, call: HandCall, method: object) -> bool:
    """Whether the server of a call was told that it can ask this."""
    if not isinstance(method, str) or method not in declared.questions or call.conversation is None:
        return False
    words = _words(McpQuestion(method), url=bool(declared.hosts))
    return not words.isdisjoint(call.conversation.answers)


async def ask(
    declared: Declared, call: HandCall, key: str, method: str, params: object
) -> Mapping[str, Any] | ErrorData:
    """Ask the client of a call one question of its server.

    Returns:
        The answer as policy left it; or an error, which tells the server nothing of why.
    """
    if not offered(declared, call, method) or call.conversation is None:
        return ErrorData(code=METHOD_NOT_FOUND, message="Method not found")
    question = McpQuestion(method)
    try:
        if not isinstance(params, Mapping):
            raise ValueError("no params")  # noqa: TRY004 - answered like any other that is no question
        asked = _question(declared, question, params)
    except ValueError:
        return ErrorData(code=INVALID_PARAMS, message="Invalid params")
    needed = "elicitation.url" if asked.get("mode") == "url" else _NEEDS[question]
    if needed not in call.conversation.answers:
        return ErrorData(code=INVALID_PARAMS, message="The client cannot be asked this")
    try:
        return await call.conversation.ask(key, question.value, asked)
    except Unanswered:
        return ErrorData(code=INVALID_REQUEST, message="Refused")


async def answers(call: HandCall, declared: Declared, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The client's answers to questions that came together, by the server's name for each.

    Raises:
        HandError: unknown, for one is missing: nobody said that it can be asked, or the client does not answer it, or
            takes its call back.
    """
    if call.conversation is None:
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "not a finished result")
    if not all(offered(declared, call, one.get("method")) for one in asked.values()):
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "a question that nobody said can be answered")
    questions = asyncio.gather(
        *(ask(declared, call, key, str(one["method"]), one.get("params", {})) for key, one in asked.items())
    )
    try:
        given = await unless_cancelled(call, questions)
    except TakenBack:
        raise HandError(Reason.HAND_CANCELLED, HandFailure.UNKNOWN, "the client took its call back") from None
    found: dict[str, Any] = {}
    for (key, one), answer in zip(asked.items(), given, strict=True):
        if not isinstance(answer, ErrorData):
            found[key] = answer
        elif one["method"] == McpQuestion.ELICITATION:
            found[key] = {"action": "decline"}
        else:
            raise HandError(Reason.HAND_FAILED, HandFailure.UNKNOWN, "a question of the server got no answer")
    return found


def _question(declared: Declared, question: McpQuestion, params: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, as the protocol has it, without what is of the connection, and cleaned.

    Raises:
        ValueError: it is no such question, or sends a person where the operator did not say.
    """
    if question is McpQuestion.ROOTS:
        return {}
    model: BaseModel
    if question is McpQuestion.SAMPLING:
        # What of other servers a client would put beside the messages is not this server's to see.
        model = CreateMessageRequestParams.model_validate(params, by_name=False).model_copy(
            update={"include_context": None, "meta": None, "task": None}
        )
    elif params.get("mode") == "url":
        model = ElicitRequestURLParams.model_validate(params, by_name=False)
        _may_send_to(declared, model.url)
        model = model.model_copy(update={"meta": None, "task": None})
    else:
        model = ElicitRequestFormParams.model_validate(params, by_name=False)
        model = model.model_copy(update={"meta": None, "task": None})
    said = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {name: clean(value) for name, value in said.items()}


def _may_send_to(declared: Declared, url: str) -> None:
    """Raises ``ValueError`` where a person may not be sent to ``url``."""
    if safe(url) != url or any(char in url for char in "\\ "):
        raise ValueError("a URL with characters that programs read differently")
    parts = urlsplit(url)
    if parts.scheme != "https" or "@" in parts.netloc or "%" in parts.netloc or parts.port not in {None, 443}:
        raise ValueError("not a plain https URL")
    if parts.hostname not in declared.hosts:
        raise ValueError("a host that the operator did not name")


def clean(value: Any, depth: int = 0) -> Any:
    """JSON with every control and invisible character in its strings spelled out, line feeds and tabs apart.

    Raises:
        ValueError: it is nested deeper than :data:`DEPTH_MAX`, or has more values than :data:`VALUES_MAX` in one place.
    """
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return _spelled(value)
    if isinstance(value, list):
        if len(value) > VALUES_MAX:
            raise ValueError("too many values")
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if len(value) > VALUES_MAX:
            raise ValueError("too many values")
        return {_spelled(name): clean(item, depth + 1) for name, item in value.items()}
    return value


def _spelled(text: str) -> str:
    return "\t".join(safe(part, lines=True) for part in text.split("\t"))


def _text(text: str) -> str:
    return safe(text[:TEXT_MAX_CHARACTERS])


def _checked(kind: type[ModelT], answer: Mapping[str, Any]) -> ModelT | ErrorData:
    try:
        return kind.model_validate(answer, by_name=False)
    except ValidationError:
        return ErrorData(code=INVALID_REQUEST, message="Refused")
