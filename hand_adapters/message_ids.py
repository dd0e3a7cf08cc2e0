"""The id of a message that a call sends: the same at each attempt, so that a receiver can tell a repetition."""

from typing import Final

from gateway.calls import HandCall
from gateway.canonical import sha256_canonical

_LENGTH: Final = 32


def message_id(call: HandCall) -> str:
    """32 hexadecimal digits.

    With an idempotency key: of caller, hand, action, key and args, so that the same call in another plan is the same
    message, and a key that is used for something else hides nothing. Without one: of plan and step.
    """
    if call.idempotency_key is None:
        return sha256_canonical([call.plan_id, call.step_id])[:_LENGTH]
    who = [call.tenant, call.principal_id, call.hand, call.action]
    return sha256_canonical([*who, call.idempotency_key, call.args_bytes.decode()])[:_LENGTH]
