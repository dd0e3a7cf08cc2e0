"""Whom a value concerns, as data subjects whose keys seal it (docs/adr/0025).

People are named by the operator's pointers of an action, by a policy's obligation, and by the plan itself. A step's
values belong to whom they name, and to the principal's context where they name nobody. What speaks of all steps at once
(the plan, an evaluation) belongs to the context and to everybody whom a step names. Pure.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.arguments import scalars_at
from gateway.commitments import person_key, subject_key
from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.model import Obligations, Plan, Step, TurnKind
from gateway.reasons import Reason

NAMED_MAX: Final = 256
"""People in one value. One that names more is refused: each has a key, and the value needs all of them."""
_NOBODY: Final = Obligations()


def of_value(
    plan: Plan, step: Step, action: ActionManifest | None, documents: Iterable[Any], obligations: Obligations = _NOBODY
) -> tuple[str, ...]:
    """The data subjects of a step's args or result.

    What a run puts to a model begins with its author's words, whomever it concerns besides.

    Args:
        documents: the args, and the result where there is one: a pointer names whom it finds in either.
    """
    named = _named(step, action, documents, obligations)
    if not named or (plan.run is not None and plan.run.kind is TurnKind.MODEL):
        named.add(of_context(plan))
    return tuple(sorted(named))


def check_number(subjects: Collection[str]) -> None:
    """Raises ``schema.args`` where a value concerns more than :data:`NAMED_MAX` people."""
    if len(subjects) > NAMED_MAX:
        raise Refused(Reason.SCHEMA_ARGS, "too many data subjects", data_subjects=len(subjects), limit=NAMED_MAX)


def of_plan(plan: Plan, manifest: Callable[[str], Manifest | None]) -> tuple[str, ...]:
    """The data subjects of a plan as it was signed. What references bring in later is not part of it.

    Args:
        manifest: the pinned manifest of a hand.
    """
    named = {of_context(plan)}
    for step in plan.steps.values():
        known = manifest(step.hand)
        action = None if known is None else known.actions.get(step.action)
        named |= _named(step, action, [_without_references(step.args)], _NOBODY)
    return tuple(sorted(named))


def of_context(plan: Plan) -> str:
    """The data subject of what names nobody."""
    return subject_key(plan.tenant, plan.principal.id, plan.context_id)


def _named(step: Step, action: ActionManifest | None, documents: Iterable[Any], obligations: Obligations) -> set[str]:
    words = set(step.data_subjects) | {name for name in obligations.data_subjects if not name.startswith("/")}
    pointers = [*(() if action is None else action.data_subjects)]
    pointers += [name for name in obligations.data_subjects if name.startswith("/")]
    for document in documents if pointers else ():
        for pointer in pointers:
            words.update(_words(scalars_at(document, pointer)))
    return {person_key(word) for word in words if word.strip()}


def _words(scalars: Iterable[Any]) -> Iterator[str]:
    for scalar in scalars:
        if isinstance(scalar, str):
            yield scalar
        elif not isinstance(scalar, bool):
            yield str(scalar)


def _without_references(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "$step" in value:
            return None
        return {name: _without_references(member) for name, member in value.items()}
    return [_without_references(item) for item in value] if isinstance(value, list) else value
