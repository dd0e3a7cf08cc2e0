"""What became of a call, or of the opening of a session, when its channel ended."""

from typing import Final

import anyio
from mcp import MCPError
from pydantic import ValidationError

from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.channel import Channel

SDK_ERRORS: Final = (
    MCPError,
    ValidationError,
    RuntimeError,
    TimeoutError,
    OSError,
    ExceptionGroup,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
"""What the SDK lets through: its task groups wrap, its models complain, its state machine raises RuntimeError."""


class SessionOver(HandError):
    """The session ended, and what the server was asked in it, it did not begin.

    Attributes:
        sent: whether it was the call itself that it was asked.
    """

    def __init__(self, detail: str, *, sent: bool) -> None:
        reason = Reason.HAND_CRASHED if sent else Reason.HAND_UNAVAILABLE  # of which the latter promises: nothing left
        super().__init__(reason, HandFailure.NOT_EXECUTED, detail)
        self.sent = sent


def broken(channel: Channel, *, began: bool, otherwise: Reason = Reason.HAND_CRASHED, detail: str = "") -> HandError:
    """What became of a call, or of what came before it, when the channel ended.

    Args:
        began: whether the call itself may have left.
        otherwise, detail: of a channel that did not end by itself.
    """
    if channel.session_over:
        return SessionOver(channel.detail, sent=began)
    failure = HandFailure.UNKNOWN if began and not channel.not_taken else HandFailure.NOT_EXECUTED
    reason = channel.fault or otherwise
    if reason is Reason.HAND_LOST_REPLY and not began:
        reason = Reason.HAND_UNAVAILABLE  # what was lost is no answer to the call
    return HandError(reason, failure, channel.detail or detail, **channel.facts)


def in_step(channel: Channel, sent: int | None) -> HandError:
    """What became of a call when the channel ended.

    Args:
        sent: requests that had left before it; ``None`` where its turn to leave had not come.
    """
    began = sent is not None and channel.sent > sent
    if channel.fault is Reason.HAND_LOST_REPLY and not began:
        # A connection that was kept, and had ended meanwhile: another one may do.
        return SessionOver(channel.detail, sent=False)
    return broken(channel, began=began)


def first(error: BaseException) -> str:
    """The kind of error that a group holds, for "ExceptionGroup" says nothing to whoever declares the hand."""
    return type(held(error)).__name__


def held(error: BaseException) -> BaseException:
    """The error that a group holds, or the first of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def opening(cause: HandrailError, channel: Channel) -> HandError:
    """Why a server did not open. No call was sent yet, so its last words hold nobody's data and are kept."""
    if isinstance(cause, SessionOver):
        return cause
    last = channel.last_words()
    detail = f"{cause.detail}; it said: {last}" if last else cause.detail
    return HandError(cause.reason, HandFailure.NOT_EXECUTED, detail, **cause.facts)
