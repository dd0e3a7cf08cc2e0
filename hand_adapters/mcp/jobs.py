"""What waits for a session: a call, or a request about the task that a call became."""

import asyncio
from dataclasses import dataclass

from gateway.calls import HandCall
from hand_adapters.contract import HandError
from hand_adapters.mcp.rounds import Outcome, Round
from hand_adapters.mcp.tasks import Inquiry


@dataclass(eq=False)
class Job:
    """One of them, and who is told what came of it."""

    call: HandCall
    answer: "asyncio.Future[Outcome]"
    again: Round | Inquiry | None = None
    started: bool = False

    def tell(self, given: Outcome | HandError) -> None:
        """What came of it, unless nobody waits any more."""
        if self.answer.done():
            return
        if isinstance(given, HandError):
            self.answer.set_exception(given)
        else:
            self.answer.set_result(given)
