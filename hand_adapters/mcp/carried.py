"""Questions and answers that are actions: they were decided like any other, and that is all that becomes of them here.
Whoever asked gets what policy left of them, and no server is sent anything."""

from gateway.calls import HandCall, HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError


def run(call: HandCall) -> HandResult:
    """What was asked, or answered.

    Raises:
        HandError: ``hand.failed``, not executed: no call that runs here asks it.
    """
    if not call.carried:
        raise HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED, "no call asks this")
    name = "response" if "response" in call.args else "request"
    return HandResult((), {name: call.args[name]})
