"""A message put together from the events of its stream, as the API would have given it in one piece. No I/O."""

from typing import Any

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.messages_api.events import StreamEvent
from gateway.reasons import Reason

_OF_THE_MESSAGE = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class Assembly:
    """Takes the events in the order in which they came; :attr:`message` is what they say so far."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.ended = False
        """The message is whole."""
        self.error: dict[str, Any] | None = None
        """What the stream said itself of why it broke off."""
        self._open: dict[str, Any] | None = None
        self._parts: dict[str, list[str]] = {}

    def take(self, event: StreamEvent) -> None:
        """One more event.

        Raises:
            Refused: ``hand.protocol`` for what is no stream of a message.
        """
        try:
            self._take(event)
        except (KeyError, TypeError, AttributeError):
            raise Refused(Reason.HAND_PROTOCOL, "an event that cannot be taken apart") from None

    def _take(self, event: StreamEvent) -> None:
        data = event.data
        if self.ended and event.name in _OF_THE_MESSAGE:
            raise _foreign("something after the end")
        match event.name:
            case "message_start":
                if self.message:
                    raise _foreign("a second message")
                self.message = {**data["message"], "content": []}
            case "content_block_start":
                self._open, self._parts = dict(data["content_block"]), {}
                self.message["content"].append(self._open)
            case "content_block_delta" if self._open is not None:
                self._add(data["delta"])
            case "content_block_stop" if self._open is not None:
                self._close(self._open)
                self._open = None
            case "message_delta":
                others = {name: value for name, value in data.items() if name not in {"type", "delta", "usage"}}
                if "content" in others or "content" in data["delta"]:
                    raise _foreign("an end that says what the message was")
                self.message |= data["delta"]
                self.message |= others
                self.message["usage"] = {**self.message.get("usage", {}), **_said(data.get("usage") or {})}
            case "message_stop":
                self.ended = True
            case "error":
                self.error = data["error"]

    def _add(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind == "input_json_delta":
            self._parts.setdefault("input", []).append(delta["partial_json"])
        elif kind == "citations_delta":
            block = self._block()
            if not block.get("citations"):
                block["citations"] = []
            block["citations"].append(delta["citation"])
        elif kind in _TEXTS:
            self._parts.setdefault(_TEXTS[kind], []).append(delta[_TEXTS[kind]])
        else:
            self._block().update({name: value for name, value in delta.items() if name != "type"})

    def _block(self) -> dict[str, Any]:
        if self._open is None:
            raise KeyError("block")
        return self._open

    def _close(self, block: dict[str, Any]) -> None:
        for name, parts in self._parts.items():
            written = "".join(parts)
            if name != "input":
                block[name] = f"{block.get(name) or ''}{written}"
            elif written:
                block[name] = _parsed(written)


def _foreign(what: str) -> Refused:
    return Refused(Reason.HAND_PROTOCOL, what)


def _said(usage: dict[str, Any]) -> dict[str, Any]:
    """What a later account of usage adds to an earlier one: null says nothing."""
    return {name: value for name, value in usage.items() if value is not None}


def _parsed(written: str) -> Any:
    """A tool's input; the text itself where it is no JSON, so that the record has what came."""
    try:
        return parse(written.encode("utf-8"))
    except (Refused, UnicodeEncodeError):
        return written
