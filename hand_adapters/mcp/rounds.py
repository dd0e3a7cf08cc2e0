"""A call that a server answers with a question (``InputRequiredResult``, 2026-07-28): the client is asked, and the call
sent again with the answers, until there is a result.

Between two rounds nothing is under way at the server, and the session serves other calls.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.calls import HandCall, HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.following import follow
from hand_adapters.mcp.talk import QUESTIONS_MAX, Declared, answers
from hand_adapters.mcp.tasks import Inquiry, Task

ROUNDS_MAX: Final = 10
"""Rounds of one call."""
_PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.25)
"""Before a round that asks nothing: the server wants time."""


class Asked(BaseModel):
    """An answer that is a question, as the server wrote it."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["input_required"] = Field(alias="resultType")
    requests: dict[str, dict[str, Any]] = Field(default_factory=dict, alias="inputRequests")
    state: str | None = Field(None, alias="requestState")


@dataclass(frozen=True, slots=True)
class Round:
    """What goes with a call that is sent again: the answers, and what the server wants to find again."""

    responses: Mapping[str, Any] | None
    state: str | None

    def params(self) -> dict[str, Any]:
        """As members of the request's params."""
        given = {"inputResponses": self.responses, "requestState": self.state}
        return {name: value for name, value in given.items() if value is not None}


Outcome = HandResult | Asked | Task | None
Once = Callable[[HandCall, Round | Inquiry | None], Awaitable[Outcome]]
"""Sends a call, or one request about the task that it became; of the latter, the answer may say nothing."""


async def run(call: HandCall, declared: Declared, once: Once) -> HandResult:
    """Run a call in as many rounds as it takes, all within its deadline.

    Raises:
        HandError: as ``once`` does, but unknown from the second round on, for the server may have acted in the first;
            ``hand.protocol`` of a server that asks what it may not, or without end; ``hand.failed`` where a question
            got no answer; ``hand.timeout``. These are unknown, too.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + call.deadline_seconds
    sent: Round | None = None
    questions = 0
    for number in range(ROUNDS_MAX):
        try:
            outcome = await once(replace(call, deadline_seconds=max(0.0, ends - loop.time())), sent)
        except HandError as error:
            if sent is not None and error.failure is HandFailure.NOT_EXECUTED:
                # So it is with this round. The server had the call in the ones before, and may have acted.
                error.failure = HandFailure.UNKNOWN
            raise
        if isinstance(outcome, HandResult):
            return outcome
        if isinstance(outcome, Task):
            return await follow(call, declared, outcome, once, ends)
        if outcome is None:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "no answer")
        questions += len(outcome.requests)
        if questions > QUESTIONS_MAX:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "too many questions")
        try:
            async with asyncio.timeout_at(ends):
                if not outcome.requests:
                    await asyncio.sleep(_PAUSES_SECONDS[min(number, len(_PAUSES_SECONDS) - 1)])
                    sent = Round(None, outcome.state)
                else:
                    sent = Round(await answers(call, declared, outcome.requests), outcome.state)
        except TimeoutError:
            raise HandError(Reason.HAND_TIMEOUT, HandFailure.UNKNOWN, "waiting for the client's answer") from None
    raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "the server asks without end")
