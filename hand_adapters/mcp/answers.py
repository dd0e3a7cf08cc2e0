"""What a server answers to ``tools/call``, and to any call with an error, as the gateway takes it."""

from typing import Any, Final

from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import BaseModel, Field, TypeAdapter

from gateway.calls import HandCall, HandResult
from gateway.mcp_methods import CODE_FACT, METHODS, RESOURCE_NOT_FOUND
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.channel import Channel
from hand_adapters.mcp.rounds import Asked


class Answer(BaseModel):
    """The members of a ``tools/call`` result that count, content blocks as the server wrote them."""

    content: list[dict[str, Any]]
    structured: Any = Field(None, alias="structuredContent")
    is_error: bool = Field(False, alias="isError", strict=True)
    kind: str = Field("complete", alias="resultType")


ANSWER: Final[TypeAdapter[Asked | Answer]] = TypeAdapter(Asked | Answer)


def told(call: HandCall, code: int) -> dict[str, int]:
    """The fact that says which of a method's own errors it was, for whoever asked in MCP, or that the client cannot be
    asked what the server has to ask; no other code of a server's choosing is passed on."""
    known = code in {INVALID_PARAMS, RESOURCE_NOT_FOUND} if call.action in METHODS else False
    return {CODE_FACT: code} if known or code == MISSING_REQUIRED_CLIENT_CAPABILITY else {}


def result(answer: Answer, channel: Channel) -> HandResult:
    """A finished answer as the hand's result. Raises ``HandError``, and ends the channel, where it is none."""
    if answer.kind != "complete":
        # A task, say, which this client never said it could follow: the server waits in mid-step.
        channel.fail(Reason.HAND_PROTOCOL, "not a finished result")
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "not a finished result")
    return HandResult(tuple(answer.content), answer.structured, is_error=answer.is_error)
