"""The operator's word joined to a tool's own: how an :class:`ActionManifest` and a :class:`Manifest` come about.

A tool's annotations are claims by the party that is to be governed; they are kept for people to read and decide
nothing. What decides is what the operator declared, and what nobody declared counts as the worst.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.errors import Refused
from gateway.manifest import DEFAULT_PROFILE, ActionManifest, BindUse, JailUse, Manifest, Slo
from gateway.settings import ActionSettings, HandSettings, SettingsError
from hand_adapters import jailed, reach
from hand_adapters.schemas import Checker, SchemaError, normalise, reaches

_UNDECLARED = ActionSettings()


def action(
    name: str,
    declared: ActionSettings | None,
    *,
    args_schema: Any,
    result_schema: Any = None,
    description: str = "",
    title: str | None = None,
    annotations: Mapping[str, Any] | None = None,
) -> ActionManifest:
    """One action, its schemas normalised (that of the args closed) and proven to compile.

    Raises:
        SchemaError: the action cannot be checked, so it cannot be offered.
    """
    word = declared or _UNDECLARED
    args = normalise(args_schema, close=True)
    result = None if result_schema is None else normalise(result_schema, close=False)
    Checker(args)
    for pointer in sorted((*word.args, *word.data_subjects)):
        of_result = pointer in word.data_subjects and _in_result(result, pointer)
        if not of_result and not reaches(args, pointer):
            raise SchemaError(f"handrail.toml speaks of {pointer}, which no argument of {name} can be at")
    if result is not None:
        Checker(result)
    return ActionManifest(
        name=name,
        description=description,
        args_schema=args,
        result_schema=result,
        title=title,
        annotations=dict(annotations or {}),
        side_effects=word.side_effects,
        idempotent=word.idempotent,
        cacheable=word.cacheable,
        cache_seconds=word.cache_seconds,
        roles=dict(sorted(word.args.items())),
        data_subjects=tuple(sorted(word.data_subjects)),
        trust=word.trust,
        result_trust=dict(sorted(word.result_trust.items())),
        deadline_seconds=word.deadline_seconds,
        result_max_bytes=word.result_max_bytes,
        personal_data=word.results.personal_data,
        personal_kinds=tuple(sorted(set(word.results.personal_kinds))),
        oversize=word.results.oversize,
    )


def manifest(
    hand_id: str,
    settings: HandSettings,
    actions: Iterable[ActionManifest],
    *,
    instructions: str = "",
) -> Manifest:
    """A hand's manifest, actions by name; equal tools and equal words give an equal digest.

    Raises:
        Refused: ``schema.json`` where a schema has no canonical form.
    """
    return Manifest(
        hand=hand_id,
        adapter=settings.adapter,
        actions={entry.name: entry for entry in sorted(actions, key=lambda entry: entry.name)},
        region=settings.region,
        trust=settings.trust,
        labels=tuple(sorted(settings.labels)),
        instructions=instructions,
        endpoint=settings.url,
        claim_seconds=settings.claim_seconds if settings.adapter == "remote" else None,
        secrets=reach.secret_uses(hand_id, settings),
        egress=reach.egress_rules(hand_id, settings),
        slo=_objectives(settings),
        jail=_jail(settings),
        options=settings.model_dump(mode="json", include={"options"})["options"],
    )


def _jail(settings: HandSettings) -> JailUse | None:
    """What is said of a jail. Where nothing is, a hand has the one that every hand has, or none."""
    binds = tuple(
        BindUse(str(bind.source), bind.target, bind.writable)
        for bind in sorted(jailed.binds(settings), key=lambda bind: bind.target)
    )
    if not (settings.command or binds or settings.env or settings.jail_profile != DEFAULT_PROFILE):
        return None
    return JailUse(settings.command or (), settings.jail_profile, binds, dict(sorted(settings.env.items())))


def _objectives(settings: HandSettings) -> Slo | None:
    if settings.slo is None:
        return None
    said = settings.slo
    quantile = None if said.latency_seconds is None else said.latency_quantile
    return Slo(said.availability, said.latency_seconds, quantile, said.window_days)


def declared(
    hand_id: str,
    settings: HandSettings,
    claims: Callable[[str, ActionSettings], Mapping[str, Any]] = lambda _name, _word: {},
    schemas: Callable[[str, ActionSettings], tuple[Any, Any]] = lambda _name, word: (
        word.args_schema,
        word.result_schema,
    ),
) -> Manifest:
    """The manifest of a hand of which the operator declares all.

    Args:
        claims: name and declaration of an action -> what the manifest says of how it is run.
        schemas: of its args and of its result; else those that are declared.

    Raises:
        SettingsError: a schema that cannot be used.
    """

    def one(name: str, word: ActionSettings) -> ActionManifest:
        args_schema, result_schema = schemas(name, word)
        try:
            return action(
                name,
                word,
                args_schema=args_schema,
                result_schema=result_schema,
                description=word.description or "",
                annotations=claims(name, word),
            )
        except SchemaError as exc:
            raise SettingsError(f"hands.{hand_id}.actions.{name}: schema {exc.detail}") from None

    try:
        return manifest(hand_id, settings, (one(*item) for item in settings.actions.items()))
    except Refused:
        raise SettingsError(f"hands.{hand_id}: a schema or an option has no canonical JSON form") from None


def _in_result(schema: Any, pointer: str) -> bool:
    """Whether a pointer can lead into ``{content, structured}``; only of a structure with a schema can it be told."""
    first, _, rest = pointer.removeprefix("/").partition("/")
    if first == "structured" and schema is not None:
        return reaches(schema, f"/{rest}" if rest else "")
    return first in {"content", "structured"}
