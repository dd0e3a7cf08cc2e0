"""A call of a hand that names secrets: they are put into its requests, and taken out of whatever comes back."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from gateway.calls import HandCall, HandResult, Inject, Injections
from gateway.errors import HandrailError, Refused
from gateway.ports import HandFailure, Secrets, SecretStep, Target
from gateway.reach import SecretUse
from gateway.reasons import Reason
from hand_adapters.contract import HandAdapter, HandDrifted, HandError

_log = structlog.get_logger("handrail.hands")


async def run(secrets: Secrets, adapter: HandAdapter, call: HandCall, uses: Sequence[SecretUse]) -> HandResult:
    """Run one call with what its manifest names.

    Raises:
        HandDrifted: as the adapter says.
        HandError: as the adapter says, its detail without secrets; ``secret.missing``, ``secret.unavailable``,
            ``connection.*`` or ``log.unavailable`` (not executed). An adapter that raises anything else may have acted
            (``hand.lost_reply``); what it says goes nowhere, because nobody knows what is in it.
    """
    async with secrets.serving(call, uses) as step:
        try:
            result = await adapter.run(replace(call, inject=_injecting(step), search=step.search))
        except HandDrifted:
            raise
        except HandError as error:
            raise HandError(error.reason, error.failure, step.clean(error.detail), **error.facts) from None
        except HandrailError as error:
            raise HandError(error.reason, HandFailure.UNKNOWN, step.clean(error.detail)) from None
        except Exception as exc:  # noqa: BLE001 - a third party's adapter
            _log.error("adapter raised", hand=call.hand, action=call.action, kind=type(exc).__name__)
            raise HandError(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN, type(exc).__name__) from None
        try:
            return await step.answer(result)
        except Refused as refused:
            raise HandError(refused.reason, HandFailure.EXECUTED, refused.detail, **refused.facts) from None


def _injecting(step: SecretStep) -> Inject:
    """``HandCall.inject`` of a step. What it raises, it raises before that request leaves: not executed. An adapter
    that sends more than one knows better than that."""

    async def inject(scheme: str, host: str, port: int, method: str = "", path: str = "", /) -> Injections:
        try:
            return await step.inject(Target(scheme, host, port, method, path))
        except HandrailError as error:
            raise HandError(error.reason, HandFailure.NOT_EXECUTED, error.detail, **error.facts) from None

    return inject
