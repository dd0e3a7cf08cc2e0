"""Checks of what comes back from single calls: results, their size, errors, analyses, and calls of a drifted hand."""

import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.conformance.promises import Promise
from hand_adapters.conformance.traces import Traces
from hand_adapters.conformance.trial import Outcome, Trial, Tried
from hand_adapters.contract import Analyses
from hand_adapters.declared import ANALYSIS_MAX_BYTES

_LEAST_BYTES: Final = 1024
"""Of a result that is large enough to be allowed less."""
_FRAME_BYTES: Final = 128
"""What may stand around the part of a result that was cut off: names of columns, say."""
_LATE_MAX: Final = 3
"""Calls that reach their deadlines, where none gave a result, after which no more are made."""
_OTHER_DIGEST: Final = "0" * 64


async def examples(trial: Trial, name: str, tried: Tried) -> None:
    """Call an action with each of its examples; what comes back is held against the promises by the trial."""
    for args in tried.examples:
        if _is_analysed(trial, name, args):
            tried.outcomes.append(await trial.call(name, args))
        if not tried.answered and sum(map(_is_late, tried.outcomes)) >= _LATE_MAX:
            break
    outcomes, answered = tried.outcomes, tried.answered
    if not answered:
        tried.left_out = f"none of {len(tried.examples)} inputs gave a result: give it some that do"
        trial.not_shown(Promise.RESULT, f"{tried.left_out}{_most(tried)}", name)
    elif tried.result is None:
        trial.not_shown(Promise.RESULT, f"it has no result schema; {len(answered)} results were JSON", name)
    else:
        trial.kept(Promise.RESULT, f"{len(answered)} results matched the schema", name, len(answered))
    errors = sum(outcome.error is not None for outcome in outcomes)
    if errors:
        trial.kept(Promise.ERRORS, f"{errors} of {len(outcomes)} calls raised HandError", name, errors)
    else:
        trial.not_shown(Promise.ERRORS, "no call gave an error", name)


def _is_late(outcome: Outcome) -> bool:
    return outcome.overran or (outcome.error is not None and outcome.error.reason is Reason.HAND_TIMEOUT)


def _is_analysed(trial: Trial, name: str, args: Mapping[str, Any]) -> bool:
    """Whether the gateway would call it: what cannot be analysed is denied."""
    if not isinstance(trial.adapter, Analyses):
        return True
    try:
        trial.adapter.analyse(name, args)
    except Exception:  # noqa: BLE001 - an adapter's; the check of analyses tells what it raised
        return False
    return True


def _most(tried: Tried) -> str:
    """How most calls ended."""
    said = [outcome.said for outcome in tried.outcomes]
    return f"; most ended as {max(set(said), key=said.count)}" if said else "; none could be analysed"


async def result_size(trial: Trial, name: str, tried: Tried) -> None:
    """Allow a call less than its result takes."""
    largest = max(tried.answered, key=lambda outcome: _payload(outcome.result), default=None)
    size = 0 if largest is None else _payload(largest.result)
    if largest is None or size < _LEAST_BYTES or not tried.repeatable:
        why = "it may not be called twice" if not tried.repeatable else f"no result has {_LEAST_BYTES} bytes"
        trial.not_shown(Promise.RESULT_SIZE, why, name)
        return
    allowed = size // 4
    outcome = await trial.call(name, largest.args, result_max_bytes=allowed)
    if outcome.result is not None and _payload(outcome.result) > 2 * allowed + _FRAME_BYTES:
        seen = f"allowed {allowed} bytes, it gave {_payload(outcome.result)}"
        trial.broken(Promise.RESULT_SIZE, seen, name, largest.args)
    elif outcome.result is not None or (outcome.error and outcome.error.reason is Reason.HAND_RESULT_TOO_LARGE):
        trial.kept(Promise.RESULT_SIZE, f"allowed {allowed} of {size} bytes: {outcome.said}", name, 1)
    else:
        trial.not_shown(Promise.RESULT_SIZE, f"allowed {allowed} of {size} bytes: {outcome.said}", name)


def _payload(result: HandResult | None) -> int:
    """Bytes of the largest part of a result: its structure and its text often say the same twice."""
    if result is None:
        return 0
    blocks = [len(canonical(block)) for block in result.content]
    return max([*blocks, 0 if result.structured is None else len(canonical(result.structured))], default=0)


async def drift(trial: Trial, name: str, tried: Tried) -> None:
    """Call with the digest of another manifest."""
    args = tried.again()
    if args is None:
        trial.not_shown(Promise.DRIFT, "no arguments are left", name)
        return
    outcome = await trial.call(name, args, manifest_digest=_OTHER_DIGEST)
    error = outcome.error
    if error is None or error.reason is not Reason.HAND_DRIFTED or error.failure is not HandFailure.NOT_EXECUTED:
        trial.broken(Promise.DRIFT, f"a call that was decided on another manifest gave {outcome.said}", name, args)
    trial.kept(Promise.DRIFT, "a call that was decided on another manifest was not run", name, 1)


def analysis(trial: Trial, name: str, tried: Tried) -> None:
    """Analyse each example twice. It changes nothing, so this is done of actions that are not called, too."""
    adapter = trial.adapter
    if not isinstance(adapter, Analyses):
        return
    before, said = Traces.now(), 0
    for args in tried.examples:
        began = time.monotonic()
        first = _analysed(trial, adapter, name, args)
        seconds = time.monotonic() - began
        if seconds > trial.options.analysis_seconds:
            seen = f"an analysis took longer than {trial.options.analysis_seconds:g} s, and the gateway waits for it"
            trial.broken(Promise.ANALYSIS, seen, name, args)
        if first != _analysed(trial, adapter, name, args):
            trial.broken(Promise.ANALYSIS, "analysed again, it says something else", name, args)
        said += first is not None
    if left := Traces.now().since(before):
        trial.broken(Promise.ANALYSIS, f"an analysis left {left}: it is not pure", name)
    trial.kept(Promise.ANALYSIS, f"{said} of {len(tried.examples)} calls were analysed", name, len(tried.examples))


def _analysed(trial: Trial, adapter: Analyses, name: str, args: Mapping[str, Any]) -> bytes | None:
    """The analysis in canonical JSON; ``None`` where it refuses."""
    try:
        said = adapter.analyse(name, args)
    except Refused as refused:
        if refused.reason is not Reason.SCHEMA_ANALYSIS:
            trial.broken(Promise.ANALYSIS, f"it refuses by {refused.reason}, not schema.analysis", name, args)
        return None
    except Exception as exc:  # noqa: BLE001 - an adapter's
        trial.broken(Promise.ANALYSIS, f"it raised {type(exc).__name__}, which is no refusal", name, args)
        return None
    if not isinstance(said, Mapping):
        trial.broken(Promise.ANALYSIS, "an analysis is no JSON object", name, args)
        return None
    try:
        written = canonical(said)
    except (Refused, TypeError):
        trial.broken(Promise.ANALYSIS, "an analysis has no canonical JSON form", name, args)
        return None
    if len(written) > ANALYSIS_MAX_BYTES:
        trial.broken(Promise.ANALYSIS, f"an analysis has more than {ANALYSIS_MAX_BYTES} bytes", name, args)
    return written
