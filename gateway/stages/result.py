"""Step 8: what came back is data, never instructions: held against its schema, capped and redacted as obliged."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from gateway import data_subjects
from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.commitments import commit
from gateway.errors import Refused
from gateway.manifest import PersonalData
from gateway.model import Obligations, StepStatus
from gateway.personal_data import Scanner
from gateway.pointers import tokens
from gateway.ports import Hands
from gateway.reasons import Reason
from gateway.stages.dispatch import result_limit, truncates
from gateway.state import PlanState, StepState
from gateway.truncation import truncate

REDACTED = "[redacted]"
INLINE_MAX_BYTES: Final = 8192
"""A result that is looked through in the event loop: some milliseconds at worst. A larger one goes to a thread."""


async def settle(plan: PlanState, state: StepState, hands: Hands, scanner: Scanner) -> None:
    """Turn the hand's answer into the step's status and result, committed to as it will be recorded and returned."""
    if state.result is None:
        return
    if state.result.cached_from is not None:
        state.cached_from, state.jail = state.result.cached_from, None  # nothing ran
    if state.forgotten:
        # What was to be taken out of it is not known any more, nor whom it concerns: nobody could ever erase it.
        _withhold(state, Reason.POLICY_OBLIGATION)
        return
    limit = result_limit(state)
    if state.result.is_error:
        state.fail(StepStatus.FAILED, Reason.HAND_FAILED, **state.tried())
    else:
        # An action with a result schema owes a structure: none at all is held against the schema too.
        problems = hands.check_result(plan.plan.tenant, state.step.hand, state.step.action, state.result.structured)
        if problems:
            _withhold(state, Reason.SCHEMA_RESULT, problems=list(problems))
            return
        state.status = StepStatus.SUCCEEDED
    if state.decision is not None and state.decision.obligations.redact:
        state.result = redact(state.result, state.decision.obligations.redact)
        state.redacted = True
    # Whom it concerns, it concerns without their address too.
    subjects = _subjects(plan, state)
    try:
        document = await searched(state, scanner, cut=truncates(state))
    except Refused:
        _withhold(state, Reason.HAND_PROTOCOL)
        return
    if document is None:
        _withhold(state, Reason.HAND_RESULT_TOO_LARGE, limit_bytes=limit)
        return
    try:
        data_subjects.check_number(subjects)
        state.put("result", commit(document, *subjects))
    except Refused as refusal:
        _withhold(state, Reason.SCHEMA_RESULT, **refusal.facts)


async def reported(plan: PlanState, state: StepState, scanner: Scanner) -> None:
    """The same for what a client says came of a step that it ran: committed to, and with its text cut where it is too
    long.

    Args:
        state: a copy of the step, with that as its result.

    Raises:
        Refused: it has no canonical form, is too large and more than text, or names too many people.
    """
    subjects = _subjects(plan, state)
    document = await searched(state, scanner, cut=True)
    if document is None:
        raise Refused(Reason.HAND_RESULT_TOO_LARGE, limit_bytes=result_limit(state))
    data_subjects.check_number(subjects)
    state.put("result", commit(document, *subjects))


async def searched(state: StepState, scanner: Scanner, *, cut: bool) -> bytes | None:
    """Look for personal data in the result, and bring it to its limit. Returns its canonical JSON; ``None`` where it is
    too large.

    Args:
        cut: whether its text may be cut.

    Raises:
        Refused: ``schema.json``; it has no canonical form.
    """
    if state.result is None:
        return None
    limit = result_limit(state)
    document: bytes | None = canonical(state.result.document())
    size_bytes = 0 if document is None else len(document)
    # All of it is looked through before any of it is cut off: half a number is found by nobody.
    if (size_bytes <= limit or cut) and await _look_through(state, size_bytes, scanner):
        document = canonical(state.result.document())
        size_bytes = len(document)
    if size_bytes > limit or state.result.truncated is not None:
        document = await _cut(state, size_bytes, limit) if cut else None
    return document


async def _cut(state: StepState, size_bytes: int, limit: int) -> bytes | None:
    """Cut a result that is too large. Returns its canonical JSON; ``None`` where it is to be withheld."""
    if state.result is None:
        return None
    if size_bytes <= INLINE_MAX_BYTES:
        cut = truncate(state.result, limit)
    else:
        cut = await asyncio.to_thread(truncate, state.result, limit)
    if cut is None:
        return None
    state.result, state.truncated = cut, cut.truncated
    document = canonical(cut.document())
    return document if len(document) <= limit else None


async def _look_through(state: StepState, size_bytes: int, scanner: Scanner) -> bool:
    """Find personal data, and take out what is to be. Returns whether the result is another one now."""
    if state.result is None:
        return False
    action = None if state.manifest is None else state.manifest.actions.get(state.step.action)
    duties = Obligations() if state.decision is None else state.decision.obligations
    mode = PersonalData.TAG if action is None else action.personal_data
    look = () if action is None or mode is PersonalData.OFF else action.personal_kinds
    take = {*duties.redact_personal, *(look if mode is PersonalData.REDACT else ())}
    if not look and not take:
        return False
    if size_bytes <= INLINE_MAX_BYTES and not scanner.waits:
        scan = scanner.scan(state.result, look=look, take=take)
    else:
        scan = await asyncio.to_thread(scanner.scan, state.result, look=look, take=take)
    state.personal_data, state.personal_data_taken = scan.found, scan.taken
    if scan.result is state.result:
        return False
    state.result = scan.result
    state.redacted = True
    return True


def _withhold(state: StepState, reason: Reason, /, **facts: Any) -> None:
    """Fail the step, and forget what came back."""
    state.result = None
    state.personal_data, state.personal_data_taken = {}, {}
    state.truncated = None
    state.fail(StepStatus.FAILED, reason, **facts)


def _subjects(plan: PlanState, state: StepState) -> tuple[str, ...]:
    """Whom a result concerns: whom the call named, and whom the answer names."""
    action = None if state.manifest is None else state.manifest.actions.get(state.step.action)
    obligations = Obligations() if state.decision is None else state.decision.obligations
    documents = [state.args, {} if state.result is None else state.result.document()]
    return data_subjects.of_value(plan.plan, state.step, action, documents, obligations)


def redact(result: HandResult, pointers: tuple[str, ...]) -> HandResult:
    """Replace the value at each JSON pointer into ``{content, structured}``; ``*`` matches every array item.

    Tools repeat their structured answer as text. So where a pointer goes into ``structured``, the content becomes the
    redacted structure and nothing else.
    """
    document: Any = result.document()
    for pointer in pointers:
        document = _replace(document, tokens(pointer))
    if not isinstance(document, dict):
        return replace(result, content=(_text(REDACTED),), structured=None)
    structured = document["structured"]
    content = document["content"]
    if any(pointer == "/structured" or pointer.startswith("/structured/") for pointer in pointers):
        content = [_text(REDACTED if structured is None else canonical(structured).decode())]
    elif not isinstance(content, list):
        content = [_text(REDACTED)]
    blocks = tuple(block if isinstance(block, dict) else _text(REDACTED) for block in content)
    return replace(result, content=blocks, structured=structured)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _replace(value: Any, tokens: list[str]) -> Any:
    if not tokens:
        return REDACTED
    head, rest = tokens[0], tokens[1:]
    if isinstance(value, dict) and head in value:
        return {name: _replace(member, rest) if name == head else member for name, member in value.items()}
    if isinstance(value, list):
        return [_replace(item, rest) if head in {"*", str(index)} else item for index, item in enumerate(value)]
    return value
