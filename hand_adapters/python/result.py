"""What an interpreter answered, as a result."""

import re
from typing import Any, Final

from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings
from hand_adapters.contract import HandError

_TYPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def result(said: dict[str, Any], action: ActionSettings, failure: HandFailure) -> HandResult:
    """A value is ``structured`` and one text block: a text as it is, anything else as JSON. An exception is an error
    result, ``structured`` is ``{"raised": TYPE}``; its text goes along only where the operator says so.

    Raises:
        HandError: ``hand.protocol``: an answer of neither kind, or a value without a canonical form.
    """
    if said.keys() == {"value"}:
        value = said["value"]
        try:
            text = value if isinstance(value, str) else canonical(value).decode()
        except Refused as refused:
            raise HandError(Reason.HAND_PROTOCOL, failure, refused.detail) from None
        return HandResult(({"type": "text", "text": text},), value)
    if said.keys() == {"raised", "text"} and isinstance(said["raised"], str) and _TYPE.fullmatch(said["raised"]):
        text = f"It raised {said['raised']}."
        if action.error_text and isinstance(said["text"], str):
            text = f"{said['raised']}: {said['text']}"
        return HandResult(({"type": "text", "text": text},), {"raised": said["raised"]}, is_error=True)
    raise HandError(Reason.HAND_PROTOCOL, failure, "neither a value nor an exception")
