"""What a server answers to ``tools/call``, and to any call with an error, as the gateway takes it."""

from typing import Annotated, Any, Final

from mcp import MCPError
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import BaseModel, Field, TypeAdapter

from gateway.calls import HandCall, HandResult
from gateway.mcp_methods import CODE_FACT, METHODS, RESOURCE_NOT_FOUND
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.channel import Channel
from hand_adapters.mcp.rounds import Asked, Round
from hand_adapters.mcp.tasks import Created, Inquiry, Method, Task


class Answer(BaseModel):
    """The members of a ``tools/call`` result that count, content blocks as the server wrote them."""

    content: list[dict[str, Any]]
    structured: Any = Field(None, alias="structuredContent")
    is_error: bool = Field(False, alias="isError", strict=True)
    kind: str = Field("complete", alias="resultType")


ANSWER: Final[TypeAdapter[Asked | Created | Answer]] = TypeAdapter(
    Annotated[Asked | Created | Answer, Field(union_mode="left_to_right")]
)


# The server says that it did not even begin (JSON-RPC 2.0 section 5.1).
_NOT_BEGUN: Final = frozenset({METHOD_NOT_FOUND, INVALID_PARAMS})


def told(call: HandCall, code: int) -> dict[str, int]:
    """The fact that says which of a method's own errors it was, for whoever asked in MCP, or that the client cannot be
    asked what the server has to ask; no other code of a server's choosing is passed on."""
    known = code in {INVALID_PARAMS, RESOURCE_NOT_FOUND} if call.action in METHODS else False
    return {CODE_FACT: code} if known or code == MISSING_REQUIRED_CLIENT_CAPABILITY else {}


def result(answer: Answer, channel: Channel) -> HandResult:
    """A finished answer as the hand's result. Raises ``HandError``, and ends the channel, where it is none."""
    if answer.kind != "complete":
        # Something that this client never said it could follow: the server waits in mid-step.
        channel.fail(Reason.HAND_PROTOCOL, "not a finished result")
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "not a finished result")
    return HandResult(tuple(answer.content), answer.structured, is_error=answer.is_error)


def outcome(task: Task, channel: Channel) -> HandResult | Task:
    """What came of a task, where the server says it with how it stands. Raises ``HandError``: an error of the protocol,
    or no result."""
    if task.status == "failed" and task.error is not None:
        raise HandError(Reason.HAND_FAILED, HandFailure.EXECUTED, f"JSON-RPC error {task.error.code}")
    if task.status != "completed" or task.result is None:
        return task
    return result(Answer.model_validate(task.result, by_name=False), channel)


def refused(error: MCPError, call: HandCall, again: Round | Inquiry | None, *, sent: bool) -> HandError:
    """What a JSON-RPC error says of a call.

    Args:
        again: what was asked instead of the call.
        sent: whether it may be the answer to that.
    """
    detail = f"JSON-RPC error {error.code}"
    if isinstance(again, Inquiry):
        # To tasks/result a server answers what the call would have been answered; anything else is about the task.
        own = again.method is Method.RESULT and error.code not in _NOT_BEGUN
        for_now = again.method is Method.GET and error.code not in _NOT_BEGUN
        reason = Reason.HAND_LOST_REPLY if for_now else Reason.HAND_FAILED
        return HandError(reason, HandFailure.EXECUTED if own else HandFailure.UNKNOWN, detail)
    facts = told(call, error.code) if sent else {}
    unbegun = not sent or facts or error.code in _NOT_BEGUN
    return HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED if unbegun else HandFailure.EXECUTED, detail, **facts)
