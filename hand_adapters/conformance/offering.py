"""Checks of what a hand offers: its manifest, the operator's word in it, its schemas, and what these refuse."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.canonical import canonical
from gateway.errors import HandrailError, Refused
from gateway.manifest import ActionManifest, Manifest
from hand_adapters.conformance.ending import closed
from hand_adapters.conformance.inputs import Inputs, wrong
from hand_adapters.conformance.promises import Promise
from hand_adapters.conformance.trial import Trial, Tried
from hand_adapters.contract import HandAdapter
from hand_adapters.schemas import Checker, SchemaError, normalise

TEXT_MAX: Final = 65_536
"""Characters of a hand's instructions, or of one description."""
MANIFEST_MAX_BYTES: Final = 16_777_216
"""Of a manifest in canonical JSON: it is shown, compared and kept for each tenant."""
_WRONG_FROM: Final = 5
"""Matching arguments that are made wrong, of each action."""


async def manifest(trial: Trial, anew: Callable[[], HandAdapter]) -> None:
    """Ask for the manifest again, here and of an adapter that is built anew."""
    first = trial.manifest
    if first.hand != trial.adapter.id:
        trial.broken(Promise.MANIFEST, "the manifest is another hand's")
    if trial.options.digest not in {None, first.digest}:
        trial.broken(Promise.MANIFEST, f"it offers {first.digest}, and {trial.options.digest} was reviewed")
    if Manifest.from_document(first.document()).digest != first.digest:
        trial.broken(Promise.MANIFEST, "read back from JSON, the manifest is another")
    if len(canonical(first.document())) > MANIFEST_MAX_BYTES:
        trial.broken(Promise.MANIFEST, f"the manifest has more than {MANIFEST_MAX_BYTES} bytes")
    if await _asked(trial, trial.adapter) not in {None, first.digest}:
        trial.broken(Promise.MANIFEST, "asked again, it offers something else")
    fresh = anew()
    try:
        if await _asked(trial, fresh) not in {None, first.digest}:
            trial.broken(Promise.MANIFEST, "built anew, it offers something else")
    finally:
        await closed(trial, fresh, Promise.CLOSE)
    trial.kept(Promise.MANIFEST, f"asked 3 times: {first.digest}", calls=3)


async def _asked(trial: Trial, adapter: HandAdapter) -> str | None:
    try:
        return (await adapter.manifest()).digest
    except HandrailError as error:
        trial.look_at_error(error)
        trial.broken(Promise.MANIFEST, f"asked again, it gives none: {error.reason}")
    return None


def declaration(trial: Trial) -> None:
    """Compare each action with what the operator said of it."""
    for name, action in trial.manifest.actions.items():
        for what in _changed(trial, name, action):
            trial.broken(Promise.DECLARATION, f"the manifest has another {what} than the operator declared", name)
    for what in ("trust", "region"):
        if getattr(trial.manifest, what) != getattr(trial.settings, what):
            trial.broken(Promise.DECLARATION, f"the manifest has another {what} than the operator declared")
    if sorted(use.name for use in trial.manifest.secrets) != sorted(trial.settings.secrets):
        trial.broken(Promise.DECLARATION, "the manifest names other secrets than the operator declared")
    trial.kept(Promise.DECLARATION, f"{len(trial.manifest.actions)} actions", calls=len(trial.manifest.actions))


def _changed(trial: Trial, name: str, action: ActionManifest) -> Iterator[str]:
    word = trial.word(name)
    for what in ("side_effects", "idempotent", "cacheable", "trust", "deadline_seconds", "result_max_bytes"):
        if getattr(action, what) != getattr(word, what):
            yield what
    if any(action.roles.get(pointer) is not role for pointer, role in word.args.items()):
        # An adapter may know roles beside these: of a message, who gets it.
        yield "role of an argument"
    if sorted(action.data_subjects) != sorted(word.data_subjects):
        yield "data subject"
    if dict(action.result_trust) != dict(word.result_trust):
        yield "result_trust"


def schemas(trial: Trial) -> None:
    """Compile the schemas of each action, and take in the actions that can be checked."""
    if len(trial.manifest.instructions) > TEXT_MAX:
        trial.broken(Promise.SCHEMAS, f"its instructions have more than {TEXT_MAX} characters")
    for name, action in trial.manifest.actions.items():
        if len(action.description) > TEXT_MAX:
            trial.broken(Promise.SCHEMAS, f"the description has more than {TEXT_MAX} characters", name)
        args = _compiled(trial, name, "args", action.args_schema, close=True)
        result = None
        if action.result_schema is not None:
            result = _compiled(trial, name, "result", action.result_schema, close=False)
        if args is not None:
            options = trial.options
            inputs = Inputs(name, action.args_schema, args, options.seed, options.inputs.get(name, ()))
            trial.actions[name] = Tried(action, trial.word(name), args, result, inputs)
    trial.kept(Promise.SCHEMAS, f"{len(trial.actions)} actions", calls=len(trial.actions))


def _compiled(trial: Trial, name: str, which: str, schema: Mapping[str, Any], *, close: bool) -> Checker | None:
    try:
        normal = normalise(schema, close=close)
        checker = Checker(normal)
    except SchemaError as exc:
        trial.broken(Promise.SCHEMAS, f"the schema of its {which} {exc.detail}", name)
        return None
    if canonical(normal) != canonical(schema):
        how = "closed (annotate.action closes it)" if close else "as normalise makes it"
        trial.broken(Promise.SCHEMAS, f"the schema of its {which} is not {how}", name)
        return Checker(schema)
    return checker


def arguments(trial: Trial, name: str, tried: Tried) -> None:
    """Have what does not match the schema refused."""
    count = 0
    for right in tried.examples[:_WRONG_FROM]:
        for what, args in wrong(tried.manifest.args_schema, right):
            if _is_json(args):
                count += 1
                if not tried.args.problems(args):
                    trial.broken(Promise.ARGUMENTS, f"the schema admits arguments {what}", name, args)
    if count:
        trial.kept(Promise.ARGUMENTS, f"{count} wrong arguments were refused", name, count)
    else:
        trial.not_shown(Promise.ARGUMENTS, "nothing is wrong to its schema", name)


def _is_json(args: Any) -> bool:
    try:
        canonical(args)
    except Refused:
        return False
    return True
