"""What models do in these tests: functions for :attr:`StandIn.decide`."""

from collections.abc import Mapping, Sequence
from typing import Any

from anthropic.types import Message

from tests.anthropic_api.answers import Scripted
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import Decide

LAST = "The tool has run."


def one_tool(name: str, arguments: Mapping[str, Any], first: str = "I will look.", last: str = LAST) -> Decide:
    """A model that calls one tool at each prompt, and ends when it has the result. Who offers it no tools gets text."""

    def decide(asked: Mapping[str, Any]) -> Message:
        newest = [one for one in asked["messages"] if one["role"] != "system"][-1:]
        if not asked.get("tools") or results({"messages": newest}):
            return message(last)
        return message(first, tool_use(name, arguments))

    return decide


def first_then(first: Scripted, then: str = "Fine.") -> Decide:
    """A model whose first answer is this, and who then ends each turn with a text."""
    waiting = [first]
    return lambda _asked: waiting.pop() if waiting else message(then)


def results(asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The ``tool_result`` blocks of a request, in order."""
    return [
        block
        for one in asked["messages"]
        if isinstance(one["content"], list)
        for block in one["content"]
        if block["type"] == "tool_result"
    ]
