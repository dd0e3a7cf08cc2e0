"""References in a step's args to results of earlier steps (``{"$step": ID, "pointer": RFC 6901}``): found, and replaced
once the results are there. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.model import Reference
from gateway.pointers import escape, tokens
from gateway.reasons import Reason
from gateway.state import PlanState, StepState

POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
"""RFC 6901 section 3."""
_ARRAY_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def references(args: Any, step_id: str) -> tuple[Reference, ...]:
    """The references in a step's args, in their order.

    Raises:
        Refused: ``schema.reference`` (with ``step``) where one is malformed.
    """
    return tuple(_references(args, "", step_id)) if _may_refer(args) else ()


def _may_refer(value: Any) -> bool:
    """Whether an object anywhere in ``value`` has a member ``$step``. Nearly no args do, and pointers into large ones
    take longer to build than this look."""
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is dict:
            if "$step" in item:
                return True
            waiting.extend(item.values())
        elif kind is list:
            waiting.extend(item)
    return False


def _references(value: Any, at: str, step_id: str) -> Iterator[Reference]:
    if isinstance(value, dict):
        if "$step" in value:
            yield _reference(value, at, step_id)
            return
        for name, member in value.items():
            yield from _references(member, f"{at}/{escape(name)}", step_id)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, f"{at}/{index}", step_id)


def _reference(value: Mapping[str, Any], at: str, step_id: str) -> Reference:
    target, pointer = value.get("$step"), value.get("pointer")
    if (
        at == ""
        or set(value) != {"$step", "pointer"}
        or not isinstance(target, str)
        or not isinstance(pointer, str)
        or len(pointer) > 1024
        or not POINTER.fullmatch(pointer)
    ):
        raise Refused(Reason.SCHEMA_REFERENCE, "malformed", step=step_id)
    return Reference(at, target, pointer)


def pointer_get(document: Any, place: str) -> Any:
    """The value at the pointer ``place`` (RFC 6901 section 4).

    Raises:
        Refused: ``schema.unresolved`` where there is none.
    """
    value = document
    for name in tokens(place):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and _ARRAY_INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Refused(Reason.SCHEMA_UNRESOLVED)
    return value


class Room:
    """Bytes that references may still bring in."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._sizes: dict[tuple[str, str], int] = {}

    def take(self, reference: Reference, value: Any) -> None:
        """Raises ``schema.unresolved`` before anything too large is put together."""
        key = (reference.step, reference.pointer)
        if key not in self._sizes:
            self._sizes[key] = len(canonical(value))
        self._left -= self._sizes[key]
        if self._left < 0:
            raise Refused(Reason.SCHEMA_UNRESOLVED, "too large", pointer=reference.at)


def resolve(plan: PlanState, state: StepState, room: Room) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The args with every reference replaced, and where each replaced value came from.

    Args:
        room: what the values may add up to, in one round.

    Returns:
        The args; and JSON pointer into them -> the sources of what stands there.

    Raises:
        Refused: ``schema.unresolved`` or ``schema.erased`` (with ``pointer``).
    """
    values: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    for reference in state.step.references:
        source = plan.steps[reference.step]
        if source.result is None:
            raise Refused(Reason.SCHEMA_ERASED, pointer=reference.at)
        if source.manifest is None:
            raise Refused(Reason.SCHEMA_UNRESOLVED, "its hand is gone", pointer=reference.at)
        try:
            values[reference.at] = pointer_get(source.result.document(), reference.pointer)
            room.take(reference, values[reference.at])
        except Refused:
            raise Refused(Reason.SCHEMA_UNRESOLVED, pointer=reference.at) from None
        trust = source.manifest.trust_at(source.step.action, reference.pointer)
        provenance[reference.at] = [
            {
                "source": "result",
                "step": reference.step,
                "hand": source.step.hand,
                "trust": str(trust),
                "match": "exact",
            }
        ]
    return _replace(state.step.args, "", values), provenance


def _replace(value: Any, at: str, values: Mapping[str, Any]) -> Any:
    if at in values:
        return values[at]
    if isinstance(value, dict):
        return {name: _replace(member, f"{at}/{escape(name)}", values) for name, member in value.items()}
    if isinstance(value, list):
        return [_replace(item, f"{at}/{index}", values) for index, item in enumerate(value)]
    return value
