"""Arguments as a module's parameters, and what a worker answered as a result."""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any, Final

from gateway.calls import HandResult
from gateway.canonical import canonical, parse
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.misfit import misfit

_BITS: Final = {"i": 32, "l": 64}
_STOPPED: Final = {
    "deadline": (Reason.HAND_TIMEOUT, "deadline"),
    "fuel": (Reason.HAND_TIMEOUT, "fuel"),
    "output": (Reason.HAND_RESULT_TOO_LARGE, "output"),
}


def line_max_bytes(result_max_bytes: int) -> int:
    """The longest answer of a worker: base64 of the output, and of a note of the errors."""
    return result_max_bytes * 4 // 3 + 16_384


def parameters(types: str, values: Sequence[tuple[str, Any]]) -> list[int | float]:
    """``values``, each with the name of its argument, for parameters of ``types`` (``i`` and ``l`` are whole numbers of
    32 and 64 bits, ``f`` and ``d`` floating point).

    Raises:
        HandError: ``schema.args``, not executed: a value that the type does not hold.
    """
    fitted: list[int | float] = []
    for kind, (name, value) in zip(types, values, strict=True):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if kind in _BITS and whole and -(1 << (_BITS[kind] - 1)) <= value < 1 << (_BITS[kind] - 1):
            fitted.append(int(value))
        elif kind not in _BITS and isinstance(value, int | float) and math.isfinite(value):
            fitted.append(float(value))
        else:
            raise misfit("a value that is no such number", name)
    return fitted


def result(said: dict[str, Any]) -> HandResult:
    """A function's number, or a command's standard output as JSON, is ``structured`` and one text block. An exit
    status other than 0 is an error result, ``structured`` is ``{"status": N}``.

    Raises:
        HandError: ``hand.timeout``, ``hand.crashed``, ``hand.result_too_large`` or ``hand.protocol``, executed.
    """
    if "stopped" in said:
        reason, detail = _STOPPED.get(said["stopped"], (Reason.HAND_CRASHED, str(said["stopped"])))
        raise HandError(reason, HandFailure.EXECUTED, detail)
    try:
        if said.keys() == {"value"}:
            return HandResult((_text(canonical(said["value"]).decode()),), said["value"])
        output, errors = (base64.b64decode(said[name], validate=True) for name in ("stdout", "stderr"))
        note = ({**_text(errors.decode("utf-8", "backslashreplace")), "_meta": {"stream": "stderr"}},) if errors else ()
        if said["status"] != 0:
            return HandResult(note, {"status": said["status"]}, is_error=True)
        value = parse(output.strip())
        return HandResult((_text(output.decode()), *note), value)
    except (Refused, KeyError, TypeError, binascii.Error) as exc:
        detail = exc.detail if isinstance(exc, Refused) else type(exc).__name__
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, detail) from None


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
